"""What a plan says of a rollout before it starts: true to the rule that decides, and refusing what it cannot see."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.rollout.observations import LabelSeen, Observation
from lockgate.core.rollout.steps import StepKind
from lockgate.core.spec_sections.rollout import (
    GuardrailsSection,
    KpiGuardrail,
    LatencyGuardrail,
    Metric,
    PlanSection,
    QualityGuardrail,
    RolloutSection,
    RolloutStrategy,
    StepSection,
)
from lockgate.errors import ConfigError
from lockgate.stages.planned_looks import Spread
from lockgate.stages.planned_spread import Logged, labels_of, spread_of
from lockgate.stages.planning_rollout import forecast_rollout
from lockgate.stages.recent_traffic import newest_stretch, recent_traffic
from lockgate.stages.rollout_forecast import RolloutForecast

BEGIN = 1_700_000_000.0
NO_LABELS = Spread(sd=None, source="", coverage=0.0)
RATE = Spread(sd=0.17, source="recent failures and the margin")


def traffic(
    requests: int = 9000, per_s: float = 5.0, *, entities: int | None = None, failing: float = 0.005
) -> tuple[Observation, ...]:
    """Return live traffic of the champion; `entities` None: everybody comes once."""
    rng = random.Random(3)  # noqa: S311 - traffic, no secret
    return tuple(
        Observation(
            time=BEGIN + number / per_s,
            prediction_id=f"p-{number}",
            arm="champion",
            propensity=1.0,
            entity=f"e{number if entities is None else rng.randrange(entities)}",
            failed=rng.random() < failing,
            latency_us=3000,
            scores=(rng.random(),),
            labels=("yes",),
        )
        for number in range(requests)
    )


def planned(section: RolloutSection, live: tuple[Observation, ...], spread: Spread = RATE) -> RolloutForecast:
    now = live[-1].time if live else BEGIN
    return forecast_rollout(section, recent_traffic(live), spread, labels=NO_LABELS, now=now, seed=1)


CANARY = RolloutSection(strategy=RolloutStrategy.CANARY)


def test_traffic_is_counted_by_entity_and_minute() -> None:
    live = tuple(
        replace(traffic(1)[0], time=BEGIN + second, entity=f"e{second % 2}", failed=second in (0, 2, 4))
        for second in range(121)
    )
    found = recent_traffic(live)
    assert found is not None
    figures, _ = found
    assert figures.entities == 2
    assert figures.requests_per_minute == pytest.approx(121 / 2)
    assert figures.entities_per_minute == pytest.approx(5 / 2)  # both in the first two minutes, one in the third
    assert figures.failure_fraction == pytest.approx(1 / 5)  # three failures of one entity in one minute are one
    assert figures.first_failure_fraction == 0.5


def test_entities_that_come_again_run_out_and_new_ones_do_not() -> None:
    again, ever_new = recent_traffic(traffic(entities=200)), recent_traffic(traffic())
    assert again is not None
    assert ever_new is not None
    in_a_day = np.array([86_400.0])
    assert again[1].by(in_a_day)[0] == pytest.approx(200, abs=1)
    assert ever_new[1].by(in_a_day)[0] > 100_000
    assert ever_new[1].by(np.array([60.0]))[0] == pytest.approx(300, rel=0.02)


def test_only_traffic_since_the_last_long_silence_is_planned_on() -> None:
    before, after = traffic(500), tuple(replace(each, time=each.time + 7200.0) for each in traffic(500))
    assert newest_stretch((*before, *after)) == after
    few = after[:20]
    assert len(newest_stretch((*before, *few))) == 520  # too few to plan on: the silence counts as traffic
    copies = tuple(replace(each, shadow=True) for each in after)
    assert newest_stretch((*after, *copies)) == after


def test_a_canary_on_enough_traffic_is_planned_with_power_looks_and_the_split_of_alpha() -> None:
    found = planned(CANARY, traffic())
    assert found.refusals == ()
    assert found.power is not None
    assert found.power > 0.99
    assert [step.power is not None and step.least_harm is not None for step in found.steps] == [True, True, True]
    seen = [step.least_harm or 1.0 for step in found.steps]
    assert seen == sorted(seen, reverse=True)
    assert [each.guardrail for each in found.guardrails] == ["errors", "latency", "contract", "arrivals"]
    assert sum(each.alpha for each in found.guardrails) == pytest.approx(0.05)
    assert all(each.sees for each in found.guardrails)
    times = [each.at_s for each in found.looks]
    assert None not in times
    assert times == sorted(times, key=lambda each: each or 0.0)
    assert found.promoted_fraction == pytest.approx(0.92, abs=1e-6)
    assert "rolled back with chance" in found.sentence
    # 300 new entities a minute, 20 % of them for 300 s
    assert found.steps[1].challenger_entities == pytest.approx(300, rel=0.02)
    assert json.loads(json.dumps(found.content))["metric"] == "errors"


def test_a_plan_that_cannot_see_the_harm_is_refused_with_what_it_would_take() -> None:
    found = planned(CANARY, traffic(300, per_s=0.05, failing=0.0))  # three requests a minute
    assert found.power is not None
    assert found.power < CANARY.plan.harm_power
    assert len(found.refusals) == 1
    assert "bake until" in found.refusals[0]


def test_the_same_bake_is_enough_once_the_share_is_larger() -> None:
    sparse = traffic(2000, per_s=0.5)
    small = replace(CANARY, steps=(StepSection(set_weight=0.01, bake_s=600.0),))
    large = replace(CANARY, steps=(StepSection(set_weight=0.5, bake_s=600.0),))
    assert planned(small, sparse).refusals
    assert not planned(large, sparse).refusals


def test_harm_that_the_champion_already_does_is_refused() -> None:
    found = planned(CANARY, traffic(failing=0.2))
    assert "a challenger that is no worse would be harm" in found.refusals[0]


def test_without_traffic_nothing_is_said_but_what_to_do() -> None:
    found = planned(CANARY, ())
    assert "lockgate simulate" in found.refusals[0]
    assert found.power is None
    assert [step.power for step in found.steps] == [None, None, None]
    assert [each.from_s for each in found.guardrails] == [None] * 4


def test_a_switch_alone_is_not_refused_and_says_that_it_sees_nothing() -> None:
    found = planned(RolloutSection(), ())
    assert (found.refusals, found.steps) == ((), ())
    assert "no harm can be seen" in found.sentence


def test_a_shadow_sees_as_much_as_an_even_split_of_twice_the_traffic() -> None:
    shadow = replace(CANARY, strategy=RolloutStrategy.SHADOW, steps=(StepSection(shadow=0.5, bake_s=300.0),))
    even = replace(CANARY, steps=(StepSection(set_weight=0.5, bake_s=300.0),))
    sparse = traffic(1000, per_s=0.3)
    of_shadow, of_split = planned(shadow, sparse), planned(even, sparse)
    assert of_shadow.power == pytest.approx(of_split.power, abs=0.06)
    assert of_shadow.metric is Metric.DISAGREEMENT


def test_a_step_of_bakes_alone_held_by_people_is_refused() -> None:
    held = replace(CANARY, steps=(StepSection(set_weight=0.2, bake_s=0.0), StepSection(pause="look at it")))
    found = planned(held, traffic(1000))
    assert "bake_s" in found.refusals[0]
    assert found.steps[1].kind is StepKind.PAUSE


def test_a_longest_duration_that_is_too_short_for_the_plan_is_told_with_what_it_would_take() -> None:
    section = replace(CANARY, plan=PlanSection(margin=0.005))
    found = planned(section, traffic())
    assert found.promoted_fraction is not None
    assert found.promoted_fraction < 0.9
    assert any("rollout.max_duration_s" in each for each in found.warnings)
    assert found.looks[-1].at_s is None
    few = planned(CANARY, traffic(entities=300))
    assert any("more entities than there are" in each for each in few.warnings)


def test_a_guardrail_that_will_have_no_data_is_told_because_nothing_is_promoted_without_it() -> None:
    sparse = traffic(2000, per_s=0.5)  # 0.75 of the challenger's requests in a block of 30 s at 5 %
    section = replace(
        CANARY,
        steps=(StepSection(set_weight=0.05, bake_s=900.0),),
        guardrails=GuardrailsSection(quality=QualityGuardrail()),
    )
    whole = planned(section, sparse)
    found = {each.guardrail: each for each in whole.guardrails}
    assert found["latency"].from_s is None
    assert "block_s" in found["latency"].sees
    assert found["quality"].from_s is None
    assert sum("promotion needs every guardrail clear" in each for each in whole.warnings) == 2
    longer = replace(section, guardrails=GuardrailsSection(latency=LatencyGuardrail(block_s=300.0)))
    told = {each.guardrail: each for each in planned(longer, sparse).guardrails}
    assert told["latency"].from_s == 300.0


def test_looks_too_close_for_the_traffic_are_told_with_how_far_apart_they_should_be() -> None:
    sparse = traffic(3000, per_s=1.5)  # 0.75 requests of the challenger between two looks, at 5 %
    found = planned(CANARY, sparse)
    told = [each for each in found.warnings if "rollout.look_s" in each]
    assert len(told) == 1
    assert "3 looks in a row" in told[0]
    assert "to 22 or" in told[0]
    assert not any("rollout.look_s" in each for each in planned(replace(CANARY, look_s=22.0), sparse).warnings)


def test_old_traffic_and_requests_without_an_entity_are_told() -> None:
    live = tuple(replace(each, entity=None) for each in traffic(2000))
    found = forecast_rollout(CANARY, recent_traffic(live), RATE, labels=NO_LABELS, now=live[-1].time + 7200.0, seed=1)
    assert any("2 h old" in each for each in found.warnings)
    assert any("name no entity" in each for each in found.warnings)


def test_a_section_that_cannot_be_carried_out_names_its_key() -> None:
    wrong = replace(CANARY, steps=(StepSection(bake_s=3.0),))
    with pytest.raises(ConfigError, match=r"rollout.steps\[0\]"):
        planned(wrong, traffic(200))


def labels_for(live: tuple[Observation, ...], delay_s: float, every: int = 1) -> tuple[LabelSeen, ...]:
    return tuple(
        LabelSeen(prediction_id=each.prediction_id, row=0, label="yes", received=each.time + delay_s)
        for each in live[::every]
    )


def test_the_spread_of_the_loss_is_that_of_recent_labels_with_their_coverage_and_delay() -> None:
    live = tuple(replace(each, failed=False, scores=(0.5 if n % 2 else 1.0,)) for n, each in enumerate(traffic(400)))
    found = labels_of(Logged(live=live, labels=labels_for(live, 60.0, every=2)), TaskKind.BINARY, ("no", "yes"))
    assert found.coverage == pytest.approx(0.5, abs=0.01)
    assert found.delay_s == 60.0
    whole = labels_of(Logged(live=live, labels=labels_for(live, 60.0)), TaskKind.BINARY, ("no", "yes"))
    assert whole.sd == pytest.approx(0.125, rel=0.01)  # losses of 0 and 0.25 alike often
    assert whole.source == "losses of recent labels"


def test_without_labels_the_spread_is_that_of_probabilities_taken_at_their_word() -> None:
    live = tuple(replace(each, failed=False, scores=(0.2,)) for each in traffic(200))
    found = labels_of(Logged(live=live), TaskKind.BINARY, ("no", "yes"))
    assert found.coverage == 0.0
    assert found.sd == pytest.approx((0.16 * 0.6**2) ** 0.5)  # losses 0.64 and 0.04, apart 0.6, a fifth of the time
    assert labels_of(Logged(live=live), TaskKind.REGRESSION, ()).sd is None


def test_the_spread_of_errors_is_that_at_the_margin_and_of_a_number_its_own() -> None:
    live = traffic(200)
    errors = spread_of(CANARY, Logged(live=live), TaskKind.BINARY, ("no", "yes"), 0.03)
    assert errors.sd == pytest.approx((0.05 * 0.95) ** 0.5)
    section = replace(
        CANARY,
        plan=PlanSection(metric=Metric.KPI),
        guardrails=GuardrailsSection(kpi=(KpiGuardrail(name="basket", file="basket.jsonl"),)),
    )
    assert spread_of(section, Logged(live=live), TaskKind.BINARY, ("no", "yes"), 0.0).sd is None
