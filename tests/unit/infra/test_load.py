from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from lockgate.core.ids import Json
from lockgate.core.load import (
    CHALLENGER,
    CHAMPION,
    ECHO,
    KNEE,
    SOAK,
    SPIKE,
    STEADY,
    histogram_between,
    histogram_quantile,
    histogram_quantile_low,
    intended_starts,
    plan,
    quantile,
    quantile_upper,
    read_histogram,
    window_at,
)
from lockgate.core.load_curve import ServiceLevel
from lockgate.core.load_summary import LOCUST, OPEN_LOOP, LoadRun, Sample, as_samples, summarise
from lockgate.core.load_witness import Between
from lockgate.core.memory_growth import Reading

LEVEL = ServiceLevel(p95_ms=100.0, p99_ms=250.0, error_fraction=0.0, achieved_fraction=0.95, late_ms=50.0)


@pytest.mark.parametrize("champion", [True, False])
@pytest.mark.parametrize("duration", [3.0, 20.0, 61.7])
@pytest.mark.parametrize("soak", [0.0, 7.0])
def test_a_plan_fills_the_declared_window_without_gaps(champion: bool, duration: float, soak: float) -> None:
    windows = plan(duration, 50.0, champion=champion, soak_s=soak)
    assert windows[0].start_s == 0
    assert windows[-1].end_s == pytest.approx(duration + soak)
    assert sum(w.end_s - w.start_s for w in windows if w.phase == SOAK) == pytest.approx(soak)
    assert all(before.end_s == after.start_s for before, after in pairwise(windows))


def test_both_arms_get_the_same_time_in_every_phase() -> None:
    windows = plan(20.0, 50.0, champion=True)
    for phase in {window.phase for window in windows}:
        seconds = {
            arm: sum(w.end_s - w.start_s for w in windows if (w.arm, w.phase) == (arm, phase))
            for arm in (CHALLENGER, CHAMPION)
        }
        assert seconds[CHALLENGER] == pytest.approx(seconds[CHAMPION])
        assert seconds[CHALLENGER] > 0


def test_what_overloads_a_server_comes_after_all_that_is_judged() -> None:
    windows = plan(20.0, 50.0, champion=True, soak_s=10.0)
    assert [window.overloads for window in windows] == sorted(window.overloads for window in windows)
    assert {window.phase for window in windows if window.overloads} == {SPIKE, "knee-400", "knee-800", "knee-1600"}


def test_the_open_loop_sends_alone_while_the_knee_is_looked_for() -> None:
    windows = plan(20.0, 50.0, champion=True)
    last = windows[-1]
    assert last.phase == f"{KNEE}-1600"
    sent = [at for at, window in intended_starts(windows, 0.6) if window is last]
    assert len(sent) == round((last.end_s - last.start_s) * last.rate_rps)


def test_without_a_champion_only_challenger_and_echo_are_asked() -> None:
    assert {window.arm for window in plan(20.0, 50.0, champion=False)} == {CHALLENGER, ECHO}


def test_an_open_loop_sends_its_share_of_the_rate_evenly() -> None:
    windows = plan(20.0, 50.0, champion=True)
    due = intended_starts(windows, 0.6)
    steady = [at for at, window in due if window.phase == STEADY and window.arm == CHALLENGER]
    assert len(steady) == 12 * 12
    assert [at for at, _ in due] == sorted(at for at, _ in due)
    assert all(window.start_s < at < window.end_s for at, window in due)


def test_the_window_of_a_moment_is_the_one_that_holds_it() -> None:
    windows = plan(20.0, 50.0, champion=True)
    assert window_at(windows, 0.0) is windows[0]
    assert window_at(windows, windows[3].start_s) is windows[3]
    assert window_at(windows, 20.5) is None


