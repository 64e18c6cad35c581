"""A spec's section becomes a course, or is refused with the key that is wrong."""

from __future__ import annotations

import doctest
import importlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from lockgate.core.ids import to_json
from lockgate.core.online.plan import design
from lockgate.core.records import read_record
from lockgate.core.rollout.steps import Course, StepKind, course_of, rate_sd
from lockgate.core.spec_sections.rollout import (
    BanditSection,
    GuardrailsSection,
    KpiGuardrail,
    Metric,
    PlanSection,
    QualityGuardrail,
    RolloutSection,
    RolloutStrategy,
    ScoreGuardrail,
    StepSection,
)
from lockgate.errors import ConfigError

KPI = KpiGuardrail(name="delay-cost", file="delay-cost.jsonl")


def weight(share: float, bake_s: float = 60.0) -> StepSection:
    return StepSection(set_weight=share, bake_s=bake_s)


def shadow(share: float = 1.0, bake_s: float = 60.0) -> StepSection:
    return StepSection(shadow=share, bake_s=bake_s)


def canary(*steps: StepSection, **more: Any) -> RolloutSection:
    return RolloutSection(strategy=RolloutStrategy.CANARY, steps=steps, **more)


def shares(course: Course) -> list[tuple[str, float, float]]:
    return [(step.kind.value, step.share, step.bake_s) for step in course.steps]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (RolloutStrategy.SHADOW, [("shadow", 1.0, 600.0)]),
        (RolloutStrategy.CANARY, [("weight", share, 300.0) for share in (0.05, 0.2, 0.5)]),
        (RolloutStrategy.LINEAR, [("weight", share, 300.0) for share in (0.1, 0.2, 0.3, 0.4, 0.5)]),
        (RolloutStrategy.A_B, [("weight", 0.5, 3600.0)]),
        (RolloutStrategy.BANDIT, [("adapt", 0.5, 300.0)] * 12),
        (RolloutStrategy.BLUE_GREEN, []),
    ],
)
def test_a_strategy_brings_its_own_steps(strategy: RolloutStrategy, expected: list[tuple[str, float, float]]) -> None:
    assert shares(course_of(RolloutSection(strategy=strategy), sd=None)) == expected


@pytest.mark.parametrize("strategy", list(RolloutStrategy))
def test_the_errors_of_all_guardrails_add_up_to_the_declared_one_and_arrivals_are_always_among_them(
    strategy: RolloutStrategy,
) -> None:
    course = course_of(RolloutSection(strategy=strategy), sd=None)
    timed = [] if strategy is RolloutStrategy.SHADOW else ["latency"]  # a copy is timed in the model alone
    assert list(course.guardrails) == ["errors", *timed, "contract", "arrivals"]
    assert 0.0499 < math.fsum(course.guardrails.values()) <= 0.05
    assert course.guardrails["errors"] == pytest.approx(0.05 * 2 / (4 if timed else 3))


def test_quality_and_business_numbers_are_watched_only_where_they_are_declared() -> None:
    rails = GuardrailsSection(
        latency=None, contract=None, score=ScoreGuardrail(), quality=QualityGuardrail(), kpi=(KPI,)
    )
    course = course_of(canary(guardrails=rails), sd=None)
    assert list(course.guardrails) == ["errors", "score", "quality", "kpi:delay-cost", "arrivals"]


def test_only_a_switch_alone_has_no_plan() -> None:
    courses = {
        strategy: course_of(RolloutSection(strategy=strategy, plan=PlanSection(sd=0.3)), sd=None)
        for strategy in RolloutStrategy
    }
    without = [strategy for strategy, course in courses.items() if course.plan is None]
    assert without == [RolloutStrategy.BLUE_GREEN]
    assert courses[RolloutStrategy.BLUE_GREEN].metric is None
    for course in courses.values():
        assert course.plan is None or design(course.plan).effective > 0


def test_shadow_alone_compares_answers_and_everything_else_errors() -> None:
    metrics = {s: course_of(RolloutSection(strategy=s), sd=None).metric for s in RolloutStrategy}
    assert metrics[RolloutStrategy.SHADOW] is Metric.DISAGREEMENT
    assert {metrics[s] for s in metrics if s is not RolloutStrategy.SHADOW} == {Metric.ERRORS, None}
    assert course_of(canary(shadow(), weight(0.1)), sd=None).metric is Metric.ERRORS


def test_the_spread_is_the_specs_then_traffics_then_that_of_a_rate_at_the_margin() -> None:
    section = canary(weight(0.1))
    named = replace(section, plan=PlanSection(sd=0.4))
    spreads = [
        plan.sd
        for each, sd in ((named, 0.3), (section, 0.3), (section, None))
        if (plan := course_of(each, sd=sd).plan) is not None
    ]
    assert spreads == [0.4, 0.3, rate_sd(0.0, 0.02)]


def test_a_rates_spread_grows_with_the_past_rate_and_never_beyond_a_half() -> None:
    assert rate_sd(0.01, 0.02) == pytest.approx(math.sqrt(0.03 * 0.97))
    assert rate_sd(0.7, 0.2) == 0.5


