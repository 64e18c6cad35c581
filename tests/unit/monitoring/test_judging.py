"""What watching says: harm is what callers got, and everything else is noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from lockgate.core.ids import Digest, canonical_json, to_json
from lockgate.core.monitoring.ages import Upstream
from lockgate.core.monitoring.findings import Finding, State, Subject, ranked, standing
from lockgate.core.monitoring.judging import MonitorReport, judge_window, report_of
from lockgate.core.monitoring.reference import Reference
from lockgate.core.monitoring.summary import DaySummary
from lockgate.core.records import read_record
from lockgate.core.spec_sections.watching import MonitoringSection
from tests.unit.monitoring.watched_days import CHAMPION, MODEL, REFERENCE, day, noon_after

HALF_A_DAY = 43_200.0


def judged(
    days: Sequence[DaySummary], *, reference: Reference = REFERENCE, at: int | None = None
) -> dict[str, Finding]:
    now = noon_after(len(days) if at is None else at)
    found = judge_window(days, reference, MonitoringSection(), now=now, ages=Upstream(), label_delay_s=HALF_A_DAY)
    return {each.name: each for each in found}


def test_days_as_at_release_are_clear() -> None:
    found = judged([day(number) for number in range(60)])
    assert found["quality.loss"].state is State.OK
    assert found["quality.skill"].state is State.OK
    assert standing(list(found.values())) is State.OK


def test_a_loss_that_lasts_is_harm_and_says_since_when() -> None:
    days = [day(number) for number in range(40)] + [day(number, loss=0.2) for number in range(40, 60)]
    found = judged(days)["quality.loss"]
    assert found.state is State.HARM
    since = found.evidence["alarm_since"]
    assert isinstance(since, str)
    assert days[40].day <= since <= days[50].day
    assert found.harm > 0.2


def test_drift_without_loss_is_noise_however_far() -> None:
    found = judged([day(number, wind=(30, 570)) for number in range(40)])
    assert found["input.wind"].state is State.NOISE
    assert standing(list(found.values())) is State.NOISE
    assert not [each for each in found.values() if each.state is State.HARM]


def test_what_answers_lean_on_ranks_above_what_drifts_as_far() -> None:
    found = judged([day(number, wind=(120, 480), rain=(120, 480)) for number in range(40)])
    assert found["input.wind"].observed == found["input.rain"].observed
    assert found["input.wind"].harm == pytest.approx(9 * found["input.rain"].harm)


def test_a_good_estimate_clears_nothing_that_truth_cannot_say() -> None:
    found = judged([day(number, labelled=0, expected=0.1) for number in range(40)])
    assert found["estimate.loss"].state is State.OK
    assert found["quality.loss"].state is State.NO_DATA
    assert standing(list(found.values())) is State.NO_DATA


def test_a_bad_estimate_is_suspected_when_its_own_past_was_right_and_is_never_harm() -> None:
    days = [day(number) for number in range(40)] + [day(40, labelled=0, expected=0.3)]
    found = judged(days, at=40)["estimate.loss"]
    assert found.state is State.NOISE
    assert found.evidence["harm_suspected"] is True
    wrong = [replace(each, expected_loss=replace(each.expected_loss, total=0.05 * 600)) for each in days[:40]]
    assert judged([*wrong, days[40]], at=40)["estimate.loss"].evidence["harm_suspected"] is False


def test_a_season_of_few_positives_does_not_hide_a_model_that_lost_its_skill() -> None:
    usual = [day(number) for number in range(40)]
    # loss is half of that at release, and three times what a constant answer of 4 % would cost
    worse = [day(number, loss=0.12, positives=0.04) for number in range(40, 80)]
    found = judged([*usual, *worse])
    assert found["quality.loss"].state is State.OK
    assert found["quality.skill"].state is State.HARM


def test_a_slice_can_be_harmed_alone() -> None:
    days = [day(number, origin=0.15 if number < 30 else 0.4) for number in range(60)]
    found = judged(days)
    assert found["quality.slice:origin=EWR"].state is State.HARM
    assert found["quality.loss"].state is State.OK


def test_days_without_enough_labels_do_not_count() -> None:
    days = [day(number, loss=0.9, labelled=100) for number in range(40)]
    found = judged(days)
    assert found["quality.loss"].state is State.NO_DATA
    assert found["quality.labels"].state is State.NO_DATA


def test_labels_that_are_not_due_do_not_count() -> None:
    days = [day(number) for number in range(30)]
    assert judged(days, at=20)["quality.loss"].evidence["days"] == 20


def test_a_bundle_without_its_loss_is_broken_and_not_clear() -> None:
    found = judged([day(number) for number in range(40)], reference=replace(REFERENCE, loss=None))
    assert found["quality.loss"].state is State.BROKEN
    assert standing(list(found.values())) is State.BROKEN


def test_failures_now_burn_the_budget_and_are_harm() -> None:
    days = [day(number) for number in range(20)] + [day(20, failed=1)]
    now = noon_after(20) + timedelta(hours=9)
    found = judge_window(days, REFERENCE, MonitoringSection(), now=now, ages=Upstream(), label_delay_s=HALF_A_DAY)
    by_name = {each.name: each for each in found}
    assert by_name["service.errors"].state is State.HARM
    assert by_name["service.latency"].state is State.OK


def test_failures_that_are_over_are_in_the_budget_and_not_harm() -> None:
    days = [day(0, failed=1), *(day(number) for number in range(1, 20))]
    found = judged(days)["service.errors"]
    assert found.state is State.NOISE
    assert found.evidence["burn_fast"] == 0


def test_no_day_at_all_cannot_be_clear() -> None:
    assert standing(list(judged([], at=1).values())) is State.NO_DATA


def test_only_truth_and_service_can_be_harm() -> None:
    with pytest.raises(ValueError, match="cannot be harm by itself"):
        Finding(model=MODEL, name="input.wind", subject=Subject.INPUT, state=State.HARM)


def test_harm_stands_above_noise_of_any_rank() -> None:
    harm = Finding(model=MODEL, name="quality.loss", subject=Subject.TRUTH, state=State.HARM, harm=0.1)
    noise = Finding(model=MODEL, name="input.wind", subject=Subject.INPUT, state=State.NOISE, harm=9.0)
    assert ranked([noise, harm]) == (harm, noise)


def test_the_same_days_give_the_same_report_and_it_reads_back() -> None:
    days = [day(number, wind=(30, 570)) for number in range(40)]
    now = noon_after(40)
    found = judge_window(days, REFERENCE, MonitoringSection(), now=now, ages=Upstream(), label_delay_s=HALF_A_DAY)
    again = judge_window(days[::-1], REFERENCE, MonitoringSection(), now=now, ages=Upstream(), label_delay_s=HALF_A_DAY)
    one, other = report_of(REFERENCE, days, found, now=now), report_of(REFERENCE, days[::-1], again, now=now)
    assert one == other
    assert read_record(MonitorReport, to_json(one)) == one
    assert len(canonical_json(one.recorded())) < 10_000


def test_days_of_another_bundle_are_left_out() -> None:
    others = [replace(day(number, loss=0.9), digest=Digest("e" * 64)) for number in range(40)]
    found = judged([*others, *(day(number) for number in range(40))], at=40)
    assert found["quality.loss"].evidence["days"] == 40
    assert CHAMPION == "d" * 64
