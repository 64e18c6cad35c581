"""The ledger's rows of a rollout: what is read back from them, and how large they become."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import canonical_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout import record
from lockgate.core.rollout.machine import Looked, Phase, Rollout, looked
from lockgate.core.rollout.observations import LabelSeen, Observation, Seen
from lockgate.core.rollout.record import RolloutRecord, read_rollout
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.rollout.steps import course_of
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec import (
    BanditSection,
    GuardrailsSection,
    PlanSection,
    QualityGuardrail,
    RolloutSection,
    ScoreGuardrail,
)
from lockgate.core.spec_sections.rollout import Metric, RolloutStrategy
from lockgate.errors import IntegrityError
from lockgate.stages.looking import Observer
from tests.unit.rollout.rollouts_on_record import SMALL, allowed, promoted, rolled_back, rows_of, with_payload
from tests.unit.rollout.world import R1, R2, A, B, Production

LARGEST_BYTES = 8_000
"""A look every ten seconds for an hour is then at most 3 MB, which is read and judged again within a second or two."""
LARGEST_OF_MANY_SHARES_BYTES = 13_000
"""Of a bandit with twelve shares and every guardrail: each statistic is by share."""


def _read(rows: tuple[LedgerRow, ...]) -> RolloutRecord:
    found = read_rollout(rows, R2)
    assert found is not None
    return found


def test_a_release_without_a_rollout_has_none() -> None:
    assert read_rollout(promoted(), R1) is None
    assert read_rollout((), R2) is None


def test_what_was_promoted_is_read_back_whole() -> None:
    found = _read(promoted())
    assert (found.rollout.phase, found.rollout.verdict) == (Phase.ENDED, RolloutVerdict.PROMOTE)
    assert (found.ended, found.salt, found.rollout.challenger, found.rollout.champion) == (True, f"{R2}/1", B, A)
    assert found.course == course_of(SMALL, sd=None)
    assert list(found.course.guardrails) == list(course_of(SMALL, sd=None).guardrails), "in their one order"
    assert len(found.looks) == found.rollout.looks == len(found.looked)
    assert len(found.effects) == sum(look.non_inferior is not None for look in found.looks) >= 1
    assert found.wishes == ()
    verified = [row for row in promoted() if row.event is Event.ROUTING_VERIFIED]
    assert found.sequence == verified[-1].payload["sequence"]


def test_after_every_row_the_state_is_the_one_that_the_controller_had() -> None:
    """A process that dies after any row is carried on from there: what is read never lags behind what was written."""
    production = allowed(SMALL)
    production.begin()
    controller = production.controller()
    controller.take_over()

    def compare(_: Rollout) -> bool:
        assert _read(rows_of(production)).rollout == controller.rollout
        return False

    controller.run(compare)
    assert _read(rows_of(production)).rollout == controller.rollout


def test_a_process_that_takes_over_holds_what_the_one_before_held() -> None:
    production = allowed(SMALL)
    production.begin()
    first = production.controller()
    first.take_over()
    first.run(lambda rollout: rollout.looks >= 4)
    second = production.controller()
    assert second.rollout == first.rollout
    assert (second.observer.looks, second.observer.effects) == (first.observer.looks, first.observer.effects)
    assert (second.observer.p_before, second.heard) == (first.observer.p_before, _read(rows_of(production)).begun)


def test_wishes_are_read_until_a_move_has_answered_them() -> None:
    production = allowed(SMALL)
    production.begin()
    for what in ("pause", "resume"):
        production.wish(what)
    before = _read(rows_of(production))
    assert [(wish.what, wish.by, wish.reason) for wish in before.wishes] == [
        ("pause", "ada", "because"),
        ("resume", "ada", "because"),
    ]
    controller = production.controller()
    controller.take_over()
    controller.run(lambda rollout: rollout.looks >= 1)
    after = _read(rows_of(production))
    assert after.wishes == ()
    assert after.heard == before.wishes[-1].seq


def test_the_last_rollout_of_a_release_counts_and_old_wishes_are_not_its_own() -> None:
    production = Production(section=SMALL, rate=0)
    production.begin()
    controller = production.controller()
    controller.take_over()
    controller.run(lambda _: False)
    production.wish("abort")
    production.begin()
    found = _read(rows_of(production))
    assert (found.rollout.phase, found.looks, found.wishes, found.ended) == (Phase.BEGUN, (), (), False)
    assert found.heard == found.begun


def test_a_look_moves_the_state_without_a_row_of_the_move() -> None:
    looks = [row for row in rolled_back() if row.event is Event.ROLLOUT_LOOK]
    found = _read(tuple(row for row in rolled_back() if row.seq <= looks[-1].seq))
    assert (found.rollout.phase, found.rollout.verdict) == (Phase.RETURNING, RolloutVerdict.ROLL_BACK)


def test_the_event_of_a_look_is_made_alike_from_the_record_and_from_the_look() -> None:
    found = _read(promoted())
    for row in found.looked:
        event = record.look_event(found.course, row)
        again = looked(found.course, row.look, row.decision, now=row.now, next_share=row.next_share)
        assert isinstance(event, Looked)
        assert event == again


@pytest.mark.parametrize(
    "event", [Event.ROLLOUT_BEGUN, Event.ROLLOUT_LOOK, Event.ROLLOUT_MOVED, Event.ROUTING_VERIFIED]
)
def test_a_row_that_is_none_is_refused_and_not_taken_for_a_state(event: Event) -> None:
    row = next(row for row in promoted() if row.event is event)
    with pytest.raises(IntegrityError):
        read_rollout(with_payload(promoted(), row.seq, {}), R2)


def test_a_number_that_is_none_is_read_back() -> None:
    production = Production(section=SMALL, rate=0)
    production.begin()
    controller = production.controller()
    controller.take_over()
    controller.run(lambda rollout: rollout.looks >= 1)
    (look,) = _read(rows_of(production)).looks
    assert any(finding.observed != finding.observed for finding in look.findings), "NaN: nothing was measured"
    assert json.loads(json.dumps(production.rows(Event.ROLLOUT_LOOK)[0].payload, allow_nan=False))


# -- size ------------------------------------------------------------------------------------------------------------

WATCHED = GuardrailsSection(score=ScoreGuardrail(), quality=QualityGuardrail())
LINEAR = RolloutSection(
    strategy=RolloutStrategy.LINEAR, guardrails=WATCHED, plan=PlanSection(metric=Metric.LOSS, sd=0.3)
)
PERIODS = RolloutSection(strategy=RolloutStrategy.BANDIT, bandit=BanditSection(periods=12))
TWELVE = [0.5 + step / 31 for step in range(12)]


def _busy(shares: list[float]) -> Seen:
    """Return what many entities in every step leave behind, with labels."""
    observations, labels = [], []
    for number in range(len(shares) * 240):
        step, place = divmod(number, 240)
        challenger = place % 2 == 1
        share = shares[step]
        arm, propensity = (CHALLENGER, share) if challenger else (CHAMPION, 1.0 - share)
        observations.append(
            Observation(
                time=1000.0 + step * 300 + place,
                prediction_id=f"p{number}",
                arm=arm,
                propensity=propensity,
                entity=f"e{number}",
                failed=place % 7 == 0,
                flags=place % 5 == 0,
                latency_us=1000 + place,
                scores=() if place % 7 == 0 else (0.31 + place / 1000,),
                labels=() if place % 7 == 0 else ("no",),
            )
        )
        labels.append(LabelSeen(prediction_id=f"p{number}", row=0, label="no", received=1000.0 + step * 300 + place))
    return Seen(observations=tuple(observations), labels=tuple(labels), cursor="c")


@pytest.mark.parametrize(
    ("section", "shares", "largest"),
    [
        (LINEAR, [0.1, 0.2, 0.3, 0.4, 0.5], LARGEST_BYTES),
        (PERIODS, TWELVE, LARGEST_BYTES),
        (replace(PERIODS, guardrails=WATCHED), TWELVE, LARGEST_OF_MANY_SHARES_BYTES),
    ],
    ids=["linear, every guardrail", "bandit, twelve shares", "bandit, twelve shares, every guardrail"],
)
def test_a_look_stays_small_however_much_was_seen(section: RolloutSection, shares: list[float], largest: int) -> None:
    course = course_of(section, sd=None)
    tally = Tally(course, section, TaskKind.BINARY, ("no", "yes"))
    tally.take(_busy(shares))
    judged = Observer(course=course).look(tally.counted(9e3), share=0.5, steps_done=False, time_is_up=False)
    rollout = replace(Rollout.at_start(R2, B, A, began=0.0), phase=Phase.BAKING, share=0.5)
    size = len(canonical_json(record.look_payload(rollout, judged, 9e3)))
    assert size < largest, size
    assert len(canonical_json(record.begun_payload(course, rollout, salt="s"))) < LARGEST_BYTES
