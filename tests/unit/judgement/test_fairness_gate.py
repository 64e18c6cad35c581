"""The fairness gate stops a model that serves a group of people worse, and says which; fairlearn is the oracle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.fairness import Rate, gap, group_estimate, group_sums, measure_groups, to_overall
from lockgate.core.gates import fairness
from lockgate.core.ids import Json, to_json
from lockgate.core.metrics import Floats
from lockgate.core.spec import ModelSection, ReleaseSpec, Risk
from lockgate.core.verdict import Check, GateReport, Verdict
from lockgate.errors import MeasurementError
from lockgate.stages.fairness import measure_fairness
from tests.unit.judgement.scenes import binary, check_of, evidence_of, examined, multiclass, regression, scores_of
from tests.unit.judgement.scenes import spec_of as toy_spec

SCENES = {TaskKind.BINARY: binary, TaskKind.MULTICLASS: multiclass, TaskKind.REGRESSION: regression}


def people(kind: TaskKind = TaskKind.BINARY, **more: Any) -> tuple[pd.DataFrame, Floats]:
    """Return a scene whose rows belong to two groups and three ages, neither of which matters."""
    frame, good = SCENES[kind](**more)
    rng = np.random.default_rng(5)
    frame["sex"] = rng.choice(["f", "m"], size=len(frame))
    frame["age"] = rng.choice(["young", "middle", "old"], size=len(frame), p=[0.3, 0.5, 0.2])
    return frame, good


def spec_of(kind: TaskKind = TaskKind.BINARY, *, sensitive: tuple[str, ...] = ("sex",), **more: Any) -> ReleaseSpec:
    spec = replace(toy_spec(kind), sensitive=sensitive, slices=())
    return replace(spec, gates={"fairness": fairness.Thresholds(**more)})


def measured(spec: ReleaseSpec, frame: pd.DataFrame, score: Floats, champion: Floats | None = None) -> dict[str, Any]:
    found: Any = to_json(measure_fairness(examined(spec, frame, scores_of(spec, frame, score, champion))))
    return dict(found)


def judged_on(spec: ReleaseSpec, found: Mapping[str, Json]) -> GateReport:
    return fairness.judge(evidence_of("fairness", found), spec.gates["fairness"])


def judged(spec: ReleaseSpec, frame: pd.DataFrame, score: Floats, champion: Floats | None = None) -> GateReport:
    return judged_on(spec, measured(spec, frame, score, champion))


def failed(report: GateReport) -> set[tuple[str, str]]:
    return {(each.name, each.slice) for each in report.checks if each.required and each.verdict is Verdict.FAIL}


def only(report: GateReport, name: str) -> Check:
    return next(each for each in report.checks if each.name == name)


# -- what stops and what does not ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(TaskKind))
def test_groups_that_are_served_alike_pass_with_and_without_a_champion(kind: TaskKind) -> None:
    frame, good = people(kind)
    for champion in (None, good):
        report = judged(spec_of(kind, sensitive=("sex", "age")), frame, good, champion)
        assert report.verdict is Verdict.PASS, report.reason


def test_a_group_whose_positives_are_missed_fails_at_the_true_positive_rate() -> None:
    frame, good = people()
    biased = np.where(frame["sex"] == "f", good * 0.6, good)
    report = judged(spec_of(), frame, biased)
    assert ("true_positive_rate_gap", "sex") in failed(report)
    assert "sex=f and sex=m" in check_of(report, "true_positive_rate_gap", "sex").reason


def test_a_group_that_is_falsely_suspected_fails_at_the_false_positive_rate() -> None:
    frame, good = people()
    biased = np.where(frame["sex"] == "f", np.minimum(1.0, good + 0.3), good)
    assert ("false_positive_rate_gap", "sex") in failed(judged(spec_of(), frame, biased))


def test_a_class_that_one_group_never_gets_fails_at_its_recall() -> None:
    frame, good = people(TaskKind.MULTICLASS)
    biased = good.copy()
    group = (frame["sex"] == "f").to_numpy()
    biased[group, 0] *= 0.2
    biased /= biased.sum(axis=1, keepdims=True)
    report = judged(spec_of(TaskKind.MULTICLASS), frame, biased)
    assert ("recall_of_a_gap", "sex") in failed(report)


def test_values_too_high_for_one_group_fail_at_the_mean_error() -> None:
    frame, good = people(TaskKind.REGRESSION)
    biased = np.where(frame["sex"] == "f", good + 4.0, good)
    report = judged(spec_of(TaskKind.REGRESSION), frame, biased)
    assert failed(report) == {("mean_error_gap", "sex")}


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_group_served_worse_than_by_the_champion_fails_at_its_loss(kind: TaskKind) -> None:
    frame, good = people(kind)
    worse = good.copy()
    group = np.flatnonzero(frame["age"] == "old")
    worse[group] = good[np.random.default_rng(0).permutation(group)]
    report = judged(spec_of(kind, sensitive=("age",)), frame, worse, good)
    assert ("q_value_of_excess_loss", "age=old") in failed(report)
    assert ("q_value_of_excess_loss", "age=young") not in failed(report)


def test_other_base_rates_alone_are_told_and_do_not_block() -> None:
    frame, good = people()
    rich = good > 0.35
    frame["sex"] = np.where(np.random.default_rng(1).random(len(frame)) < np.where(rich, 0.58, 0.42), "f", "m")
    found = measured(spec_of(), frame, good)
    assert found["columns"][0]["gaps"]["base_rate"]["difference"]["estimate"] > 0.02
    assert judged_on(spec_of(), found).verdict is Verdict.PASS


# -- the four-fifths rule --------------------------------------------------------------------------------------------


def selected_less(share: float) -> tuple[pd.DataFrame, Floats]:
    frame, good = people()
    drop = (frame["sex"] == "f").to_numpy() & (np.random.default_rng(2).random(len(frame)) > share)
    return frame, np.where(drop, 0.05, good)


def test_the_four_fifths_rule_blocks_where_it_is_declared_and_advises_where_it_is_not() -> None:
    frame, score = selected_less(0.6)
    told = judged(spec_of(rate_gap=None, excess_fraction=9.0), frame, score)
    assert told.verdict is Verdict.PASS
    assert check_of(told, "selection_rate_ratio", "sex").verdict is Verdict.FAIL
    declared = judged(spec_of(rate_gap=None, excess_fraction=9.0, selection_ratio=0.8), frame, score)
    assert failed(declared) == {("selection_rate_ratio", "sex")}


def test_a_low_ratio_that_may_be_chance_is_inconclusive_as_the_rule_has_it() -> None:
    spec = spec_of(selection_ratio=0.8)
    found = measured(spec, *people())
    gap_of = found["columns"][0]["gaps"]["selection_rate"]
    gap_of["ratio"] = {"estimate": 0.75, "low": 0.5, "high": 1.0}
    assert only(judged_on(spec, found), "selection_rate_ratio").verdict is Verdict.INCONCLUSIVE
    gap_of["ratio"]["high"] = 0.95
    assert only(judged_on(spec, found), "selection_rate_ratio").verdict is Verdict.FAIL


# -- what must be shown ----------------------------------------------------------------------------------------------


def in_doubt() -> dict[str, Any]:
    found = measured(spec_of(), *people())
    difference = {"estimate": 0.12, "low": 0.03, "high": 0.2, "se": 0.04, "unit": "fraction"}
    found["columns"][0]["gaps"]["true_positive_rate"]["difference"] = difference
    return found


def test_a_gap_in_doubt_is_told_and_for_a_model_of_high_risk_it_blocks() -> None:
    found = in_doubt()
    report = judged_on(spec_of(), found)
    told = check_of(report, "true_positive_rate_gap_in_doubt", "sex")
    assert (report.verdict, told.verdict, told.required) == (Verdict.PASS, Verdict.INCONCLUSIVE, False)
    assert "would have been shown (80 % power)" in told.reason
    for strict in (found | {"risk": "high"}, {k: v for k, v in found.items() if k != "risk"}):
        assert judged_on(spec_of(), strict).verdict is Verdict.INCONCLUSIVE
    assert judged_on(spec_of(must_show="no_gap"), found).verdict is Verdict.INCONCLUSIVE
    assert judged_on(spec_of(must_show="gap"), found | {"risk": "high"}).verdict is Verdict.PASS


def test_the_risk_of_the_spec_is_measured() -> None:
    frame, good = people()
    spec = replace(spec_of(), model=ModelSection(name=spec_of().name, risk=Risk.HIGH))
    assert measured(spec, frame, good)["risk"] == "high"


# -- small groups ----------------------------------------------------------------------------------------------------


def test_a_tiny_group_is_named_and_blocks_only_where_every_group_must_be_judged() -> None:
    frame, good = people()
    frame.loc[:59, "sex"] = "x"
    report = judged(spec_of(), frame, good)
    named = check_of(report, "too_small_to_judge", "sex=x")
    assert (report.verdict, named.verdict, named.required, named.n) == (Verdict.PASS, Verdict.INCONCLUSIVE, False, 60)
    assert judged(spec_of(every_group=True), frame, good).verdict is Verdict.INCONCLUSIVE


def test_one_group_alone_is_inconclusive() -> None:
    frame, good = people()
    frame["sex"] = "f"
    assert judged(spec_of(), frame, good).verdict is Verdict.INCONCLUSIVE


def test_a_rate_over_too_few_rows_to_show_anything_is_inconclusive() -> None:
    frame, good = people(days=25, rows=40)
    rare = np.random.default_rng(0).random(len(frame)) < 0.03
    frame["label"] = np.where(rare, "yes", "no")
    report = judged(spec_of(), frame, good * 0.05)
    assert check_of(report, "true_positive_rate_gap", "sex").verdict is Verdict.INCONCLUSIVE
    assert report.verdict is not Verdict.PASS


def test_people_whose_group_is_missing_are_a_group() -> None:
    frame, good = people()
    frame["sex"] = frame["sex"].astype(object)
    frame.loc[::4, "sex"] = None
    assert check_of(judged(spec_of(), frame, good), "q_value_of_excess_loss", "sex=(missing)").n == 1250


def test_an_age_in_years_is_cut_into_fifths() -> None:
    frame, good = people()
    frame["years"] = np.random.default_rng(3).integers(18, 90, len(frame)).astype(float)
    found = measured(spec_of(sensitive=("years",)), frame, good)
    assert len(found["columns"][0]["groups"]) == 5
    assert judged_on(spec_of(sensitive=("years",)), found).verdict is Verdict.PASS


# -- nothing fails open ----------------------------------------------------------------------------------------------


def test_a_spec_that_declares_no_column_passes_and_says_so() -> None:
    report = judged(spec_of(sensitive=()), *people())
    assert report.verdict is Verdict.PASS
    assert only(report, "declared_groups").reason == "the spec declares no sensitive column"
    assert not only(report, "sensitive_columns_named").required


@pytest.mark.parametrize("key", ["declared", "columns", "task", "confidence", "basis", "overall_loss"])
def test_a_missing_measurement_is_an_error(key: str) -> None:
    found = measured(spec_of(), *people())
    del found[key]
    assert judged_on(spec_of(), found).verdict is Verdict.ERROR


@pytest.mark.parametrize("key", ["groups", "gaps", "unlisted"])
def test_a_column_without_its_numbers_is_an_error(key: str) -> None:
    found = measured(spec_of(), *people())
    del found["columns"][0][key]
    assert judged_on(spec_of(), found).verdict is Verdict.ERROR


def test_a_declared_column_without_its_groups_is_an_error() -> None:
    found = measured(spec_of(sensitive=("sex", "age")), *people())
    found["columns"] = found["columns"][:1]
    assert judged_on(spec_of(), found).verdict is Verdict.ERROR


def test_no_measurements_at_all_are_an_error() -> None:
    assert judged_on(spec_of(), {}).verdict is Verdict.ERROR


@pytest.mark.parametrize("broken", [None, "x", 3, [], [None], {"a": 1}, [{"column": "sex"}], [{"column": 3}]])
def test_malformed_columns_never_raise_and_never_pass(broken: Json) -> None:
    found = measured(spec_of(), *people()) | {"columns": broken, "intersections": broken}
    assert judged_on(spec_of(), found).verdict is Verdict.ERROR


def test_a_champion_that_could_not_be_scored_is_an_error() -> None:
    frame, good = people()
    scores = scores_of(spec_of(), frame, good, good, known=None)
    found: Any = to_json(measure_fairness(examined(spec_of(), frame, scores)))
    assert judged_on(spec_of(), found).verdict is Verdict.ERROR


def test_measurements_of_other_thresholds_are_an_error() -> None:
    found = measured(spec_of(), *people())
    strict = spec_of(min_rows=2600)  # one of the two groups has fewer
    assert check_of(judged_on(strict, found), "true_positive_rate_gap", "sex").verdict is Verdict.ERROR


def test_a_column_that_is_not_in_the_rows_cannot_be_measured() -> None:
    with pytest.raises(MeasurementError, match="'faith'"):
        measured(spec_of(sensitive=("faith",)), *people())


# -- the measurement -------------------------------------------------------------------------------------------------


def test_groups_of_two_columns_are_told_and_never_bind() -> None:
    frame, good = people(rows=400)
    corner = ((frame["sex"] == "f") & (frame["age"] == "old")).to_numpy()
    report = judged(spec_of(sensitive=("sex", "age"), rate_gap=0.2), frame, np.where(corner, good * 0.3, good))
    crossed = [each for each in report.checks if each.slice == "sex & age"]
    assert any(each.verdict is Verdict.FAIL for each in crossed)
    assert not any(each.required for each in crossed)


def test_the_measurement_of_four_wide_columns_is_small_and_holds_no_key() -> None:
    frame, good = people(rows=400)
    rng = np.random.default_rng(0)
    names = tuple(f"group-{k}" for k in range(4))
    for name in names:
        frame[name] = [f"value-{k}" for k in rng.integers(0, 30, len(frame))]
    frame["id"] = frame["id"] + 770_000_000
    found = measured(spec_of(sensitive=names), frame, good)
    assert len(json.dumps(found)) < 100_000
    assert "770000" not in json.dumps(found)
    assert found["columns"][0]["unlisted"]["groups"] == 20


def test_every_rate_difference_and_ratio_is_fairlearns() -> None:
    fair = pytest.importorskip("fairlearn.metrics")
    skmetrics = pytest.importorskip("sklearn.metrics")
    frame, good = people()
    found = measured(spec_of(sensitive=("age",)), frame, good)["columns"][0]
    y, decided = (frame["label"] == "yes").astype(int), (good >= 0.5).astype(int)
    oracle = fair.MetricFrame(
        metrics={
            "selection_rate": fair.selection_rate,
            "true_positive_rate": fair.true_positive_rate,
            "false_positive_rate": fair.false_positive_rate,
            "precision": skmetrics.precision_score,
            "accuracy": skmetrics.accuracy_score,
        },
        y_true=y,
        y_pred=decided,
        sensitive_features=frame["age"],
    )
    for name in oracle.by_group.columns:
        theirs = oracle.by_group[name]
        ours = {each["group"].removeprefix("age="): each["rates"][name]["estimate"] for each in found["groups"]}
        assert ours == pytest.approx(theirs.to_dict())
        gaps = found["gaps"][name]
        assert gaps["overall"] == pytest.approx(oracle.overall[name])
        assert gaps["difference"]["estimate"] == pytest.approx(oracle.difference()[name])
        assert gaps["ratio"]["estimate"] == pytest.approx(oracle.ratio()[name])
        assert gaps["to_overall"]["difference"] == pytest.approx(oracle.difference(method="to_overall")[name])
        assert gaps["to_overall"]["ratio"] == pytest.approx(oracle.ratio(method="to_overall")[name])
    parity = fair.demographic_parity_ratio(y, decided, sensitive_features=frame["age"])
    assert found["gaps"]["selection_rate"]["ratio"]["estimate"] == pytest.approx(parity)


# -- the intervals ---------------------------------------------------------------------------------------------------


def world(rng: np.random.Generator, shares: tuple[float, ...], days: int = 20) -> Rate:
    """Return a rate of groups with these true shares, of rows whose days differ."""
    n = days * 150
    block, group = np.repeat(np.arange(days), 150), rng.integers(0, len(shares), n)
    day = rng.normal(0, 0.05, days)[block]
    happened = (rng.random(n) < np.clip(np.asarray(shares)[group] + day, 0, 1)).astype(np.float64)
    sums = (group_sums(each, group, len(shares), block, days) for each in (happened, np.ones(n)))
    numerator, denominator = sums
    return Rate(numerator=numerator, denominator=denominator)


def coverage(runs: int, shares: tuple[float, ...]) -> tuple[float, float, float]:
    """Return how often the intervals of one group, of the widest gap and of the least ratio hold the truth."""
    rng, inside = np.random.default_rng(4), np.zeros(3)
    widest, least = max(shares) - min(shares), min(shares) / max(shares)
    for _ in range(runs):
        rate = world(rng, shares)
        found = measure_groups(rate)
        one, apart = group_estimate(rate, 0, found), gap(found, range(len(shares)))
        inside += [
            one.low <= shares[0] <= one.high,
            apart.difference.low <= widest <= apart.difference.high,
            apart.ratio.low <= least <= apart.ratio.high,
        ]
    one, two, three = (inside / runs).tolist()
    return one, two, three


@pytest.mark.parametrize("shares", [(0.3, 0.3, 0.3, 0.3), (0.2, 0.3, 0.5)])
def test_intervals_of_groups_cover_what_they_promise(shares: tuple[float, ...]) -> None:
    assert min(coverage(200, shares)) >= 0.90  # of 95 %: less once in five hundred simulations


@pytest.mark.soak
@pytest.mark.parametrize("shares", [(0.3, 0.3, 0.3, 0.3), (0.2, 0.3, 0.5), (0.05, 0.1), (0.9, 0.95, 0.97)])
def test_intervals_of_groups_cover_over_thousands_of_holdouts(shares: tuple[float, ...]) -> None:
    assert min(coverage(4000, shares)) >= 0.938


def test_a_group_that_was_always_right_is_not_sure_to_be_right() -> None:
    rate = Rate(numerator=np.full((1, 20), 3.0), denominator=np.full((1, 20), 3.0))
    found = group_estimate(rate, 0, measure_groups(rate))
    assert found.value == 1.0
    assert found.low < 0.96


def test_a_group_that_is_never_selected_has_the_ratio_zero() -> None:
    rate = Rate(numerator=np.array([[0.0] * 20, [20.0] * 20]), denominator=np.full((2, 20), 50.0))
    found = measure_groups(rate)
    apart = gap(found, [0, 1])
    assert apart.ratio.value == 0.0
    assert 0.0 < apart.ratio.high < 0.1
    assert to_overall(found, 0.2, [0, 1]) == pytest.approx((0.2, 0.0))


def false_alarms(runs: int) -> int:
    stopped = 0
    for seed in range(runs):
        frame, good = people(seed=seed, rows=80)
        stopped += judged(spec_of(sensitive=("sex", "age")), frame, good).verdict is Verdict.FAIL
    return stopped


def test_equal_groups_are_hardly_ever_stopped() -> None:
    assert false_alarms(8) == 0


@pytest.mark.soak
def test_equal_groups_are_hardly_ever_stopped_over_hundreds_of_holdouts() -> None:
    assert false_alarms(400) <= 4