def test_quantiles_of_nothing_are_not_numbers() -> None:
    assert math.isnan(quantile([], 0.5))
    assert math.isnan(quantile_upper([], 0.5))
    assert math.isnan(histogram_quantile({}, 0.5))
    assert math.isnan(histogram_quantile({0.1: 0, math.inf: 0}, 0.5))


def test_the_upper_bound_covers_the_true_quantile_as_often_as_it_says() -> None:
    draw = random.Random(7)  # noqa: S311 - a simulation
    true = -math.log(1 - 0.95)  # p95 of the unit exponential
    covered = sum(quantile_upper([draw.expovariate(1) for _ in range(200)], 0.95) >= true for _ in range(80))
    assert 0.86 <= covered / 80 <= 1


def test_a_sample_too_small_for_the_confidence_gives_its_largest_value() -> None:
    assert quantile_upper(list(range(58)), 0.95) == 57
    assert quantile_upper(list(range(298)), 0.99) == 297


def test_a_histogram_quantile_is_the_upper_edge_of_its_bucket() -> None:
    buckets = {0.001: 50, 0.01: 95, 0.1: 99, math.inf: 100}
    assert histogram_quantile(buckets, 0.5) == 0.001
    assert histogram_quantile(buckets, 0.95) == 0.01
    assert histogram_quantile(buckets, 0.96) == 0.1
    assert histogram_quantile(buckets, 1.0) == math.inf
    assert histogram_quantile_low(buckets, 0.5) == 0.0
    assert histogram_quantile_low(buckets, 0.96) == 0.01
    assert math.isnan(histogram_quantile_low({}, 0.5))


def test_what_came_between_two_readings_is_their_difference() -> None:
    assert histogram_between({0.1: 3, math.inf: 4}, {0.1: 5, math.inf: 9}) == {0.1: 2, math.inf: 5}
    assert histogram_between({}, {0.1: 5}) == {0.1: 5}


PAGE = """# TYPE h histogram
h_bucket{model="m",arm="champion",le="0.1"} 3
h_bucket{model="m",arm="champion",le="+Inf"} 4
h_bucket{model="m",arm="canary",le="0.1"} 1
h_bucket{model="other",arm="champion",le="0.1"} 100
h_count{model="m",arm="champion"} 4
"""


def test_a_prometheus_page_is_read_over_all_arms_of_one_model() -> None:
    assert read_histogram(PAGE, "h", "m") == {0.1: 4.0, math.inf: 4.0}


def a_run(latency_ms: dict[str, float], *, champion: bool = True, error: str | None = None) -> LoadRun:
    windows = plan(20.0, 50.0, champion=champion)
    number = {window: index for index, window in enumerate(windows)}
    samples = [
        Sample(
            generator=generator,
            window=number[window],
            due_s=at,
            latency_ms=latency_ms[window.arm],
            error=error if window.arm == CHALLENGER else None,
        )
        for generator, share in ((OPEN_LOOP, 0.6), (LOCUST, 0.4))
        for at, window in intended_starts(windows, share)
    ]
    arms = [arm for arm in latency_ms if arm != ECHO]
    histograms = {arm: {0.002: 240.0, math.inf: 240.0} for arm in arms}
    memory = {arm: [Reading(at_s=at / 4, rss_bytes=1e8) for at in range(80)] for arm in arms}
    return LoadRun(windows=windows, samples=tuple(samples), histograms=histograms, memory=memory)


def at(measurements: dict[str, Json], path: str) -> Json:
    found: Json = measurements
    for step in path.split("."):
        assert isinstance(found, dict)
        found = found[step]
    return found


