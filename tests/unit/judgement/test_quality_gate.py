"""The quality gate stops what is not good enough on its own, for that reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import digest_of
from lockgate.core.verdict import Verdict
from tests.unit.judgement.scenes import (
    binary,
    check_of,
    judged,
    judged_on,
    measured_for,
    multiclass,
    naive,
    regression,
    scores_of,
    spec_of,
)

SCENES = {TaskKind.BINARY: binary, TaskKind.MULTICLASS: multiclass, TaskKind.REGRESSION: regression}


def measured() -> dict[str, Any]:
    frame, good = binary()
    return dict(measured_for("quality", spec_of(), frame, scores_of(spec_of(), frame, good)))


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_good_model_passes(kind: TaskKind) -> None:
    frame, good = SCENES[kind]()
    report = judged(spec_of(kind), frame, scores_of(spec_of(kind), frame, good), "quality")
    assert report.verdict is Verdict.PASS, report.reason


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_constant_model_fails_for_having_no_skill(kind: TaskKind) -> None:
    frame, _ = SCENES[kind]()
    report = judged(spec_of(kind), frame, scores_of(spec_of(kind), frame, naive(kind, frame)), "quality")
    assert report.verdict is Verdict.FAIL
    assert check_of(report, "skill_over_naive").verdict is Verdict.FAIL


def test_a_model_that_ranks_by_chance_fails_at_the_floor() -> None:
    frame, good = binary()
    shuffled = np.random.default_rng(0).permutation(good)
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, shuffled), "quality")
    assert check_of(report, "auc").verdict is Verdict.FAIL


def test_the_floor_binds_at_the_lower_bound_not_at_the_estimate() -> None:
    found = measured()
    auc = found["metrics"]["auc"]
    between = (auc["low"] + auc["estimate"]) / 2
    assert judged_on("quality", found, auc_floor=between).verdict is Verdict.INCONCLUSIVE
    assert judged_on("quality", found, auc_floor=auc["high"]).verdict is Verdict.FAIL
    assert judged_on("quality", found, auc_floor=auc["low"]).verdict is Verdict.PASS


def test_too_few_days_are_inconclusive_however_good_the_model() -> None:
    frame, good = binary(days=15, rows=400)
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, good), "quality")
    assert report.verdict is Verdict.INCONCLUSIVE
    assert check_of(report, "blocks").verdict is Verdict.INCONCLUSIVE
    assert check_of(report, "auc").verdict is Verdict.INCONCLUSIVE


def test_too_few_rows_are_inconclusive() -> None:
    frame, good = binary(days=25, rows=10)
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, good), "quality")
    assert report.verdict is Verdict.INCONCLUSIVE
    assert check_of(report, "rows").verdict is Verdict.INCONCLUSIVE


def test_a_holdout_without_one_class_is_inconclusive() -> None:
    frame, good = binary()
    frame["label"] = "no"
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, good), "quality")
    assert report.verdict is Verdict.INCONCLUSIVE
    assert check_of(report, "rarest_class_rows").observed == 0


def test_an_empty_holdout_is_inconclusive() -> None:
    frame, good = binary()
    report = judged(spec_of(), frame[:0], scores_of(spec_of(), frame[:0], good[:0]), "quality")
    assert report.verdict is Verdict.INCONCLUSIVE


def test_an_answer_that_is_no_number_fails() -> None:
    frame, good = binary()
    broken = good.copy()
    broken[7] = np.nan
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, broken), "quality")
    assert report.verdict is Verdict.FAIL
    assert check_of(report, "invalid_answers").observed == 1


def test_a_probability_above_one_fails() -> None:
    frame, good = binary()
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, good * 1.2), "quality")
    assert check_of(report, "invalid_answers").verdict is Verdict.FAIL


def test_a_miscalibrated_model_is_advised_against() -> None:
    frame, good = binary()
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, good**0.5), "quality")
    assert check_of(report, "calibration_error").verdict is Verdict.FAIL
    assert check_of(report, "bias").verdict is Verdict.FAIL
    assert not check_of(report, "bias").required


def test_a_linear_model_that_does_as_well_is_told_and_one_that_could_not_be_fitted_is_too() -> None:
    frame, good = binary()
    given = scores_of(spec_of(), frame, good)
    alike = replace(given, simple=good, simple_facts={"family": "logistic"})
    worse = replace(given, simple=naive(TaskKind.BINARY, frame), simple_facts={"family": "logistic"})
    gone = replace(given, simple_facts={"unfitted_because": "one class only"})
    told = [
        check_of(judged(spec_of(), frame, scores, "quality"), "skill_over_simple") for scores in (alike, worse, gone)
    ]
    assert told[0].estimate == 0.0
    assert [check.verdict for check in told[1:]] == [Verdict.PASS, Verdict.ERROR]
    assert "one class only" in told[2].reason
    assert not any(check.required for check in told)


def test_a_better_linear_model_is_advised_for() -> None:
    frame, good = binary()
    scores = replace(scores_of(spec_of(), frame, 0.5 * good + 0.2), simple=good, simple_facts={"family": "logistic"})
    check = check_of(judged(spec_of(), frame, scores, "quality"), "skill_over_simple")
    assert check.verdict is Verdict.FAIL
    assert check.interval is not None
    assert check.interval[1] < 0


def test_a_holdout_that_was_judged_on_often_is_told() -> None:
    found = measured()
    assert check_of(judged_on("quality", found | {"holdout_uses": {"same": 5}}), "holdout_uses").verdict is Verdict.PASS
    often = judged_on("quality", found | {"holdout_uses": {"same": 6, "overlapping": 9}})
    assert check_of(often, "holdout_uses").verdict is Verdict.FAIL
    assert often.verdict is Verdict.PASS  # advisory
    unread = judged_on("quality", found | {"holdout_uses": {"overlapping": 9}})
    assert check_of(unread, "holdout_uses").verdict is Verdict.ERROR


@pytest.mark.parametrize("key", ["n", "blocks", "metrics", "skill", "confidence", "invalid_answers", "task"])
def test_a_missing_measurement_is_an_error(key: str) -> None:
    found = measured()
    del found[key]
    assert judged_on("quality", found).verdict is Verdict.ERROR


@pytest.mark.parametrize(
    "bad", [None, "NaN", "0.9", True, [], {"estimate": 1}, {"estimate": 2, "low": 3, "high": 1, "se": 0}]
)
def test_a_malformed_estimate_is_an_error(bad: object) -> None:
    found = measured()
    found["metrics"] = {**found["metrics"], "auc": bad}
    assert judged_on("quality", found).verdict is Verdict.ERROR


def test_no_measurements_at_all_are_an_error() -> None:
    assert judged_on("quality", {}).verdict is Verdict.ERROR


def test_intervals_of_a_lower_confidence_than_asked_do_not_pass() -> None:
    assert judged_on("quality", measured(), confidence=0.99).verdict is Verdict.FAIL


def test_equal_inputs_give_equal_measurements_and_verdicts() -> None:
    assert digest_of(measured()) == digest_of(measured())
    assert digest_of(judged_on("quality", measured())) == digest_of(judged_on("quality", measured()))


def test_a_holdout_most_of_which_has_no_label_is_no_pass() -> None:
    frame, good = binary()
    found: dict[str, Any] = dict(measured_for("quality", spec_of(), frame, scores_of(spec_of(), frame, good)))
    assert judged_on("quality", found).verdict is Verdict.PASS
    asked = int(found["asked"])
    report = judged_on("quality", {**found, "asked": 4 * asked, "unlabelled": 3 * asked})
    assert check_of(report, "unlabelled_fraction").verdict is report.verdict is Verdict.FAIL
    for missing in ("asked", "unlabelled"):
        assert judged_on("quality", {**found, missing: None}).verdict is Verdict.ERROR
