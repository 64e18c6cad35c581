"""What a selftest says of what it found."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from lockgate.core.ids import Stage
from lockgate.core.verdict import Verdict
from lockgate.selftest import toy
from lockgate.selftest.fault import Size
from lockgate.selftest.library import faults_named
from lockgate.selftest.pushing import How, Stop, Trial, broke
from lockgate.selftest.report import Report, page, table
from lockgate.selftest.trials import Alike

LEAK = faults_named(["innocent_leak"])[0]
STOP = Stop(
    stage=Stage.VALIDATE_DATA, gate="leakage", check="single_feature_score", verdict=Verdict.FAIL, reason="too | good"
)


def trial(size: Size, how: How) -> Trial:
    stop = None if how is How.ESCAPED else STOP
    return Trial(fault=LEAK.name, size=size, amount=LEAK.amount_at(size), how=how, stop=stop, seconds=1.0)


def report(*trials: Trial, alike: tuple[Alike, ...] = ()) -> Report:
    sizes = tuple(each.size for each in trials)
    return Report(spec=toy.spec(), faults=(LEAK,), sizes=sizes, trials=trials, alike=alike, stopped_by={}, seconds=2.0)


def test_an_escape_at_full_size_fails_the_selftest_and_a_smaller_one_does_not() -> None:
    assert report(trial(Size.FULL, How.CAUGHT), trial(Size.HALF, How.ESCAPED)).passed
    for how in (How.ESCAPED, How.ELSEWHERE, How.BROKE):
        found = report(trial(Size.FULL, how))
        assert not found.passed
        assert [each["fault"] for each in found.as_json()["escaped"]] == [LEAK.name]  # type: ignore[union-attr, index, call-overload]


def test_nothing_tried_is_no_success() -> None:
    assert not report().passed


def test_the_smallest_size_counts_only_down_to_the_first_escape() -> None:
    caught = [trial(size, How.CAUGHT) for size in Size]
    smallest = report(*caught).smallest(LEAK.name)
    assert smallest is not None
    assert smallest.size is Size.QUARTER
    with_hole = report(trial(Size.FULL, How.CAUGHT), trial(Size.HALF, How.ESCAPED), trial(Size.QUARTER, How.CAUGHT))
    assert with_hole.smallest(LEAK.name) == trial(Size.FULL, How.CAUGHT)
    assert report(trial(Size.FULL, How.ESCAPED)).smallest(LEAK.name) is None


def test_a_fault_that_could_not_be_made_says_why_and_is_not_caught() -> None:
    found = broke(LEAK, Size.FULL, ValueError("no such column"))
    assert found.how is How.BROKE
    assert found.stop is not None
    assert "no such column" in found.stop.reason
    assert not report(found).passed


def test_a_fault_that_does_not_apply_is_neither_caught_nor_escaped() -> None:
    biased = faults_named(["group_bias"])
    bare = replace(report(trial(Size.FULL, How.CAUGHT)), spec=replace(toy.spec(), sensitive=()), faults=(LEAK, *biased))
    assert set(bare.not_applicable) == {"group_bias"}
    assert bare.passed
    assert table(bare)[1][2] == "does not apply"


def test_the_false_alarm_rate_comes_with_its_exact_interval() -> None:
    alike = tuple(Alike(seed=seed, stops=(STOP,) if seed == 0 else (), seconds=1.0) for seed in range(20))
    told = report(trial(Size.FULL, How.CAUGHT), alike=alike).as_json()["alike"]
    assert isinstance(told, dict)
    assert (told["runs"], told["stopped"], told["false_alarm_fraction"]) == (20, 1, 0.05)
    assert [round(each, 4) for each in told["interval_95"]] == [0.0013, 0.2487]  # Clopper-Pearson, 1 of 20
    assert told["stops"][0]["seed"] == 0


def test_the_page_names_what_was_not_caught_and_keeps_its_table_whole() -> None:
    said = page(report(trial(Size.FULL, How.ELSEWHERE)), date(2026, 1, 2), "a machine")
    assert "# Selftest, 2026-01-02" in said
    assert "`innocent_leak` at full: caught elsewhere (leakage said FAIL" in said
    rows = [line for line in said.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