def test_a_summary_says_what_was_sent_and_how_long_it_took() -> None:
    told = summarise(a_run({CHALLENGER: 4.0, CHAMPION: 2.0, ECHO: 1.0}), LEVEL)
    assert at(told, "plan.target_rps") == 50.0
    assert at(told, "plan.duration_s") == 20.0
    assert at(told, "challenger.steady.p95_ms") == 4.0
    assert at(told, "challenger.steady.achieved_rps") == pytest.approx(50, rel=0.05)
    assert at(told, "ratio.p95.estimate") == at(told, "ratio.p95.low") == at(told, "ratio.p95.high") == 2.0
    assert at(told, "ratio.p50.estimate") == 2.0
    assert at(told, "self_ratio.arm") == CHAMPION
    assert at(told, "self_ratio.p95.estimate") == 1.0
    assert at(told, "generator.p95_ms") == 1.0
    assert at(told, "challenger.server.p95_ms") == 2.0
    assert at(told, "challenger.error_fraction") == 0.0
    assert at(told, "knee.rps") == 800.0
    assert at(told, "knee.limited_by") == "plan"
    assert at(told, "champion_knee.rps") == 800.0
    assert at(told, "memory.challenger.estimate") == 0.0
    assert len(at(told, "memory.challenger.series")) == 60  # type: ignore[arg-type]
    rates = [step["offered_rps"] for step in at(told, "curve.champion")]  # type: ignore[union-attr, index, call-overload]
    assert rates == [12.5, 25.0, 37.5, 50.0, 100.0, 200.0, 400.0, 800.0]


def read_late(late_s: float, counted_of: float = 1.0) -> dict[str, Json]:
    """Return what adds up where the server was read so late, and had counted such a part of what had come by then."""
    run = a_run({CHALLENGER: 4.0, ECHO: 1.0}, champion=False)
    steady = [each for each in run.windows if each.phase == STEADY]
    first_s, last_s = steady[0].start_s + late_s, steady[-1].end_s + late_s
    came = [each.due_s for each in run.samples if run.windows[each.window].arm == CHALLENGER]
    counted = counted_of * sum(first_s <= at <= last_s for at in came)
    between = Between(
        first_asked_s=first_s - 0.2, first_there_s=first_s + 0.2, last_asked_s=last_s - 0.2, last_there_s=last_s + 0.2
    )
    histograms = {CHALLENGER: {0.002: counted, math.inf: counted}}
    told = summarise(replace(run, histograms=histograms, between={CHALLENGER: between}), LEVEL)
    assert at(told, "challenger.server.asked") == counted
    return told


@pytest.mark.parametrize("late_s", [0.0, 0.3, 1.5])
def test_a_server_that_is_read_late_has_counted_what_had_come_by_then(late_s: float) -> None:
    told = read_late(late_s)
    assert at(told, "challenger.server.sent") == at(told, "challenger.server.asked")
    assert at(told, "challenger.server.sent") != at(read_late(0.0), "challenger.server.sent") or late_s == 0.0


