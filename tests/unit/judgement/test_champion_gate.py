"""The champion gate stops a challenger that is worse than what serves, and says when the data cannot tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.gates.champion import Design
from lockgate.core.ids import Json
from lockgate.core.verdict import Verdict
from lockgate.errors import MeasurementError
from lockgate.stages.sampling import ChampionScores, Scores
from tests.unit.judgement.scenes import (
    CHAMPION,
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


def blurred(good: np.ndarray, kind: TaskKind) -> np.ndarray:
    """Answers that follow the truth half as well."""
    average = good.mean(axis=0)
    return 0.5 * good + 0.5 * average if kind is not TaskKind.REGRESSION else average + 0.5 * (good - average)


def gained(estimate: float, low: float, high: float) -> dict[str, Any]:
    gain: Json = {"estimate": estimate, "low": low, "high": high, "se": 0.01}
    metric: Json = {
        "challenger": 0.5, "champion": 0.5, "gain": gain, "detectable": 0.03, "unit": "nat", "higher_is_better": False,
    }  # fmt: skip
    return {
        "champion": CHAMPION,
        "scored": True,
        "n": 4000,
        "blocks": 25,
        "confidence": 0.95,
        "invalid_champion_answers": 0,
        "binding_metric": "log_loss",
        "metrics": {"log_loss": metric},
    }


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_better_challenger_passes(kind: TaskKind) -> None:
    frame, good = SCENES[kind]()
    report = judged(spec_of(kind), frame, scores_of(spec_of(kind), frame, good, blurred(good, kind)), "champion")
    assert report.verdict is Verdict.PASS, report.reason


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_worse_challenger_fails_on_the_binding_metric(kind: TaskKind) -> None:
    frame, good = SCENES[kind]()
    report = judged(spec_of(kind), frame, scores_of(spec_of(kind), frame, blurred(good, kind), good), "champion")
    assert report.verdict is Verdict.FAIL
    binding = "gain_rmse" if kind is TaskKind.REGRESSION else "gain_log_loss"
    assert check_of(report, binding).verdict is Verdict.FAIL


def test_an_identical_challenger_is_non_inferior_but_not_superior() -> None:
    frame, good = binary()
    found = measured_for("champion", spec_of(), frame, scores_of(spec_of(), frame, good, good))
    assert judged_on("champion", found).verdict is Verdict.PASS
    assert judged_on("champion", found, design=Design.SUPERIORITY).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("estimate", "low", "high", "verdict"),
    [
        (0.020, 0.005, 0.035, Verdict.PASS),  # better
        (0.000, -0.009, 0.009, Verdict.PASS),  # the margin is 0.01: 2 % of 0.5
        (-0.004, -0.008, -0.001, Verdict.PASS),  # surely a little worse, surely by less than the margin
        (0.000, -0.015, 0.015, Verdict.INCONCLUSIVE),  # the data cannot say
        (-0.006, -0.014, -0.001, Verdict.FAIL),  # surely worse, perhaps by more than the margin
        (-0.012, -0.030, 0.006, Verdict.FAIL),  # worse by more than the margin
    ],
)
def test_the_verdict_follows_from_where_the_interval_lies(
    estimate: float, low: float, high: float, verdict: Verdict
) -> None:
    assert judged_on("champion", gained(estimate, low, high)).verdict is verdict


def test_the_verdict_is_shown_with_the_power_behind_it() -> None:
    weak = judged_on("champion", gained(0.0, -0.03, 0.03))
    assert check_of(weak, "power_log_loss").verdict is Verdict.FAIL  # margin and SE are 0.01: 15 %
    found = gained(0.0, -0.004, 0.004)
    found["metrics"]["log_loss"]["gain"]["se"] = 0.002
    told = check_of(judged_on("champion", found), "power_log_loss")
    assert told.verdict is Verdict.PASS
    assert "100%" in told.reason
    assert "0.03" in told.reason  # the smallest difference that would be seen
    assert not check_of(weak, "power_log_loss").required


def test_metrics_that_conflict_are_all_shown_and_one_binds() -> None:
    frame, good = binary()
    found: dict[str, Any] = dict(
        measured_for("champion", spec_of(), frame, scores_of(spec_of(), frame, good**1.6, good))
    )
    report = judged_on("champion", found)
    assert check_of(report, "gain_auc").verdict is Verdict.PASS  # the order of answers is the same
    assert check_of(report, "gain_log_loss").verdict is Verdict.FAIL
    assert [check.name for check in report.checks if check.required and check.name.startswith("gain")] == [
        "gain_log_loss"
    ]


def test_superiority_asks_for_a_gain_above_zero() -> None:
    superior = {"design": Design.SUPERIORITY}
    assert judged_on("champion", gained(0.02, 0.001, 0.04), **superior).verdict is Verdict.PASS
    assert judged_on("champion", gained(0.02, -0.001, 0.04), **superior).verdict is Verdict.INCONCLUSIVE
    assert judged_on("champion", gained(-0.001, -0.02, 0.02), **superior).verdict is Verdict.FAIL


def test_an_absolute_margin_overrides_the_relative_one() -> None:
    assert judged_on("champion", gained(0.0, -0.015, 0.015), margin=0.02).verdict is Verdict.PASS


def test_a_first_release_is_not_compared_and_says_so() -> None:
    frame, good = binary()
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, good), "champion")
    assert [check.verdict for check in report.checks] == [Verdict.NOT_APPLICABLE]
    assert report.verdict is Verdict.PASS


def test_a_champion_that_was_not_scored_is_an_error_never_a_first_release() -> None:
    frame, good = binary()
    for scores, known in ((None, pd.DataFrame({"id": [1]})), (good, None)):
        serving = ChampionScores(bundle=CHAMPION, scores=scores, known_keys=known, unscored_because="skops refused it")
        given = Scores(challenger=good, naive=naive(TaskKind.BINARY, frame), simple=None, champion=serving)
        report = judged(spec_of(), frame, given, "champion")
        assert report.verdict is Verdict.ERROR
        assert "skops refused it" in report.reason
        assert judged(spec_of(), frame, given, "slices").verdict is Verdict.ERROR


def test_rows_the_champion_was_fitted_on_leave_the_comparison() -> None:
    frame, good = binary(days=30)
    known = frame.loc[frame["id"] < 1000, ["id"]]
    cheating = good.copy()
    cheating[:1000] = np.where(frame["label"][:1000] == "yes", 0.999, 0.001)  # it has seen these labels
    found = measured_for("champion", spec_of(), frame, scores_of(spec_of(), frame, good, cheating, known))
    assert found["known_rows"] == 1000
    assert found["n"] == len(frame) - 1000
    assert judged_on("champion", found).verdict is Verdict.PASS
    uncleaned = measured_for("champion", spec_of(), frame, scores_of(spec_of(), frame, good, cheating))
    assert judged_on("champion", uncleaned).verdict is Verdict.FAIL


def test_too_few_days_left_after_that_are_inconclusive() -> None:
    frame, good = binary(days=25)
    known = frame.loc[frame["time"] < frame["time"].max() - pd.Timedelta(days=10), ["id"]]
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, good, good, known), "champion")
    assert report.verdict is Verdict.INCONCLUSIVE
    assert check_of(report, "blocks").observed == 11


def test_a_champion_that_knew_every_row_is_inconclusive() -> None:
    frame, good = binary()
    report = judged(spec_of(), frame, scores_of(spec_of(), frame, good, good, frame[["id"]]), "champion")
    assert report.verdict is Verdict.INCONCLUSIVE


def test_keys_of_another_type_are_refused_rather_than_never_met() -> None:
    frame, good = binary()
    known = frame[["id"]].astype(str)
    with pytest.raises(MeasurementError, match="key 'id'"):
        measured_for("champion", spec_of(), frame, scores_of(spec_of(), frame, good, good, known))


def test_times_of_another_resolution_still_meet() -> None:
    frame, good = binary()
    spec = spec_of()
    from dataclasses import replace

    spec = replace(spec, data=replace(spec.data, key=("id", "time")))
    known = frame.loc[:999, ["id", "time"]].assign(time=lambda each: each["time"].dt.as_unit("ms"))
    found = measured_for("champion", spec, frame, scores_of(spec, frame, good, good, known))
    assert found["known_rows"] == 1000


def test_another_metric_may_bind_and_an_unknown_one_is_an_error() -> None:
    frame, good = binary()
    worse = blurred(good, TaskKind.BINARY)  # ranks alike, so the AUC is equal and the log loss is not
    found = measured_for("champion", spec_of(), frame, scores_of(spec_of(), frame, worse, good))
    assert judged_on("champion", found).verdict is Verdict.FAIL
    assert judged_on("champion", found, metric="auc").verdict is Verdict.PASS
    unknown = judged_on("champion", found, metric="ndcg")
    assert unknown.verdict is Verdict.ERROR
    assert "log_loss" in unknown.reason
    assert judged_on("champion", found, metric="bias").verdict is Verdict.ERROR


@pytest.mark.parametrize("key", ["champion", "scored", "n", "blocks", "confidence", "metrics", "binding_metric"])
def test_a_missing_measurement_is_an_error(key: str) -> None:
    found = gained(0.02, 0.01, 0.03)
    del found[key]
    assert judged_on("champion", found).verdict is Verdict.ERROR


def test_no_measurements_at_all_are_an_error() -> None:
    assert judged_on("champion", {}).verdict is Verdict.ERROR


def test_an_undefined_gain_is_an_error() -> None:
    found = gained(0.02, 0.01, 0.03)
    found["metrics"] = {"log_loss": {**found["metrics"]["log_loss"], "gain": {"estimate": "NaN"}}}
    assert judged_on("champion", found).verdict is Verdict.ERROR


def test_a_margin_that_hardly_any_challenger_could_miss_is_told_of() -> None:
    frame, good = binary()
    spec = spec_of()
    found = measured_for("champion", spec, frame, scores_of(spec, frame, good, good))
    for margin, said in ((0.001, Verdict.PASS), (1e9, Verdict.FAIL)):
        check = check_of(judged_on("champion", found, margin=margin), "margin_of_own_value")
        assert (check.required, check.verdict) == (False, said)


@pytest.mark.parametrize("kind", list(TaskKind))
@pytest.mark.parametrize(("every", "verdict"), [(20, Verdict.PASS), (2, Verdict.INCONCLUSIVE)])
def test_a_champion_that_answers_too_few_rows_is_no_measure_for_the_others(
    kind: TaskKind, every: int, verdict: Verdict
) -> None:
    frame, good = SCENES[kind]()
    theirs = good.copy()
    theirs[::every] = np.nan
    report = judged(spec_of(kind), frame, scores_of(spec_of(kind), frame, good, theirs), "champion")
    check = check_of(report, "invalid_champion_answers")
    assert report.verdict is verdict
    assert (check.required, check.verdict) == ((False, Verdict.FAIL) if every == 20 else (True, verdict))


def test_a_comparison_that_does_not_say_how_many_answers_were_no_number_is_an_error() -> None:
    frame, good = binary()
    found = dict(measured_for("champion", spec_of(), frame, scores_of(spec_of(), frame, good, good)))
    assert judged_on("champion", {**found, "invalid_champion_answers": None}).verdict is Verdict.ERROR
