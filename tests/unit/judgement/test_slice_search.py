"""The search finds a planted pair of columns, and nothing where there is nothing.

The planted world is that of a published trap: the labels of one pair (f3 above 1 and kind b) are drawn by a coin, while
other rows are harder for any model (around f0). Finders that rank by raw loss return the hard rows.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lockgate.core import metrics
from lockgate.core.contract import TaskKind
from lockgate.core.gates import slices as slices_gate
from lockgate.core.gates.slices import Binding, Thresholds
from lockgate.core.ids import to_json
from lockgate.core.metrics import Floats
from lockgate.core.slice_codes import bins_for, coded_numbers
from lockgate.core.slice_scan import Candidate, Plan, Rows
from lockgate.core.slice_search import alike, search
from lockgate.core.slices import Table, beyond_parents
from lockgate.core.spec import DataSection, ReleaseSpec
from lockgate.core.verdict import GateReport, Verdict
from lockgate.stages.slice_search import slice_search_section
from lockgate.stages.slicing import measure_slices
from tests.unit.judgement.scenes import evidence_of, examined, scores_of, spec_of

NUMBERS = tuple(f"f{k}" for k in range(20))
KINDS = ("kind", "c1", "c2", "c3")
PLANTED = {"f3", "kind"}


def world(rows: int, seed: int, *, planted: bool, days: int = 21, fault: float = 1.0) -> tuple[pd.DataFrame, Floats]:
    """Return rows, and the answers of a model that knows everything but the day and the fault."""
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, days, rows))
    x = rng.normal(size=(rows, len(NUMBERS)))
    kinds = {name: rng.choice(list("abcd"), rows, p=[0.4, 0.3, 0.2, 0.1]) for name in KINDS}
    signal = -2.0 + 1.0 * x[:, 0] + 0.6 * x[:, 1] - 0.4 * x[:, 2] + 0.5 * (kinds["kind"] == "b")
    happened = rng.random(rows) < 1 / (1 + np.exp(-signal - rng.normal(0, 0.3, days)[day]))
    bad = (x[:, 3] > 1) & (kinds["kind"] == "b") & (rng.random(rows) < fault)
    if planted:
        happened[bad] = rng.random(int(bad.sum())) < 0.5
    time_ = pd.Timestamp("2013-02-01", tz="UTC") + pd.to_timedelta(day * 24 + 12, unit="h")
    frame = pd.DataFrame(
        {"id": np.arange(rows) + 880_000_000, "time": time_, "label": np.where(happened, "yes", "no")}
        | dict(zip(NUMBERS, x.T, strict=True))
        | kinds
    )
    return frame, 1 / (1 + np.exp(-signal))


def spec_for(kind: TaskKind = TaskKind.BINARY, **more: Any) -> ReleaseSpec:
    data = DataSection(suite="toy", label="label", time="time", key=("id",), numeric=NUMBERS, categorical=KINDS)
    return replace(spec_of(kind), data=data, slices=(), gates={"slices": Thresholds(**more)})


def searched(frame: pd.DataFrame, score: Floats, champion: Floats | None = None, **more: Any) -> dict[str, Any]:
    spec = spec_for(**more)
    found: Any = to_json(slice_search_section(examined(spec, frame, scores_of(spec, frame, score, champion))))
    return dict(found)


def confirmed(section: dict[str, Any]) -> list[set[str]]:
    return [set(each["columns"]) for each in section["findings"] if each["confirmed"]]


def judged(frame: pd.DataFrame, score: Floats, champion: Floats | None = None, **more: Any) -> GateReport:
    spec = spec_for(**more)
    examination = examined(spec, frame, scores_of(spec, frame, score, champion))
    found: Any = to_json(measure_slices(spec, examination.sample, examination.comparison))
    return slices_gate.judge(evidence_of("slices", found), spec.gates["slices"])


# -- what it finds ---------------------------------------------------------------------------------------------------


def found_share(rows: int, runs: int, *, fault: float = 1.0) -> float:
    hits = [PLANTED in confirmed(searched(*world(rows, 40 + k, planted=True, fault=fault))) for k in range(runs)]
    return float(np.mean(hits))


def test_the_planted_pair_is_the_first_finding_and_is_confirmed() -> None:
    section = searched(*world(10_000, 1, planted=True))
    first = section["findings"][0]
    assert (set(first["columns"]), first["confirmed"]) == (PLANTED, True)
    assert first["slice"].endswith("kind=b")
    assert first["excess"]["low"] > 0.2
    assert first["beyond_parents"]["low"] > 0.2


def test_the_hard_rows_that_a_ranking_by_raw_loss_returns_are_no_finding() -> None:
    frame, score = world(10_000, 1, planted=True)
    loss = metrics.log_loss_rows((frame["label"] == "yes").to_numpy().astype(np.int64), score)
    hardest = max(NUMBERS, key=lambda name: loss[frame[name] > frame[name].quantile(7 / 8)].mean())
    assert hardest == "f0"
    assert {"f0"} not in confirmed(searched(frame, score))


def test_the_planted_pair_is_mostly_found_in_five_thousand_rows() -> None:
    assert found_share(5_000, 3) >= 0.5  # 0.83 of forty runs, 1.0 at ten thousand


@pytest.mark.soak
@pytest.mark.parametrize(
    ("rows", "fault", "least"),
    [(5_000, 1.0, 0.65), (10_000, 1.0, 0.93), (20_000, 0.5, 0.8), (50_000, 0.25, 0.65)],
)
def test_the_planted_pair_is_found_at_these_sizes(rows: int, fault: float, least: float) -> None:
    assert found_share(rows, 60, fault=fault) >= least


def test_a_pair_that_only_the_challenger_fails_is_found_against_the_champion() -> None:
    frame, good = world(20_000, 2, planted=False)
    bad = np.where((frame["f3"] > 1) & (frame["kind"] == "b"), np.clip(good + 0.4, 0, 0.95), good)
    section = searched(frame, bad, good)
    assert section["basis"] == "champion"
    assert set(section["findings"][0]["columns"]) == PLANTED
    assert section["findings"][0]["confirmed"]


def test_a_pair_in_which_values_are_off_is_found_for_a_regression() -> None:
    frame, score = world(10_000, 3, planted=False)
    rng = np.random.default_rng(0)
    frame["label"] = 10 * score + rng.normal(0, 1, len(frame))
    off = np.where((frame["f3"] > 1) & (frame["kind"] == "b"), 2.0, 0.0)
    spec = spec_for(TaskKind.REGRESSION)
    section: Any = slice_search_section(examined(spec, frame, scores_of(spec, frame, 10 * score + off)))
    assert set(section["findings"][0]["columns"]) == PLANTED
    assert section["findings"][0]["confirmed"]


def test_a_class_that_is_swapped_in_a_pair_is_found_among_three() -> None:
    frame, score = world(10_000, 4, planted=False)
    rng = np.random.default_rng(0)
    odds = np.column_stack([score, (1 - score) * 0.7, (1 - score) * 0.3])
    frame["label"] = np.array(["a", "b", "c"])[
        (rng.random((len(frame), 1)) > odds.cumsum(axis=1)).sum(axis=1).clip(max=2)
    ]
    swapped = odds.copy()
    corner = ((frame["f3"] > 1) & (frame["kind"] == "b")).to_numpy()
    swapped[corner] = odds[corner][:, [0, 2, 1]]
    spec = spec_for(TaskKind.MULTICLASS)
    section: Any = slice_search_section(examined(spec, frame, scores_of(spec, frame, swapped)))
    assert set(section["findings"][0]["columns"]) == PLANTED
    assert section["findings"][0]["confirmed"]


def test_a_missing_value_is_a_slice() -> None:
    frame, good = world(10_000, 5, planted=False)
    gone = np.random.default_rng(1).random(len(frame)) < 0.1
    frame.loc[gone, "f7"] = np.nan
    section = searched(frame, np.where(gone, np.clip(good + 0.3, 0, 1), good), good)
    assert section["findings"][0]["slice"] == "f7=(missing)"
    assert section["findings"][0]["confirmed"]


def test_a_column_that_is_bad_as_a_whole_is_told_once_and_alone() -> None:
    frame, good = world(10_000, 6, planted=False)
    section = searched(frame, np.where(frame["kind"] == "c", np.clip(good + 0.3, 0, 1), good), good)
    assert confirmed(section) == [{"kind"}]


# -- what it does not find -------------------------------------------------------------------------------------------


def false_findings(runs: int, rows: int, *, days: int = 21, champion: bool = False) -> int:
    """Return in how many searches of a world without a fault anything is confirmed."""
    alarms = 0
    for seed in range(runs):
        frame, good = world(rows, 9_000 + seed, planted=False, days=days)
        rng = np.random.default_rng(seed)
        noisy = 1 / (1 + np.exp(-np.log(good / (1 - good)) - rng.normal(0, 0.2, rows)))
        again = 1 / (1 + np.exp(-np.log(good / (1 - good)) - rng.normal(0, 0.2, rows)))
        alarms += bool(confirmed(searched(frame, noisy, again if champion else None)))
    return alarms


@pytest.mark.parametrize("champion", [False, True])
def test_nothing_is_confirmed_where_there_is_nothing(champion: bool) -> None:
    assert false_findings(5, 3_000, champion=champion) <= 1  # of 5 %: more than 1 once in forty, and never so far


@pytest.mark.soak
@pytest.mark.parametrize("champion", [False, True])
@pytest.mark.parametrize(("rows", "days"), [(4_000, 21), (20_000, 21), (20_000, 60)])
def test_false_findings_keep_to_the_stated_rate(rows: int, days: int, champion: bool) -> None:
    runs = 200
    assert false_findings(runs, rows, days=days, champion=champion) <= stats.binom.ppf(0.999, runs, 0.05)


def test_the_number_it_was_chosen_for_is_optimistic_and_the_other_half_is_not() -> None:
    sections = [searched(*world(4_000, 700 + k, planted=False)) for k in range(3)]
    found = [each for section in sections for each in section["findings"]]
    chosen = np.mean([each["searched"]["excess"]["estimate"] for each in found])
    afresh = np.mean([each["excess"]["estimate"] for each in found])
    assert chosen > 0.1
    assert abs(afresh) < chosen / 3


# -- what it says ----------------------------------------------------------------------------------------------------


def test_a_finding_is_advice_unless_the_spec_says_that_it_binds() -> None:
    frame, score = world(10_000, 1, planted=True)
    advice = judged(frame, score)
    told = [each for each in advice.checks if each.name == "q_value_of_searched_excess_loss"]
    assert (advice.verdict, told[0].verdict, told[0].required) == (Verdict.PASS, Verdict.FAIL, False)
    binding = judged(frame, score, searched=Binding.REQUIRED)
    assert binding.verdict is Verdict.FAIL
    assert "found by the search" in binding.reason
    assert "kind=b" in binding.reason
    off = judged(frame, score, searched=Binding.OFF)
    assert not any("searched" in each.name for each in off.checks)


def test_a_search_that_cannot_be_made_says_why_and_where_it_binds_is_inconclusive() -> None:
    frame, score = world(3_000, 1, planted=False, days=12)
    assert "16 are needed" in searched(frame, score)["reason"]
    assert judged(frame, score).verdict is Verdict.PASS
    assert judged(frame, score, searched=Binding.REQUIRED).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("broken", [None, "x", [], {}, {"searched": True}, {"findings": [], "candidates": "NaN"}])
def test_a_search_that_binds_and_was_not_measured_is_an_error(broken: Any) -> None:
    spec = spec_for(searched=Binding.REQUIRED)
    frame, score = world(3_000, 1, planted=False)
    examination = examined(spec, frame, scores_of(spec, frame, score))
    found: Any = to_json(measure_slices(spec, examination.sample, None)) | {"searched": broken}
    assert slices_gate.judge(evidence_of("slices", found), spec.gates["slices"]).verdict is Verdict.ERROR


def test_a_finding_without_its_number_is_an_error_where_it_binds() -> None:
    spec = spec_for(searched=Binding.REQUIRED)
    frame, score = world(6_000, 1, planted=True)
    examination = examined(spec, frame, scores_of(spec, frame, score))
    found: Any = to_json(measure_slices(spec, examination.sample, None))
    found["searched"]["findings"] = [found["searched"]["findings"][0] | {"excess": {"estimate": "NaN"}}]
    assert slices_gate.judge(evidence_of("slices", found), spec.gates["slices"]).verdict is Verdict.ERROR


def test_a_champion_that_could_not_be_scored_is_no_reason_to_search_without_it() -> None:
    frame, good = world(3_000, 1, planted=False)
    section = slice_search_section(examined(spec_for(), frame, scores_of(spec_for(), frame, good, good, known=None)))
    assert section["searched"] is False


def test_the_section_is_small_and_holds_no_key() -> None:
    section = json.dumps(searched(*world(10_000, 1, planted=True)))
    assert len(section) < 20_000
    assert "880000" not in section


def test_the_same_rows_give_the_same_digits() -> None:
    assert searched(*world(3_000, 1, planted=True)) == searched(*world(3_000, 1, planted=True))


@pytest.mark.parametrize("rows", [0, 1, 40, 300])
def test_few_rows_find_nothing_and_break_nothing(rows: int) -> None:
    frame, score = world(300, 1, planted=False)
    section = searched(frame.iloc[:rows], score[:rows])
    assert not section.get("findings")


# -- its parts -------------------------------------------------------------------------------------------------------


def test_more_columns_than_are_paired_are_searched_alone_and_counted() -> None:
    frame, _ = world(4_000, 1, planted=False)
    columns = [coded_numbers(name, frame[name].to_numpy(), 4) for name in NUMBERS]
    rng = np.random.default_rng(0)
    difference = rng.normal(size=len(frame)) + 0.8 * (columns[5].codes == 2) * (columns[6].codes == 1)
    block = np.sort(rng.integers(0, 20, len(frame)))
    rows = Rows(difference=difference, block=block, blocks=20, against_rest=True)
    found = search(columns, rows, Plan(columns=3))
    assert found.paired == 3
    assert found.candidates == 20 * 4 + 3 * 16
    assert search(columns, rows, Plan()).findings[0].candidate == Candidate(columns=(5, 6), codes=(2, 1))


def test_what_two_columns_explain_together_is_not_beyond_them() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(8_000) < 0.3, rng.random(8_000) < 0.3
    block = np.repeat(np.arange(20), 400)

    def contrast(difference: Floats) -> float:
        rows = Rows(difference=difference, block=block, blocks=20, against_rest=True)
        found = beyond_parents(rows.table(first), rows.table(second), rows.table(first & second), rows.whole())
        return float(found.value[0] / found.se[0])

    noise = rng.normal(0, 0.2, 8_000)
    assert abs(contrast(noise + 0.5 * first + 0.5 * second)) < 3
    assert contrast(noise + 0.5 * (first & second)) > 10


def test_the_contrast_of_two_columns_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(1)
    first, second, difference = rng.random(900) < 0.4, rng.random(900) < 0.5, rng.normal(size=900)
    rows = Rows(difference=difference, block=np.arange(900) % 30, blocks=30, against_rest=True)
    found = beyond_parents(rows.table(first), rows.table(second), rows.table(first & second), rows.whole())
    design = np.column_stack([np.ones(900), first, second, first & second]).astype(float)
    assert found.value[0] == pytest.approx(np.linalg.lstsq(design, difference)[0][3])


def test_an_empty_part_of_the_four_leaves_nothing_to_say() -> None:
    one = Table(rows=np.ones((1, 5)), over=np.ones((1, 5)))
    assert np.isnan(beyond_parents(one, one, one, one).se[0])


def test_what_rows_should_cost_follows_what_was_answered() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(4_000)
    loss = score * (1 - score)
    assert np.abs(alike(loss, score) - loss).max() < 0.06
    assert bins_for(50_000, 100) == 8


def test_a_hundred_thousand_rows_of_24_columns_take_under_six_cpu_seconds() -> None:
    frame, score = world(100_000, 1, planted=True)
    spec = spec_for()
    examination = examined(spec, frame, scores_of(spec, frame, score))
    cpu_s: list[float] = []
    while not cpu_s or (cpu_s[-1] >= 6.0 and len(cpu_s) < 5):  # once is enough: neighbours on the machine add to it
        before = time.process_time()
        section: Any = slice_search_section(examination)
        cpu_s.append(time.process_time() - before)
    assert cpu_s[-1] < 6.0, cpu_s
    assert section["candidates"] > 10_000
    assert set(section["findings"][0]["columns"]) == PLANTED
