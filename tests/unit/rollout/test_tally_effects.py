"""From what was counted to the effect that a look of the plan judges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lockgate.core.online import plan_look
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.online.means import Contrast, StepSums, Sums, difference_effect
from lockgate.core.online.plan import Plan, design
from lockgate.core.online.rates import rate_effect
from lockgate.core.rollout.effects import effect_of
from lockgate.core.rollout.tally import Counted
from lockgate.core.spec_sections.rollout import GuardrailsSection, KpiGuardrail, Metric, RolloutStrategy
from tests.unit.rollout.tally_world import BEGAN, copied, label, request, section_of, seen, tally_of

PLAN = Plan(margin=0.1, sd=0.5)
CONTRAST = Contrast(
    steps=(StepSums(challenger=Sums(n=100, total=20.0, squares=20.0), champion=Sums(n=100, total=10.0, squares=10.0)),)
)


def counted(**told: object) -> Counted:
    return replace(tally_of().counted(BEGAN), **{"contrast": None, "paired": None, **told})  # type: ignore[arg-type]


def test_errors_are_judged_by_the_score_test_at_the_margin() -> None:
    assert effect_of(counted(contrast=CONTRAST), Metric.ERRORS, PLAN) == rate_effect(CONTRAST, 0.1)


@pytest.mark.parametrize("metric", [Metric.LOSS, Metric.KPI])
def test_losses_and_business_numbers_are_judged_by_the_difference_of_their_means(metric: Metric) -> None:
    assert effect_of(counted(contrast=CONTRAST), metric, PLAN) == difference_effect(CONTRAST)


@pytest.mark.parametrize("metric", list(Metric))
def test_nothing_counted_is_no_effect(metric: Metric) -> None:
    found = effect_of(counted(), metric, PLAN)
    assert math.isnan(found.value)
    assert found.effective == 0


def test_a_challenger_that_never_disagrees_is_as_uncertain_as_one_at_the_margin() -> None:
    found = effect_of(counted(paired=Sums(n=900)), Metric.DISAGREEMENT, PLAN)
    assert (found.value, found.effective) == (0.0, 900.0)
    assert found.se == pytest.approx(0.01)
    assert math.isnan(effect_of(counted(paired=Sums(n=49)), Metric.DISAGREEMENT, PLAN).value)


def test_a_model_against_itself_can_be_promoted_by_its_loss() -> None:
    tally = tally_of(section_of(RolloutStrategy.SHADOW, GuardrailsSection(), Metric.LOSS, margin=0.1, sd=0.3))
    for n in range(200):
        live, copy = copied(f"s{n}", {"scores": (0.2,)}, scores=(0.2,))
        tally.take(seen(live, copy, labels=[label(live, "yes")]))
    plan = replace(PLAN, sd=0.3)
    found = effect_of(tally.counted(BEGAN + 10), Metric.LOSS, plan)
    assert (found.value, found.effective) == (0.0, 200.0)
    assert found.se == pytest.approx(0.3 / math.sqrt(200))
    assert plan_look.judge(plan, design(plan), [found]).verdict is RolloutVerdict.PROMOTE


def test_a_business_number_that_falls_is_worse_where_higher_is_better() -> None:
    from lockgate.core.rollout.observations import KpiSeen

    kpi = GuardrailsSection(kpi=(KpiGuardrail(name="bookings", file="b"),))
    tally = tally_of(section_of(guardrails=kpi, metric=Metric.KPI))
    for n in range(200):
        ours = n % 2 == 0
        tally.take(seen(request("challenger" if ours else "champion", 0.5, entity=f"k{n}")))
        value = (3.0 if ours else 5.0) + 0.01 * (n % 5)
        tally.take(seen(kpis=[KpiSeen(name="bookings", time=BEGAN + 5, entity=f"k{n}", value=value)]))
    assert effect_of(tally.counted(BEGAN + 10), Metric.KPI, PLAN).value == pytest.approx(2.0, abs=0.01)
