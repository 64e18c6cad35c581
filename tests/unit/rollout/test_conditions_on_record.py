"""Whole rollouts with sub-populations and days: what they decide, and that an auditor recomputes it from the record."""

from __future__ import annotations

from dataclasses import replace

from lockgate.core.drill_plan import drill_course, drill_section
from lockgate.core.drills import Fault, Mode
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.spec_sections.rollout import (
    DrillSection,
    GuardrailsSection,
    PlanSection,
    RolloutSection,
    RolloutStrategy,
    StepSection,
)
from lockgate.core.spec_sections.rollout_conditions import StabilitySection, SubpopulationSection
from lockgate.stages.audit_rollout import audit_rollouts
from tests.unit.rollout.rollouts_on_record import allowed, doctored, rows_of, run, with_payload

DAY_S = 10.0
SPLIT = RolloutSection(
    strategy=RolloutStrategy.A_B,
    steps=(StepSection(set_weight=0.5, bake_s=20.0),),
    guardrails=GuardrailsSection(latency=None),
    plan=PlanSection(margin=0.1, looks=(0.5, 1.0)),
    subpopulations=(SubpopulationSection(column="carrier", fewest=60),),
    stability=StabilitySection(days=4, day_s=DAY_S),
    look_s=5.0,
    max_duration_s=90.0,
)


def ended(rows: tuple[LedgerRow, ...]) -> tuple[str, str]:
    last = next(row for row in rows if row.event is Event.ROLLOUT_ENDED)
    return str(last.payload["verdict"]), str(last.payload["reason"])


def test_an_equal_challenger_is_promoted_once_its_days_are_there_and_leaves_a_true_record() -> None:
    rows = rows_of(run(allowed(SPLIT)))
    assert ended(rows)[0] == "promote"
    looks = [row for row in rows if row.event is Event.ROLLOUT_LOOK]
    assert len(looks) * SPLIT.look_s >= 4 * DAY_S, "the plan alone would have promoted after its bake of 20 s"
    assert list(audit_rollouts(rows)) == []
    states = ("counted", "evidence", len(looks[-1].payload["counted"]["evidence"]) - 1, "days", "fewest")  # type: ignore[index,call-overload,arg-type]
    forged = with_payload(rows, looks[-1].seq, doctored(looks[-1].payload, states, lambda _: 1))
    assert list(audit_rollouts(forged))


def test_a_challenger_whose_days_swing_ends_inconclusive_for_that_reason() -> None:
    production = allowed(SPLIT)
    began = production.clock.now().timestamp()

    def on_second(now: float) -> None:
        bad = CHALLENGER if (now // DAY_S - began // DAY_S) % 2 else CHAMPION
        production.fails = {bad: 0.3}

    production.on_second = on_second
    verdict, reason = ended(rows_of(run(production)))
    assert verdict == "inconclusive"
    assert reason.startswith("stability: ")


def test_a_slice_that_stays_too_small_ends_inconclusive_for_that_reason() -> None:
    rare = SubpopulationSection(column="carrier", values=("(missing)", "HA"), fewest=60)
    rows = rows_of(run(allowed(replace(SPLIT, subpopulations=(rare,), stability=None, max_duration_s=40.0))))
    verdict, reason = ended(rows)
    assert verdict == "inconclusive"
    assert "HA (0 of 60 entities of an arm)" in reason
    assert list(audit_rollouts(rows)) == []


def test_a_drill_of_a_spec_with_days_takes_no_days() -> None:
    production = replace(SPLIT, drill=DrillSection(production=True))
    for mode in Mode:
        section = drill_section(production, Fault.ERRORS, mode, requests_per_s=40.0)
        assert drill_course(section).stability is None
