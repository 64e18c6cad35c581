"""The robustness gate stops models that lose their heads over input that is not as it should be, for that reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lockgate.core.contract import TaskKind
from lockgate.core.gates import robustness
from lockgate.core.ids import Digest, canonical_json, to_json
from lockgate.core.robustness import Blocks, answer_change, noise_scale, share
from lockgate.core.spec import DirectionalSection, Effect, InvariantSection, RobustnessSection
from lockgate.core.verdict import GateReport, Verdict
from lockgate.stages.perturbing import Kind, perturbed
from lockgate.stages.robustness import measure_robustness
from lockgate.stages.sampling import ChampionScores
from tests.unit.judgement.asked_again import answering, examined, holdout, judged, signal, spec_of
from tests.unit.judgement.scenes import check_of, evidence_of

KINDS = list(TaskKind)


def failed(report: GateReport) -> set[str]:
    return {check.name for check in report.checks if check.required and check.verdict is not Verdict.PASS} - {
        check.name for check in report.checks if check.verdict is Verdict.NOT_APPLICABLE
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_model_passes_with_and_without_a_champion(kind: TaskKind) -> None:
    frame, model = holdout(kind), answering(kind)
    for champion in (None, model):
        report = judged(spec_of(kind), frame, model, champion)
        assert report.verdict is Verdict.PASS, report.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_answers_nulls_with_no_number_is_stopped(kind: TaskKind) -> None:
    def nulls_stay(frame: pd.DataFrame) -> np.ndarray:
        return np.where(frame["idle"].isna(), np.nan, signal(frame))

    report = judged(spec_of(kind), holdout(kind), answering(kind, nulls_stay))
    check = check_of(report, "invalid_answers_null")
    assert check.verdict is Verdict.FAIL
    assert "idle" in check.reason
    assert check.observed == 1500
    assert {"invalid_answers_null", "invalid_answers_tenth_null"} <= failed(report)


def test_a_model_that_raises_on_what_it_does_not_know_has_no_answer_to_it() -> None:
    def picky(frame: pd.DataFrame) -> np.ndarray:
        if not frame["city"].isin(["oslo", "rome", "lima"]).all():
            raise KeyError("a city")
        return signal(frame)

    report = judged(spec_of(), holdout(), answering(TaskKind.BINARY, picky))
    assert check_of(report, "invalid_answers_unseen_category").verdict is Verdict.FAIL
    assert check_of(report, "loss_unseen_category").verdict is Verdict.ERROR


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_jumps_on_nulls_is_stopped_by_what_that_costs(kind: TaskKind) -> None:
    def jumps(frame: pd.DataFrame) -> np.ndarray:
        return np.where(frame["z"].isna(), 8.0, signal(frame))

    report = judged(spec_of(kind), holdout(kind), answering(kind, jumps))
    check = check_of(report, "loss_null")
    assert check.verdict is Verdict.FAIL
    assert "z" in check.reason
    assert check.estimate is not None
    assert check.estimate > 1.5
    assert check.interval is not None


def test_a_null_that_the_holdout_never_has_is_shown_and_does_not_block() -> None:
    def jumps(frame: pd.DataFrame) -> np.ndarray:
        return np.where(frame["idle"].isna(), 8.0, signal(frame))

    report = judged(spec_of(), holdout(), answering(TaskKind.BINARY, jumps))
    assert check_of(report, "loss_null_elsewhere").verdict is Verdict.FAIL
    assert report.verdict is Verdict.PASS


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_harder_hit_by_nulls_than_the_champion_is_stopped(kind: TaskKind) -> None:
    def shifts(frame: pd.DataFrame) -> np.ndarray:
        return signal(frame) - np.where(frame["z"].isna(), 1.4, 0.0)

    frame = holdout(kind)
    frame.loc[frame["z"].isna().to_numpy() & (np.arange(len(frame)) % 10 > 0), "z"] = 0.0  # rare: the mean hides it
    report = judged(spec_of(kind), frame, answering(kind, shifts), answering(kind))
    assert "extra_loss_null" in failed(report) <= {"extra_loss_null", "extra_loss_tenth_null"}
    assert judged(spec_of(kind), frame, answering(kind, shifts)).verdict is Verdict.PASS


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_model_is_stopped(kind: TaskKind) -> None:
    report = judged(spec_of(kind), holdout(kind), answering(kind, lambda frame: np.zeros(len(frame))))
    assert failed(report) == {"commonest_answer"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_read_in_another_unit_is_stopped(kind: TaskKind) -> None:
    def in_thousandths(frame: pd.DataFrame) -> np.ndarray:
        return signal(frame.assign(x=10 + (frame["x"] - 10) * 1000))

    report = judged(spec_of(kind), holdout(kind), answering(kind, in_thousandths))
    assert check_of(report, "loss_tiny_change").verdict is Verdict.FAIL
    if kind is TaskKind.REGRESSION:  # probabilities end at 0 and 1, where nothing moves them
        assert check_of(report, "moved_tiny_change").verdict is Verdict.FAIL


def test_a_model_that_hangs_on_the_last_digit_is_unstable() -> None:
    def hashed(frame: pd.DataFrame) -> np.ndarray:
        return np.where((frame["x"] * 1e4).fillna(0).astype(np.int64) % 2 == 0, 3.0, -3.0) + signal(frame)

    report = judged(spec_of(), holdout(), answering(TaskKind.BINARY, hashed))
    assert check_of(report, "moved_tiny_change").verdict is Verdict.FAIL
    assert check_of(report, "flips_tiny_change").verdict is Verdict.FAIL


def test_noise_binds_where_the_spec_declares_it_and_is_advice_elsewhere() -> None:
    def steep(frame: pd.DataFrame) -> np.ndarray:
        return signal(frame) + np.where(frame["idle"].fillna(0) > 0, 2.0, -2.0)

    model = answering(TaskKind.BINARY, steep)
    declared = RobustnessSection(noise={"idle": 1.0})
    assert judged(spec_of(), holdout(), model).verdict is Verdict.PASS
    report = judged(spec_of(robust=declared), holdout(), model)
    assert check_of(report, "moved_noise").verdict is Verdict.FAIL
    assert "idle" in check_of(report, "moved_noise").reason


def test_a_number_far_out_of_range_must_have_an_answer() -> None:
    def overflows(frame: pd.DataFrame) -> np.ndarray:
        return np.where(frame["x"].abs() > 100, np.inf, signal(frame))

    report = judged(
        spec_of(TaskKind.REGRESSION), holdout(TaskKind.REGRESSION), answering(TaskKind.REGRESSION, overflows)
    )
    assert failed(report) == {"invalid_answers_extremes"}
    assert "x first" in check_of(report, "invalid_answers_extremes").reason


def test_columns_are_taken_by_name() -> None:
    def by_place(frame: pd.DataFrame) -> np.ndarray:
        return frame.select_dtypes("number").iloc[:, 1].fillna(10).to_numpy() - 10

    report = judged(spec_of(), holdout(), answering(TaskKind.BINARY, by_place))
    assert "column_order" in failed(report)


def test_rows_are_answered_one_by_one() -> None:
    def with_the_row_before(frame: pd.DataFrame) -> np.ndarray:
        return signal(frame) + 0.1 * np.roll(signal(frame), 1)

    report = judged(spec_of(), holdout(), answering(TaskKind.BINARY, with_the_row_before))
    assert "row_order" in failed(report)


@pytest.mark.parametrize("kind", KINDS)
def test_a_declared_invariance_binds(kind: TaskKind) -> None:
    asked = InvariantSection(column="city", values=("oslo", "rome"), tolerance=0.02, rows_fraction=0.05)
    spec = spec_of(kind, RobustnessSection(invariant=(asked,)))
    frame = holdout(kind)
    report = judged(spec, frame, answering(kind))
    check = next(each for each in report.checks if each.name == "invariant")
    assert check.verdict is Verdict.FAIL
    assert check.n == int(frame["city"].isin(["oslo", "rome"]).sum())
    blind = answering(kind, lambda rows: signal(rows.assign(city="lima")))
    assert judged(spec, frame, blind).verdict is Verdict.PASS


@pytest.mark.parametrize("kind", KINDS)
def test_a_declared_direction_binds(kind: TaskKind) -> None:
    of = "a" if kind is TaskKind.MULTICLASS else None
    asked = DirectionalSection(column="x", step=1.0, answer=Effect.NOT_LOWER, of=of, tolerance=1e-6, rows_fraction=0.01)
    spec = spec_of(kind, RobustnessSection(directional=(asked,)))
    assert judged(spec, holdout(kind), answering(kind)).verdict is Verdict.PASS
    turned = answering(kind, lambda rows: signal(rows.assign(x=10 + np.where(rows["x"] > 12, 12 - rows["x"], 0.0))))
    report = judged(spec, holdout(kind), turned)
    assert next(each for each in report.checks if each.name == "directional").verdict is Verdict.FAIL


def test_never_holds_while_no_counter_example_is_found_and_one_breaks_it() -> None:
    asked = DirectionalSection(column="x", step=1.0, answer=Effect.NOT_LOWER, tolerance=1e-6)
    spec = spec_of(robust=RobustnessSection(directional=(asked,)))
    assert judged(spec, holdout(), answering(TaskKind.BINARY)).verdict is Verdict.PASS
    frame = holdout()
    top = float(frame["x"].max())
    once = answering(TaskKind.BINARY, lambda rows: np.where(rows["x"] > top, -5.0, signal(rows)))
    assert judged(spec, frame, once).verdict is Verdict.FAIL


def test_an_expectation_that_hardly_a_row_speaks_to_is_inconclusive() -> None:
    asked = InvariantSection(column="city", values=("paris", "bonn"), tolerance=0.1)
    report = judged(spec_of(robust=RobustnessSection(invariant=(asked,))), holdout(), answering(TaskKind.BINARY))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "only 0 rows" in report.reason


def test_too_few_days_are_inconclusive() -> None:
    report = judged(spec_of(), holdout(days=10, rows=300), answering(TaskKind.BINARY))
    assert report.verdict is Verdict.INCONCLUSIVE


def test_an_unscored_champion_is_no_absent_champion() -> None:
    examination = examined(spec_of(), holdout(), answering(TaskKind.BINARY))
    unscored = ChampionScores(bundle=Digest("b" * 64), scores=None, known_keys=None, unscored_because="it is gone")
    scores = replace(examination.scores, champion=unscored)
    measured: Any = to_json(measure_robustness(replace(examination, scores=scores)))
    report = robustness.judge(evidence_of("robustness", measured), robustness.Thresholds())
    assert report.verdict is Verdict.ERROR


def measured_once() -> Mapping[str, Any]:
    found: Any = to_json(measure_robustness(examined(spec_of(), holdout(), answering(TaskKind.BINARY))))
    return dict(found)


def test_no_measurement_passes_for_lack_of_a_number() -> None:
    whole = measured_once()
    for key in whole:
        if key in ("sample", "task", "loss", "naive_loss", "champion_loss"):
            continue  # shown, not judged
        for broken in ({k: v for k, v in whole.items() if k != key}, {**whole, key: None}, {**whole, key: "NaN"}):
            report = robustness.judge(evidence_of("robustness", broken), robustness.Thresholds())
            assert report.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.FAIL), key


def test_measurements_are_small_and_hold_no_row() -> None:
    text = canonical_json(measured_once()).decode()
    assert len(text) < 20_000
    assert json.loads(text)["n"] == 1500
    assert "oslo" not in text


def test_the_sample_is_seeded_declared_and_large() -> None:
    frame = holdout(rows=400)
    examination = examined(spec_of(), frame, answering(TaskKind.BINARY))
    first, second = (measure_robustness(examination) for _ in range(2))
    assert first == second
    assert first["sample"] == {"rows": 5000, "of": 10_000, "seed": 7}


def test_every_change_is_made_where_it_is_said_and_nowhere_else() -> None:
    frame, spec = holdout(), spec_of(robust=RobustnessSection(noise={"x": 0.5}))
    for each in perturbed(spec, frame, ("z",), seed=1):
        changed = {name for name in frame.columns if not frame[name].equals(each.frame[name])}
        assert changed <= set(spec.data.features)
        if each.column is not None:
            assert changed == {each.column}
        if each.kind is Kind.NOISE and each.column == "x":
            assert float((each.frame["x"] - frame["x"]).std()) == pytest.approx(0.5, rel=0.1)


def test_whole_numbers_are_counted_and_not_shaken() -> None:
    assert noise_scale(np.array([0.0, 1.0, 2.0]), 0.1) == 0.0
    assert noise_scale(np.array([np.nan]), 0.1) == 0.0


def test_the_share_of_no_hits_is_bounded_by_the_exact_binomial() -> None:
    found = share(np.zeros(300, dtype=bool), Blocks(of=np.arange(300) % 30, count=30))
    assert found.high == pytest.approx(stats.binomtest(0, 300).proportion_ci(method="exact").high, abs=1e-12)
    every = share(np.ones(300, dtype=bool), Blocks(of=np.arange(300) % 30, count=30))
    assert every.low == pytest.approx(stats.binomtest(300, 300).proportion_ci(method="exact").low, abs=1e-12)


def test_no_answer_has_moved_by_no_number() -> None:
    moved = answer_change(TaskKind.BINARY, np.array([0.5]), np.array([np.nan]), 1.0)
    assert np.isnan(moved).all()


def test_a_change_that_is_not_said_to_be_optional_binds() -> None:
    found = measure_robustness(examined(spec_of(), holdout(), answering(TaskKind.BINARY)))
    plain: Any = to_json(found)
    unsaid = [{name: each[name] for name in each if name != "expected"} for each in plain["perturbations"]]
    told = robustness.judge(evidence_of("robustness", plain), robustness.Thresholds())
    unsure = robustness.judge(evidence_of("robustness", {**plain, "perturbations": unsaid}), robustness.Thresholds())
    names = [{check.name for check in report.checks if check.required} for report in (told, unsure)]
    assert names[0] <= names[1]


def test_a_champion_that_answers_no_changed_row_is_told_of() -> None:
    def only_whole_rows(frame: pd.DataFrame) -> np.ndarray:
        usual = frame["city"].isin(["oslo", "rome", "lima"]) & frame["x"].notna() & (frame["z"] != 0)
        return np.where(usual & ~frame["z"].isna().all(), signal(frame), np.nan)

    model = answering(TaskKind.BINARY)
    report = judged(spec_of(), holdout(), model, answering(TaskKind.BINARY, only_whole_rows))
    check = check_of(report, "extra_loss_unseen_category")
    assert (check.required, check.verdict) == (False, Verdict.INCONCLUSIVE)
    assert "nothing is there to compare with" in check.reason
