"""Checks compare, gates fold, and nothing passes for lack of a number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.ids import Digest, Stage
from lockgate.core.verdict import Check, Direction, Verdict, compare, could_not_measure, fold, holds, report

EVIDENCE = Digest("e" * 64)
VERDICTS = st.lists(st.sampled_from(list(Verdict)))
NUMBERS = st.floats(allow_nan=False)


def check(verdict: Verdict, *, required: bool = True, reason: str = "why") -> Check:
    return Check(
        name="x",
        observed=1.0,
        threshold=1.0,
        direction=Direction.AT_LEAST,
        verdict=verdict,
        reason=reason,
        required=required,
    )


@given(VERDICTS)
def test_the_order_of_verdicts_does_not_matter(verdicts: list[Verdict]) -> None:
    assert fold(verdicts) is fold(reversed(verdicts)) is fold(sorted(verdicts))


@given(VERDICTS, VERDICTS)
def test_folding_in_parts_is_folding_at_once(first: list[Verdict], second: list[Verdict]) -> None:
    parts = [fold(part) for part in (first, second) if any(v is not Verdict.NOT_APPLICABLE for v in part)]
    assert fold(parts) is fold(first + second)


@given(VERDICTS)
def test_a_pass_needs_a_pass_and_nothing_else(verdicts: list[Verdict]) -> None:
    judged = set(verdicts) - {Verdict.NOT_APPLICABLE}
    assert (fold(verdicts) is Verdict.PASS) == (judged == {Verdict.PASS})


@given(VERDICTS, st.sampled_from([Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE]))
def test_more_evidence_of_harm_never_turns_into_a_pass(verdicts: list[Verdict], harm: Verdict) -> None:
    assert fold([*verdicts, harm]) is not Verdict.PASS


def test_precedence_is_fail_error_inconclusive_pass() -> None:
    every = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.FAIL]
    assert [fold(every[:k]) for k in (1, 2, 3, 4)] == every


def test_nothing_to_fold_is_inconclusive() -> None:
    assert fold([]) is Verdict.INCONCLUSIVE
    assert fold([Verdict.NOT_APPLICABLE]) is Verdict.INCONCLUSIVE


@given(NUMBERS, NUMBERS)
def test_a_number_is_on_at_least_one_side_of_its_threshold(observed: float, threshold: float) -> None:
    at_least, at_most = (holds(observed, threshold, side) for side in (Direction.AT_LEAST, Direction.AT_MOST))
    assert at_least or at_most
    assert (at_least and at_most) == holds(observed, threshold, Direction.EQUAL)


@pytest.mark.parametrize("direction", list(Direction))
def test_nan_is_on_no_side(direction: Direction) -> None:
    assert not holds(math.nan, 1.0, direction)
    assert not holds(1.0, math.nan, direction)


@pytest.mark.parametrize("observed", [None, math.nan])
def test_what_was_not_measured_is_an_error(observed: float | None) -> None:
    made = compare("auc", observed, 0.5, Direction.AT_LEAST, reason="score the rows")
    assert made.verdict is Verdict.ERROR
    assert "score the rows" in made.reason


def test_too_few_rows_are_inconclusive_even_where_the_number_holds() -> None:
    made = compare("auc", 0.9, 0.5, Direction.AT_LEAST, reason="wait", n=9, n_min=10)
    assert made.verdict is Verdict.INCONCLUSIVE


def test_a_gate_reports_its_worst_required_check_and_its_reason() -> None:
    checks = [check(Verdict.PASS), check(Verdict.FAIL, reason="bad"), check(Verdict.ERROR, reason="broken")]
    made = report("quality", Stage.EVALUATE, checks, EVIDENCE)
    assert (made.verdict, made.reason) == (Verdict.FAIL, "bad")


def test_advisory_checks_are_shown_and_never_block() -> None:
    made = report("quality", Stage.EVALUATE, [check(Verdict.PASS), check(Verdict.FAIL, required=False)], EVIDENCE)
    assert made.verdict is Verdict.PASS
    assert len(made.checks) == 2


def test_a_gate_with_only_advisory_checks_is_inconclusive() -> None:
    made = report("quality", Stage.EVALUATE, [check(Verdict.PASS, required=False)], EVIDENCE)
    assert made.verdict is Verdict.INCONCLUSIVE


def test_a_gate_without_checks_is_inconclusive() -> None:
    assert report("quality", Stage.EVALUATE, [], EVIDENCE).verdict is Verdict.INCONCLUSIVE


def test_a_first_release_passes_the_champion_gate() -> None:
    made = report("champion", Stage.EVALUATE, [check(Verdict.NOT_APPLICABLE)], EVIDENCE)
    assert made.verdict is Verdict.PASS


def test_not_applicable_beside_a_failure_hides_nothing() -> None:
    made = report("champion", Stage.EVALUATE, [check(Verdict.NOT_APPLICABLE), check(Verdict.FAIL)], EVIDENCE)
    assert made.verdict is Verdict.FAIL


def test_a_broken_measurement_has_no_evidence() -> None:
    made = could_not_measure("quality", Stage.EVALUATE, "the disk is full")
    assert (made.verdict, made.evidence, made.reason) == (Verdict.ERROR, None, "the disk is full")