def test_a_pause_keeps_what_served_before_and_adds_a_day_to_the_longest_duration() -> None:
    course = course_of(canary(weight(0.1), StepSection(pause="look at EWR"), weight(0.5)), sd=None)
    assert [step.kind for step in course.steps] == [StepKind.WEIGHT, StepKind.PAUSE, StepKind.WEIGHT]
    assert (course.steps[1].share, course.steps[1].reason) == (0.1, "look at EWR")
    assert course.max_duration_s == 2 * 120 + 86_400


def test_the_longest_duration_is_at_least_a_minute() -> None:
    assert course_of(canary(weight(0.5, 2.0)), sd=None).max_duration_s == 60


def test_a_bandit_may_be_preceded_by_a_shadow() -> None:
    section = RolloutSection(strategy=RolloutStrategy.BANDIT, steps=(shadow(),), bandit=BanditSection(periods=2))
    assert shares(course_of(section, sd=None)) == [("shadow", 1.0, 60.0), ("adapt", 0.5, 300.0), ("adapt", 0.5, 300.0)]


@pytest.mark.parametrize("strategy", list(RolloutStrategy))
def test_a_course_is_read_back_as_it_was_written(strategy: RolloutStrategy) -> None:
    course = course_of(RolloutSection(strategy=strategy), sd=None)
    assert read_record(Course, json.loads(json.dumps(to_json(course)))) == course


KPI_PLAN, TWICE = PlanSection(metric=Metric.KPI), GuardrailsSection(kpi=(KPI, KPI))
PAUSE = StepSection(pause="look")


def other(strategy: str, *steps: StepSection, **more: Any) -> RolloutSection:
    return RolloutSection(strategy=RolloutStrategy(strategy), steps=steps, **more)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (canary(weight(0.2), weight(0.1)), "rollout.steps[1].set_weight is 0.1 after 0.2; shares may not shrink"),
        (canary(weight(0.2), PAUSE, weight(0.1)), "rollout.steps[2].set_weight is 0.1 after 0.2"),
        (canary(weight(0.2), shadow()), "rollout.steps[1].shadow comes after set_weight 0.2"),
        (canary(StepSection(bake_s=9)), "rollout.steps[0] has none of them"),
        (canary(StepSection(shadow=1.0, set_weight=0.1, bake_s=9)), "rollout.steps[0] has shadow and set_weight"),
        (canary(weight(0.1, 0.0)), "rollout.steps[0].bake_s is 0"),
        (canary(PAUSE, weight(0.1)), "rollout.steps[0].pause is the first step"),
        (canary(weight(0.1), StepSection(pause=" ")), "rollout.steps[1].pause is empty"),
        (canary(weight(0.1), StepSection(pause="x", bake_s=5)), "rollout.steps[1].bake_s is 5"),
        (canary(shadow()), "rollout.steps holds no set_weight"),
        (other("blue_green", weight(0.1)), "rollout.steps are given and rollout.strategy is blue_green"),
        (other("shadow", shadow(), weight(0.1)), "rollout.steps[1].set_weight shows users"),
        (other("bandit", weight(0.1)), "rollout.steps[0].set_weight is fixed"),
        (other("a_b", weight(0.1), weight(0.5)), "rollout.steps[1].set_weight is another split"),
        (canary(plan=PlanSection(metric=Metric.DISAGREEMENT)), "rollout.plan.metric is disagreement"),
        (other("shadow", plan=PlanSection(metric=Metric.ERRORS)), "rollout.plan.metric is errors"),
        (canary(plan=KPI_PLAN), "rollout.plan.metric is kpi, and rollout.guardrails.kpi is empty"),
        (canary(plan=PlanSection(looks=(0.5, 0.4, 1.0))), "rollout.plan.looks is [0.5, 0.4, 1.0]"),
        (canary(plan=PlanSection(looks=(0.5, 0.9))), "rollout.plan.looks"),
        (canary(plan=PlanSection(looks=())), "rollout.plan.looks"),
        (canary(plan=PlanSection(margin=1.5)), "rollout.plan.margin is 1.5"),
        (canary(plan=PlanSection(metric=Metric.LOSS)), "rollout.plan.sd is not given"),
        (canary(guardrails=TWICE), "rollout.guardrails.kpi[1].name is delay-cost"),
        (other("shadow", guardrails=GuardrailsSection(kpi=(KPI,))), "rollout.guardrails.kpi[0]"),
        (canary(max_duration_s=900.0), "rollout.max_duration_s is 900 and the bakes take 900"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_carried_out_is_refused_with_its_key(section: RolloutSection, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        course_of(section, sd=None)
    assert refused.value.message.startswith(said)
    assert said.startswith(str(refused.value.data["key"]))


@pytest.mark.parametrize("module", ["steps", "state"])
def test_the_examples_in_the_docstrings_hold(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"lockgate.core.rollout.{module}"))
    assert found.failed == 0
    assert found.attempted > 0
