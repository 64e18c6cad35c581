"""Days that are unlike keep a challenger from being promoted, however good it is on average; nothing is rolled back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.online.day_effects import Day, Days, daily_effects, day_finding, spread
from lockgate.core.online.findings import Evidence, judge
from lockgate.core.online.guardrails import Finding, Look, RolloutVerdict, State, decide
from lockgate.core.online.means import Contrast, Effect, StepSums, Sums
from lockgate.core.rollout.steps import course_of
from lockgate.core.rollout.tally import Counted, Tally, evidence_names
from lockgate.core.spec_sections.rollout import (
    GuardrailsSection,
    Metric,
    RolloutSection,
    RolloutStrategy,
    StepSection,
)
from lockgate.core.spec_sections.rollout_conditions import StabilitySection
from lockgate.errors import ConfigError
from lockgate.stages.audit_statistics import unlike_the_course
from tests.unit.rollout.tally_world import BEGAN, evidence, request, section_of, seen, tally_of

DAY_S = 100.0
SPLIT = replace(
    section_of(
        RolloutStrategy.A_B,
        guardrails=GuardrailsSection(latency=None),
        metric=Metric.ERRORS,
        steps=(StepSection(set_weight=0.5, bake_s=100.0),),
        margin=0.05,
    ),
    stability=StabilitySection(days=5, day_s=DAY_S),
    max_duration_s=1500.0,
)


def day_of_requests(day: int, failing: tuple[int, int], of: int = 60) -> list[object]:
    """A day in which each arm has `of` new clients, and so many of the champion's and the challenger's fail."""
    return [
        request(arm, 0.5, time=BEGAN + day * DAY_S + 1.0, failed=number < failed)
        for arm, failed in zip(("champion", "challenger"), failing, strict=True)
        for number in range(of)
    ]


def tallied(days: Sequence[tuple[int, int]], section: RolloutSection = SPLIT) -> Counted:
    """What was counted of some days that are over, and of one that has begun."""
    tally = tally_of(section)
    for number, failing in enumerate(days):
        tally.take(seen(*day_of_requests(number, failing)))  # type: ignore[arg-type]  # observations
    tally.take(seen(request(time=BEGAN + len(days) * DAY_S + 1.0)))
    return tally.counted(BEGAN + len(days) * DAY_S + 2.0)


def said(counted: Counted) -> Finding:
    return judge(evidence(counted, "stability"))


def means_of(effects: Sequence[float], se: float, margin: float = 0.05) -> Days:
    """Days whose figures are these, each with the same standard error."""
    n = 200
    variance = se**2 * n / 2.0

    def sums(mean: float) -> Sums:
        return Sums(n=n, total=n * mean, squares=n * mean**2 + variance * (n - 1))

    days = tuple(
        Day(number=number, contrast=Contrast(steps=(StepSums(challenger=sums(each), champion=sums(0.0)),)))
        for number, each in enumerate(effects)
    )
    return Days(is_rate=False, margin=margin, sd=0.3, fewest=5, most=40, day_within=0.9, days=days)


def test_a_challenger_that_is_good_on_average_and_wildly_different_between_days_is_not_promoted() -> None:
    wild = day_finding("stability", means_of([-0.08, 0.08] * 10, se=0.005), 0.05)
    assert wild.state is State.UNMET
    assert "was worse by at least" in wild.reason
    alike = day_finding("stability", means_of([0.002, -0.002] * 10, se=0.005), 0.05)
    assert alike.state is State.CLEAR
    ready = Look(
        share=0.5,
        challenger_requests=9,
        champion_requests=9,
        findings=(wild,),
        non_inferior=RolloutVerdict.PROMOTE,
        steps_done=True,
    )
    assert decide([ready]).verdict is RolloutVerdict.CONTINUE
    assert decide([replace(ready, time_is_up=True)]).verdict is RolloutVerdict.INCONCLUSIVE
    assert decide([replace(ready, findings=(alike,))]).verdict is RolloutVerdict.PROMOTE


def test_days_that_differ_keep_from_promoting_where_none_of_them_is_beyond_the_margin() -> None:
    found = day_finding("stability", means_of([-0.045, 0.045] * 10, se=0.004), 0.05)
    assert found.state is State.UNMET
    assert "day 2 was worse" not in found.reason
    assert found.observed > 0.05


def test_one_bad_day_among_many_is_named() -> None:
    found = day_finding("stability", means_of([0.0] * 13 + [0.12], se=0.01), 0.05)
    assert found.state is State.UNMET
    assert found.reason.startswith("day 14 was worse by at least")


def test_too_few_days_are_said_to_be_so() -> None:
    assert said(tallied([(1, 1)] * 4)).reason.startswith("4 of 5 days are over")
    assert said(tallied([(1, 1)] * 5)).state is State.CLEAR


def test_the_day_that_is_under_way_and_one_with_few_requests_do_not_count() -> None:
    tally = tally_of(SPLIT)
    for day in range(6):
        tally.take(seen(*day_of_requests(day, (1, 1), of=60 if day else 20)))  # type: ignore[arg-type]  # observations
    told = evidence(tally.counted(BEGAN + 600.0), "stability").days
    assert told is not None
    assert len(told.days) == 5
    assert len(daily_effects(told)) == 4


def test_days_of_the_tally_that_differ_keep_from_promoting() -> None:
    assert said(tallied([(2, 2)] * 8)).state is State.CLEAR
    found = said(tallied([(2, 2)] * 7 + [(1, 40)]))
    assert found.state is State.UNMET
    assert found.reason.startswith("day 8 was worse")


def test_what_all_days_hold_together_is_what_is_compared_without_them() -> None:
    days, whole = tallied([(2, 3), (1, 4), (0, 2)]), tallied([(2, 3), (1, 4), (0, 2)], replace(SPLIT, stability=None))
    assert days.contrast == whole.contrast
    assert days.evidence[:-1] == whole.evidence


def test_an_entity_belongs_to_the_day_in_which_it_was_first_seen() -> None:
    tally = tally_of(SPLIT)
    for day in range(3):
        tally.take(seen(request("challenger", 0.5, entity="e", time=BEGAN + day * DAY_S)))
    told = evidence(tally.counted(BEGAN + 300.0), "stability").days
    assert told is not None
    assert [each.contrast.steps[0].challenger.n for each in told.days] == [1]


def test_a_tally_that_was_saved_goes_on_with_its_days() -> None:
    one = tally_of(SPLIT)
    one.take(seen(*day_of_requests(0, (1, 1))))  # type: ignore[arg-type]  # observations
    other = Tally.from_bytes(one.to_bytes(), course_of(SPLIT, sd=0.3), SPLIT, TaskKind.BINARY, ("no", "yes"))
    for tally in (one, other):
        tally.take(seen(*day_of_requests(1, (1, 2))))  # type: ignore[arg-type]  # observations
    assert one.to_bytes() == other.to_bytes()
    assert one.counted(BEGAN + 200.0).evidence == other.counted(BEGAN + 200.0).evidence


def test_days_that_make_no_sense_are_not_to_be_trusted() -> None:
    told = means_of([0.0] * 6, se=0.01)
    for broken in (replace(told, margin=math.nan), replace(told, most=2), replace(told, is_rate=True)):
        assert day_finding("stability", broken, 0.05).state is State.BROKEN


def test_without_stability_declared_a_look_holds_what_it_held_before() -> None:
    course = course_of(replace(SPLIT, stability=None), sd=None)
    assert "stability" not in evidence_names(course)
    assert tally_of(replace(SPLIT, stability=None)).counted(BEGAN).evidence[-1].guardrail == "arrivals"
    assert evidence_names(course_of(SPLIT, sd=None))[-1] == "stability"


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (replace(SPLIT, max_duration_s=550.0), "rollout.stability.days"),
        (replace(SPLIT, max_duration_s=1e6), "rollout.stability.day_s"),
        (RolloutSection(strategy=RolloutStrategy.SHADOW, stability=StabilitySection()), "rollout.stability"),
        (RolloutSection(strategy=RolloutStrategy.BANDIT, stability=StabilitySection()), "rollout.stability"),
    ],
)
def test_days_that_cannot_be_told_apart_are_refused(section: RolloutSection, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        course_of(section, sd=0.3)
    assert refused.value.data["key"] == key


def test_an_auditor_finds_days_judged_by_other_rules_and_days_that_were_made_up() -> None:
    counted, course = tallied([(2, 2)] * 6), course_of(SPLIT, sd=0.3)
    assert list(unlike_the_course(course, SPLIT, counted)) == []
    last = counted.evidence[-1]
    assert last.days is not None
    made_up = replace(last.days, days=(*last.days.days, replace(last.days.days[0], number=99)))
    swapped = replace(last.days, days=last.days.days[::-1])
    doctored: list[Evidence] = [
        replace(last, alpha=0.4),
        *(
            replace(last, days=each)
            for each in (made_up, swapped, replace(last.days, fewest=1), replace(last.days, margin=0.5))
        ),
    ]
    for each in doctored:
        assert list(unlike_the_course(course, SPLIT, replace(counted, evidence=(*counted.evidence[:-1], each))))


# -- how often, and at what cost -------------------------------------------------------------------------------------


def when_alike(runs: int, seed: int, *, between: float, se: float, most: int, fewest: int = 7) -> list[int | None]:
    """After how many days each of some challengers, equal on average, may be promoted; the margin is 1."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(runs):
        true = rng.normal(0.0, between, most)
        figures = rng.normal(true, se)
        effects = [Effect(value=float(each), se=se, effective=100.0) for each in figures]
        days = (k for k in range(fewest, most + 1) if spread(effects[:k], 0.9).to_come <= 1.0)
        found.append(next(days, None))
    return found


def test_days_that_swing_by_the_margin_seldom_pass_and_days_alike_do() -> None:
    wild = when_alike(60, 3, between=1.5, se=0.5, most=14)
    alike = when_alike(60, 3, between=0.0, se=0.5, most=14)
    assert sum(each is not None for each in wild) <= 12
    assert sum(each is not None for each in alike) >= 54


@pytest.mark.soak
@pytest.mark.parametrize(
    ("between", "se", "low", "high"), [(0.0, 0.5, 0.95, 1.0), (0.0, 0.78, 0.8, 1.0), (1.5, 0.5, 0.0, 0.2)]
)
def test_how_often_days_pass_within_two_weeks(between: float, se: float, low: float, high: float) -> None:
    found = when_alike(2000, 5, between=between, se=se, most=14)
    assert low <= sum(each is not None for each in found) / 2000 <= high