@pytest.mark.parametrize("late_s", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("part", [0.8, 1.2])
def test_a_server_that_counts_another_number_contradicts_its_callers_however_late_it_is_read(
    late_s: float, part: float
) -> None:
    told = read_late(late_s, part)
    sent, counted = (float(str(at(told, f"challenger.server.{name}"))) for name in ("sent", "asked"))
    assert min(sent / counted, counted / sent) < 0.95


def test_the_server_is_held_against_the_requests_that_its_reading_may_hold() -> None:
    told = read_late(1.5)
    assert at(told, "challenger.steady.both_p95_ms") == 4.0
    run = a_run({CHALLENGER: 4.0, ECHO: 1.0}, champion=False)
    spike = [replace(s, latency_ms=900.0) if run.windows[s.window].phase == SPIKE else s for s in run.samples]
    late = Between(first_asked_s=4.0, first_there_s=4.0, last_asked_s=18.0, last_there_s=18.0)
    read = replace(run, samples=tuple(spike), between={CHALLENGER: late})
    assert at(summarise(read, LEVEL), "challenger.steady.both_p95_ms") == 900.0
    assert at(summarise(read, LEVEL), "challenger.steady.p95_ms") == 4.0


def test_a_summary_of_a_first_release_names_no_champion() -> None:
    told = summarise(a_run({CHALLENGER: 4.0, ECHO: 1.0}, champion=False), LEVEL)
    assert told["champion"] is None
    assert told["ratio"] is None
    assert at(told, "self_ratio.arm") == CHALLENGER
    assert set(at(told, "curve")) == {CHALLENGER}  # type: ignore[arg-type]


def test_answers_that_come_too_late_are_not_achieved() -> None:
    told = summarise(a_run({CHALLENGER: 4000.0, CHAMPION: 2.0, ECHO: 1.0}), LEVEL)
    assert at(told, "challenger.steady.achieved_rps") == 0.0
    assert at(told, "knee.rps") == 0.0
    assert at(told, "knee.first_beyond_rps") == 12.5
    assert at(told, "champion_knee.rps") == 800.0


def test_errors_are_counted_by_what_they_were() -> None:
    told = summarise(a_run({CHALLENGER: 1.0, CHAMPION: 1.0, ECHO: 1.0}, error="status 500"), LEVEL)
    assert at(told, "challenger.error_fraction") == 1.0
    assert list(told["challenger"]["errors"]) == ["status 500"]  # type: ignore[index, call-overload, arg-type]
    assert at(told, "champion.error_fraction") == 0.0


def test_a_run_without_samples_says_so_and_does_not_raise() -> None:
    windows = plan(20.0, 50.0, champion=True)
    told = summarise(LoadRun(windows=windows, samples=(), histograms={}), LEVEL)
    assert at(told, "challenger.steady.p95_ms") == "NaN"
    assert at(told, "challenger.steady.asked") == 0
    assert at(told, "generator.p95_ms") == "NaN"
    assert at(told, "ratio.p95.estimate") == "NaN"
    assert at(told, "memory.challenger.estimate") == "NaN"
    assert at(told, "knee.rps") is None


def test_failures_above_the_target_rate_break_no_promise_and_bound_the_knee() -> None:
    good = a_run({CHALLENGER: 1.0, CHAMPION: 1.0, ECHO: 1.0})
    high = {index for index, each in enumerate(good.windows) if each.overloads and each.arm == CHALLENGER}
    samples = [replace(each, error="status 503") if each.window in high else each for each in good.samples]
    told = summarise(replace(good, samples=tuple(samples)), LEVEL)
    assert at(told, "challenger.error_fraction") == 0.0
    assert at(told, "knee.rps") == 50.0
    assert at(told, "knee.limited_by") == "server"


def test_a_soak_is_told_apart_and_counts_for_errors_and_memory() -> None:
    windows = plan(20.0, 50.0, champion=True, soak_s=30.0)
    number = {window: index for index, window in enumerate(windows)}
    samples = [
        Sample(
            generator=OPEN_LOOP,
            window=number[window],
            due_s=at,
            latency_ms=3.0,
            error="x" if window.phase == SOAK else None,
        )
        for at, window in intended_starts(windows, 0.6)
    ]
    told = summarise(LoadRun(windows=windows, samples=tuple(samples), histograms={}), LEVEL)
    assert at(told, "plan.soak_s") == 30.0
    assert at(told, "challenger.soak.asked") == at(told, "champion.soak.asked") != 0
    assert 0 < at(told, "challenger.error_fraction") < 1  # type: ignore[operator]


def test_a_summary_stays_small() -> None:
    told = summarise(a_run({CHALLENGER: 4.0, CHAMPION: 2.0, ECHO: 1.0}), LEVEL)
    assert len(json.dumps(told)) < 20_000


def test_rows_that_are_no_samples_are_refused() -> None:
    assert as_samples(OPEN_LOOP, [[0, 0.1, 2.0, 0.0, None]])[0].latency_ms == 2.0
    with pytest.raises(ValueError, match="no sample"):
        as_samples(OPEN_LOOP, [["0", 0.1, 2.0, 0.0, None]])
