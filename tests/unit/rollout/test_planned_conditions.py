"""A plan says before the start which sub-populations will be too small, and whether its days can be told alike."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.steps import course_of
from lockgate.core.spec_sections.rollout import PlanSection, RolloutSection, RolloutStrategy, StepSection
from lockgate.core.spec_sections.rollout_conditions import StabilitySection, SubpopulationSection
from lockgate.stages.planned_conditions import with_conditions
from lockgate.stages.planned_guardrails import GuardrailForecast
from lockgate.stages.rollout_forecast import RolloutForecast, StepForecast
from tests.unit.rollout.test_planning_rollout import BEGIN

CANARY = RolloutSection(strategy=RolloutStrategy.CANARY)
SPLIT = RolloutSection(
    strategy=RolloutStrategy.A_B,
    steps=(StepSection(set_weight=0.5, bake_s=600.0),),
    plan=PlanSection(margin=0.02),
    max_duration_s=6000.0,
)


def by_carrier(**told: object) -> RolloutSection:
    return replace(CANARY, subpopulations=(SubpopulationSection(column="carrier", **told),))  # type: ignore[arg-type]


@cache
def sliced() -> tuple[Observation, ...]:
    """Five requests a second, each of somebody new; one in two hundred is of HA."""
    return tuple(
        Observation(
            time=BEGIN + number / 5.0,
            prediction_id=f"p-{number}",
            arm="champion",
            propensity=1.0,
            entity=f"e{number}",
            scores=(0.5,),
            slices={"carrier": "AA" if number % 200 else "HA"},
        )
        for number in range(6000)
    )


def bare(section: RolloutSection) -> RolloutForecast:
    """What was forecast before the conditions, as far as they look at it."""
    course = course_of(section, sd=None)
    steps = [StepForecast(kind=each.kind, share=each.share, bake_s=each.bake_s, ends_s=0.0) for each in course.steps]
    rails = [
        GuardrailForecast(guardrail=each, alpha=0.01, e_value=100.0, from_s=0.0, sees="") for each in course.guardrails
    ]
    return RolloutForecast(
        strategy=section.strategy.value,
        traffic=None,
        steps=tuple(steps),
        harm=0.1,
        harm_power=0.8,
        alpha=0.05,
        guardrails=tuple(rails),
        max_duration_s=course.max_duration_s,
    )


def forecast(section: RolloutSection) -> RolloutForecast:
    return with_conditions(bare(section), section, sliced())


def sees(found: RolloutForecast) -> tuple[float | None, str]:
    return next((each.from_s, each.sees) for each in found.guardrails if each.guardrail == "population:carrier")


def test_a_slice_that_will_be_too_small_is_named_before_the_start() -> None:
    found = forecast(by_carrier())
    from_s, said = sees(found)
    assert from_s is None
    assert "too small to the end: HA (" in said
    assert any("population:carrier will not be clear" in each for each in found.warnings)


def test_a_slice_that_may_be_small_or_is_asked_for_little_is_no_reason_to_warn() -> None:
    for section in (by_carrier(may_be_small=True), by_carrier(fewest=2), by_carrier(values=("AA",))):
        found = forecast(section)
        assert sees(found)[0] is not None
        assert not any("population:carrier" in each for each in found.warnings)


def test_a_column_that_no_request_has_is_said_to_see_nothing() -> None:
    section = by_carrier(values=("ZZ",))
    assert "ZZ (0)" in sees(forecast(section))[1]


def test_days_that_are_too_short_for_the_traffic_are_warned_of() -> None:
    short = replace(SPLIT, stability=StabilitySection(days=5, day_s=15.0))
    assert any("0 whole days will have 50" in each for each in forecast(short).warnings)
    fine = replace(SPLIT, plan=PlanSection(margin=0.2), stability=StabilitySection(days=5, day_s=600.0))
    assert not any("stability" in each for each in forecast(fine).warnings)


def test_days_whose_own_error_is_above_the_margin_are_warned_of() -> None:
    asked = StabilitySection(days=5, day_s=60.0)
    section = replace(SPLIT, plan=PlanSection(margin=0.001), stability=asked, max_duration_s=700.0)
    assert any("even where all" in each for each in forecast(section).warnings)


def test_a_forecast_without_conditions_is_left_as_it_was() -> None:
    found = bare(CANARY)
    assert with_conditions(found, CANARY, sliced()) is found
