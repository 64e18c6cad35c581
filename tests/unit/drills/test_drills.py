"""What passes a drill, what is due, and what a drill's course can see: by numbers alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lockgate.core.drill_plan import drill_course, drill_section, seen_after_s
from lockgate.core.drills import DrillVerdict, Fault, Mode, Times, drill_id, judge, seconds_of
from lockgate.core.ids import ModelName
from lockgate.core.ledger import Event
from lockgate.core.rollout.steps import StepKind
from lockgate.core.spec import (
    DrillSection,
    GuardrailsSection,
    KpiGuardrail,
    Metric,
    PlanSection,
    RolloutSection,
    RolloutStrategy,
    ScoreGuardrail,
)
from tests.fakes import FakeLedger

GOOD = Times(detected=1.5, decided=1.5, switched=1.6, restored=1.8, switch=0.1)
TOY = ModelName("toy")
STEPS = RolloutSection(strategy=RolloutStrategy.CANARY, drill=DrillSection(production=True))


@pytest.mark.parametrize(
    ("times", "lost", "asked", "verdict", "told"),
    [
        (GOOD, 0, 40, DrillVerdict.PASSED, "restored after 1.8 s"),
        (GOOD, 0, 0, DrillVerdict.INCONCLUSIVE, "nobody asked"),
        (GOOD, 1, 40, DrillVerdict.FAILED, "1 request was lost"),
        (GOOD, 2, 40, DrillVerdict.FAILED, "2 requests were lost"),
        (replace(GOOD, restored=10.1), 0, 40, DrillVerdict.FAILED, "10 s are allowed"),
        (replace(GOOD, switch=0.5), 0, 40, DrillVerdict.FAILED, "the switch took 0.50 s"),
        (replace(GOOD, restored=math.nan), 0, 40, DrillVerdict.FAILED, "restored after nan"),
        (replace(GOOD, restored=None), 0, 40, DrillVerdict.FAILED, "live answers"),
        (replace(GOOD, detected=None), 0, 40, DrillVerdict.FAILED, "no guardrail saw"),
        (Times(), 0, 40, DrillVerdict.FAILED, "no guardrail saw"),
    ],
)
def test_only_a_drill_that_was_fast_and_lost_nothing_passes(
    times: Times, lost: int, asked: int, verdict: DrillVerdict, told: str
) -> None:
    found, reason = judge(times, lost=lost, asked=asked, within_s=10.0)
    assert (found, told in reason) == (verdict, True), reason


def test_times_survive_the_record_and_an_empty_row_has_none() -> None:
    ledger = FakeLedger()
    ledger.append(TOY, Event.DRILL, {"times_s": {"detected": 1.5, "restored": None}})
    ledger.append(TOY, Event.DRILL, {})
    assert [seconds_of(row).detected for row in ledger.rows(TOY)] == [1.5, None]


def test_drills_are_numbered_by_what_began() -> None:
    ledger = FakeLedger()
    for _ in range(2):
        drill = drill_id(TOY, ledger.rows(TOY))
        ledger.append(TOY, Event.ROLLOUT_BEGUN, {}, release=drill)
        ledger.append(TOY, Event.DRILL, {}, release=drill)
    assert drill == "toy-drill-0002"


@pytest.mark.parametrize("strategy", list(RolloutStrategy))
@pytest.mark.parametrize("mode", list(Mode))
def test_every_strategy_has_a_course_of_one_step_with_its_own_errors_and_lease(
    strategy: RolloutStrategy, mode: Mode
) -> None:
    own = replace(STEPS, strategy=strategy, lease_s=7.0, guardrails=GuardrailsSection(alpha=0.03))
    course = drill_course(drill_section(own, Fault.ERRORS, mode, 50.0))
    (step,) = course.steps
    assert step.kind is (StepKind.SHADOW if mode is Mode.SHADOW else StepKind.WEIGHT)
    assert step.share == (1.0 if mode is Mode.SHADOW else 0.05)
    assert math.isclose(sum(course.guardrails.values()), 0.03)
    assert (course.lease_s, course.look_s) == (7.0, 0.5)


def test_plans_and_numbers_of_the_business_of_the_spec_do_not_stand_in_the_way() -> None:
    kpi = KpiGuardrail(name="revenue", file="revenue.jsonl")
    own = replace(STEPS, guardrails=GuardrailsSection(kpi=(kpi,)), plan=PlanSection(metric=Metric.KPI, margin=9.0))
    for mode, watched in ((Mode.SHADOW, False), (Mode.PRODUCTION, True)):
        course = drill_course(drill_section(own, Fault.ERRORS, mode, 50.0))
        assert ("kpi:revenue" in course.guardrails) is watched


def test_how_soon_a_fault_is_seen_follows_from_traffic_and_share() -> None:
    section = replace(STEPS, guardrails=GuardrailsSection(score=ScoreGuardrail()))

    def expected(fault: Fault, mode: Mode, rate: float) -> float:
        return seen_after_s(drill_section(section, fault, mode, rate), fault, mode, rate)

    assert expected(Fault.ERRORS, Mode.SHADOW, 50) < 2
    assert expected(Fault.ERRORS, Mode.PRODUCTION, 50) < 5
    assert expected(Fault.ERRORS, Mode.PRODUCTION, 2) > 10
    assert expected(Fault.LATENCY, Mode.SHADOW, 50) < 9
    assert expected(Fault.LATENCY, Mode.PRODUCTION, 50) > 10  # five requests of the challenger a block take two seconds
    assert expected(Fault.WRONG, Mode.SHADOW, 50) < 5
    assert all(expected(fault, Mode.SHADOW, 0) == math.inf for fault in Fault)
