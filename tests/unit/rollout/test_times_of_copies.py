"""What a copy takes is no latency of the challenger's: it is timed in the model alone, and in batches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.core.ids import to_json
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.core.rollout.steps import course_of
from lockgate.core.spec import GuardrailsSection, RolloutSection, RolloutStrategy, StepSection
from lockgate.core.spec_sections.rollout import LatencyGuardrail
from lockgate.stages.audit_rollout import audit_rollouts
from tests.unit.rollout.rollouts_on_record import allowed, rows_of, run, with_payload
from tests.unit.rollout.tally_world import BEGAN, copied, evidence, seen, tally_of
from tests.unit.rollout.test_audit_rollout import SHADOW

TIMED = GuardrailsSection(latency=LatencyGuardrail(block_s=10.0))
MIXED = RolloutSection(
    strategy=RolloutStrategy.CANARY,
    steps=(StepSection(shadow=1.0, bake_s=60.0), StepSection(set_weight=0.5, bake_s=60.0)),
    guardrails=TIMED,
)


def test_a_shadow_alone_is_not_judged_by_latency_and_its_error_goes_to_the_others() -> None:
    course = course_of(replace(SHADOW, guardrails=TIMED), sd=None)
    assert "latency" not in course.guardrails
    assert sum(course.guardrails.values()) == pytest.approx(TIMED.alpha)
    assert "latency" in course_of(MIXED, sd=None).guardrails


@pytest.mark.parametrize("factor", [0, 10])
def test_copies_that_are_slow_or_quick_change_nothing_of_the_latency(factor: int) -> None:
    tally = tally_of(MIXED)
    for number in range(20):
        entity = f"e{number}"
        live = {"time": BEGAN + 1, "latency_us": 10_000, "entity": entity}
        tally.take(seen(*copied(f"p{number}", live, time=BEGAN + 1, latency_us=factor * 10_000, entity=entity)))
    tally.take(seen(*copied("last", {"time": BEGAN + 30}, time=BEGAN + 30)))
    found = tally.counted(BEGAN + 40)
    blocks = evidence(found, "latency").blocks
    assert blocks is not None
    assert (blocks.pluses, blocks.minuses) == (0, 0)
    assert found.challenger_requests == 21, "they are counted all the same"
    arm = found.shown[CHALLENGER]
    assert isinstance(arm, dict)
    assert set(arm["latency_ms"].values()) == {None}


def test_a_rollout_that_was_begun_when_copies_were_timed_is_still_true_on_record() -> None:
    rows = rows_of(run(allowed(SHADOW)))
    begun = next(row for row in rows if row.event is Event.ROLLOUT_BEGUN)
    older = to_json(course_of(SHADOW, sd=None, times_copies=True))
    assert isinstance(older, dict)
    assert "latency" in older["guardrails"]
    told = [each.message for each in audit_rollouts(with_payload(rows, begun.seq, {**begun.payload, "course": older}))]
    assert not [each for each in told if "not the one that the spec" in each]


def test_a_shadow_alone_is_promoted_without_a_latency() -> None:
    production = run(allowed(SHADOW))
    record = production.record()
    assert record is not None
    assert record.rollout.verdict is RolloutVerdict.PROMOTE
    assert "latency" not in {each.guardrail for look in record.looks for each in look.findings}
