"""Parity: what is compared, and that nothing unmeasured passes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.gates import parity
from lockgate.core.parity import compare_answers, joined, typical_size
from lockgate.core.verdict import Verdict
from tests.unit.models.rows import judged


def compared(native: list[float], graph: list[float], threshold: float = 0.5) -> dict[str, Any]:
    ours, theirs = np.array(native), np.array(graph)
    return compare_answers(TaskKind.BINARY, ours, theirs, threshold=threshold, size=1.0, bound=1e-5)


def good() -> dict[str, Any]:
    groups = {name: compared([0.2] * 200, [0.2] * 200) for name in parity.GROUPS}
    return {"task": "binary", "columns": {"numeric": 3, "categorical": 2}, "groups": groups}


def test_equal_answers_pass() -> None:
    assert judged(parity.GATE, good()).verdict is Verdict.PASS


def test_a_turned_decision_is_counted_with_its_distance() -> None:
    facts = compared([0.2, 0.55, 0.9], [0.2, 0.45, 0.9])
    assert (facts["flips"], facts["worst_row"]) == (1, 1)
    assert facts["flip_margin"] == pytest.approx(0.05)
    assert facts["max_difference"] == pytest.approx(0.1)


def test_a_tie_that_turned_is_no_failure() -> None:
    measured = good()
    measured["groups"]["holdout"] = compared([0.5] * 200, [0.5 - 1e-8] * 200)
    assert measured["groups"]["holdout"]["flips"] == 0
    assert measured["groups"]["holdout"]["ties"] == 200
    assert judged(parity.GATE, measured).verdict is Verdict.PASS


def test_one_turned_decision_of_many_fails() -> None:
    measured = good()
    measured["groups"]["holdout"] = compared([0.2] * 199 + [0.50002], [0.2] * 199 + [0.49999])
    report = judged(parity.GATE, measured)
    assert report.verdict is Verdict.FAIL
    failed = {check.name for check in report.checks if check.verdict is Verdict.FAIL}
    assert failed == {"holdout_difference", "holdout_flip_margin"}


def test_several_classes_turn_when_the_largest_does() -> None:
    native, graph = np.array([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25]]), np.array([[0.5, 0.1, 0.4], [0.3, 0.45, 0.25]])
    facts = compare_answers(TaskKind.MULTICLASS, native, graph, threshold=None, size=1.0, bound=1e-5)
    assert (facts["flips"], facts["worst_row"]) == (1, 1)  # a flip is worse than a larger difference
    assert facts["flip_margin"] == pytest.approx(0.05)


def test_a_regression_is_measured_against_its_size() -> None:
    native, graph = np.array([1000.0, 0.0]), np.array([1000.1, 0.1])
    size = typical_size(TaskKind.REGRESSION, native)
    facts = compare_answers(TaskKind.REGRESSION, native, graph, threshold=None, size=size, bound=1e-5)
    assert size == 500.0
    assert facts["max_difference"] == pytest.approx(0.1 / 500)
    assert facts["flips"] is None


@pytest.mark.parametrize("answer", [np.nan, np.inf])
def test_an_answer_that_is_no_number_fails(answer: float) -> None:
    measured = good()
    measured["groups"]["missing"] = compared([0.2, 0.3], [0.2, answer])
    report = judged(parity.GATE, measured)
    assert report.verdict is Verdict.FAIL
    assert report.reason.startswith("an answer is NaN")


def test_answers_of_another_shape_fail() -> None:
    measured = good()
    shapes = np.zeros((200, 1)), np.zeros(200)
    measured["groups"]["holdout"] = compare_answers(TaskKind.BINARY, *shapes, threshold=0.5, size=1.0, bound=1e-5)
    assert judged(parity.GATE, measured).verdict is Verdict.FAIL


@pytest.mark.parametrize("group", parity.GROUPS)
def test_a_group_that_was_not_measured_is_an_error(group: str) -> None:
    measured = good()
    del measured["groups"][group]
    assert judged(parity.GATE, measured).verdict is Verdict.ERROR


def test_a_row_without_a_number_is_worse_than_a_flip_and_a_flip_worse_than_a_difference() -> None:
    assert compared([0.2, 0.500_02, 0.9], [0.2, 0.499_99, 0.8])["worst_row"] == 1
    assert compared([0.2, 0.500_02, 0.9], [np.nan, 0.499_99, 0.8])["worst_row"] == 0


def test_comparisons_are_joined_without_losing_the_worst() -> None:
    parts = [compared([0.2], [0.2]), compared([0.6, 0.5], [0.4, 0.5 - 1e-8]), compared([0.1], [np.nan])]
    told = joined(TaskKind.BINARY, parts)
    assert (told["rows"], told["flips"], told["ties"], told["not_finite"]) == (4, 1, 1, 1)
    assert told["max_difference"] == pytest.approx(0.2)
    assert told["flip_margin"] == pytest.approx(0.1)


def test_a_server_that_refuses_the_bundle_fails_with_its_own_words() -> None:
    measured = good()
    facts = {**compared([0.2] * 3, [np.nan] * 3), "problem": "the production server refuses the bundle (422): golden"}
    measured["groups"]["served"] = facts
    report = judged(parity.GATE, measured)
    assert report.verdict is Verdict.FAIL
    assert "refuses the bundle" in report.reason


def test_infinite_numbers_are_shown_and_never_block() -> None:
    measured = good()
    measured["groups"]["infinite"] = compared([0.2] * 3, [0.9] * 3)
    report = judged(parity.GATE, measured)
    assert report.verdict is Verdict.PASS
    assert {c.verdict for c in report.checks if c.name.startswith("infinite") and not c.required} >= {Verdict.FAIL}
    measured["groups"]["infinite"] = {"rows": 0, "refused": 24}
    assert not [c for c in judged(parity.GATE, measured).checks if c.name.startswith("infinite")]


@pytest.mark.parametrize("fact", ["max_difference", "not_finite", "flip_margin"])
def test_a_number_that_is_none_is_an_error(fact: str) -> None:
    measured = good()
    measured["groups"]["holdout"][fact] = "NaN"
    assert judged(parity.GATE, measured).verdict is Verdict.ERROR


def test_no_measurements_at_all_are_an_error() -> None:
    assert judged(parity.GATE, {}).verdict is Verdict.ERROR


def test_too_small_a_holdout_is_inconclusive() -> None:
    measured = good()
    measured["groups"]["holdout"] = compared([0.2] * 99, [0.2] * 99)
    assert judged(parity.GATE, measured).verdict is Verdict.INCONCLUSIVE


def test_a_group_without_rows_is_inconclusive() -> None:
    measured = good()
    measured["groups"]["missing"] = compared([], [])
    assert judged(parity.GATE, measured).verdict is Verdict.INCONCLUSIVE


def test_a_model_without_strings_needs_no_unseen_ones() -> None:
    measured = copy.deepcopy(good())
    measured["columns"]["categorical"] = 0
    del measured["groups"]["unseen"]
    assert judged(parity.GATE, measured).verdict is Verdict.PASS
