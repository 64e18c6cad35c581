"""A log that was not read to its end, or that lost requests, promotes nobody; harm is still seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from lockgate.core.ids import Json
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import LOST_FRACTION, LOST_LINES, RolloutVerdict
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.stages.audit_rollout import audit_rollouts
from lockgate.stages.reading_log import CATCH_UP_S
from tests.unit.rollout.rollouts_on_record import promoted
from tests.unit.rollout.test_rolling_out import begun, carried
from tests.unit.rollout.world import CANARY, MODEL, A, B, Production

LONGEST_S = 150.0
SHORT = replace(CANARY, max_duration_s=LONGEST_S)


def once_shown(production: Production, then: Callable[[], None]) -> None:
    """Do something, once, when in the last step the plan has shown that the challenger is not worse."""
    done: list[float] = []

    def look(now: float) -> None:
        record = production.record()
        if done or record is None or record.rollout.step < len(SHORT.steps) - 1:
            return
        if RolloutVerdict.PROMOTE in (each.non_inferior for each in record.looks):
            done.append(now)
            then()

    production.on_second = look


def once_clear(production: Production, then: Callable[[], None], *, wish: str) -> None:
    """Do something, once, when a look was clear, and ask for something five seconds later."""
    at: list[float] = []

    def look(now: float) -> None:
        record = production.record()
        if not at and record is not None and record.rollout.clear:
            at.append(now)
            then()
        elif len(at) == 1 and now >= at[0] + 5:
            at.append(now)
            production.wish(wish)

    production.on_second = look


def lag(production: Production) -> None:
    production.log.lags = True


def test_a_log_still_behind_when_the_time_is_up_promotes_nobody() -> None:
    production = begun(section=SHORT, rate=20)
    once_shown(production, lambda: lag(production))

    ended = carried(production)

    assert (ended.verdict, production.champion()) == (RolloutVerdict.INCONCLUSIVE, A)
    assert "not read to its end" in ended.reason
    waited_s = production.clock.now().timestamp() - ended.began - LONGEST_S
    assert CATCH_UP_S <= waited_s < CATCH_UP_S + 5
    assert not list(audit_rollouts(production.ledger.rows(MODEL)))


def test_a_log_that_is_caught_up_with_soon_after_the_time_is_up_is_decided_on_whole() -> None:
    production = begun(section=SHORT, rate=20)

    def catch_up(now: float) -> None:
        record = production.record()
        if record is not None and now - record.rollout.began > LONGEST_S + CATCH_UP_S / 2:
            production.log.lags = False

    def behind() -> None:
        lag(production)
        production.on_second = catch_up

    once_shown(production, behind)
    ended = carried(production)
    assert (ended.verdict, production.champion()) == (RolloutVerdict.PROMOTE, B), ended.reason


def test_harm_in_a_log_that_is_behind_rolls_back_at_once() -> None:
    production = begun(section=SHORT, rate=20)

    def harm() -> None:
        lag(production)
        production.fails[CHALLENGER] = 0.5

    once_shown(production, harm)
    ended = carried(production)
    assert ended.verdict is RolloutVerdict.ROLL_BACK
    assert production.clock.now().timestamp() - ended.began < LONGEST_S
    assert production.rows(Event.ROLLOUT_LOOK)[-1].payload["counted"]["behind"] is True  # type: ignore[index,call-overload]
    assert not list(audit_rollouts(production.ledger.rows(MODEL)))


def test_a_person_cannot_promote_by_a_look_that_knew_nothing_of_what_is_unread() -> None:
    production = begun(section=SHORT, rate=20)

    def flooded() -> None:
        production.fails[CHALLENGER] = 0.5
        for _ in range(400):  # twenty turns' worth of reading
            production.log.put()

    once_clear(production, flooded, wish="promote")

    ended = carried(production)

    assert (ended.verdict, production.champion()) == (RolloutVerdict.ROLL_BACK, A)
    assert any("refused" in str(row.payload["state"]) for row in production.rows(Event.ROLLOUT_MOVED))
    assert not list(audit_rollouts(production.ledger.rows(MODEL)))


def test_a_log_that_cannot_be_read_at_the_end_promotes_nobody() -> None:
    production = begun(section=SHORT, rate=20)

    def break_it() -> None:
        production.log.down = True

    once_shown(production, break_it)
    ended = carried(production)
    assert (ended.verdict, production.champion()) == (RolloutVerdict.INCONCLUSIVE, A)
    assert "not read to its end" in ended.reason


@pytest.mark.parametrize(("lost", "verdict"), [(2, RolloutVerdict.PROMOTE), (60, RolloutVerdict.INCONCLUSIVE)])
def test_lost_requests_beyond_a_tiny_share_make_every_look_blind(lost: int, verdict: RolloutVerdict) -> None:
    production = begun()
    once_shown(production, lambda: production.log.put(lost=lost))

    ended = carried(production)

    assert ended.verdict is verdict, ended.reason
    assert production.rows(Event.ROLLOUT_LOOK)[-1].payload["counted"]["lost_requests"] == lost  # type: ignore[index,call-overload]
    assert not list(audit_rollouts(production.ledger.rows(MODEL)))
    if verdict is RolloutVerdict.INCONCLUSIVE:
        assert "60 of" in ended.reason


def test_the_plan_is_not_looked_at_while_more_is_lost_than_it_can_bear() -> None:
    patient = replace(CANARY.guardrails, patience=100)
    production = begun(section=replace(CANARY, steps=CANARY.steps[-1:], guardrails=patient))
    lost = iter([8])

    def once(_now: float) -> None:
        for each in lost:
            production.log.put(lost=each)

    production.on_second = once

    ended = carried(production)

    told = [row.payload for row in production.rows(Event.ROLLOUT_LOOK) if row.payload.get("effect") is not None]
    counted = [cast("dict[str, float]", payload["counted"]) for payload in told]
    assert counted, "nothing was lost that was not soon a small part, so the plan was looked at"
    assert all(each["lost_requests"] <= LOST_LINES + LOST_FRACTION * each["read_requests"] for each in counted)
    assert ended.verdict is RolloutVerdict.PROMOTE
    assert not list(audit_rollouts(production.ledger.rows(MODEL)))


def test_lost_requests_do_not_hide_harm() -> None:
    production = begun(fails={CHALLENGER: 0.5})
    production.log.put(lost=500)
    assert carried(production).verdict is RolloutVerdict.ROLL_BACK


def test_lost_requests_stay_lost_over_a_crash() -> None:
    production = begun()
    first = production.controller()
    first.take_over()
    production.log.put(lost=500)
    first.run(lambda rollout: rollout.looks > 0)
    second = production.controller()
    second.take_over()
    ended = second.run(lambda _: False)
    assert ended.verdict is RolloutVerdict.INCONCLUSIVE
    assert "500 of" in ended.reason


def test_a_record_from_before_this_was_told_is_still_true() -> None:
    newer = ("behind", "lost_requests", "read_requests")

    def older(value: Json) -> Json:
        if not isinstance(value, dict):
            return value
        return {key: older(each) for key, each in value.items() if key not in newer}

    rows = tuple(replace(row, payload=older(dict(row.payload))) for row in promoted())  # type: ignore[arg-type]  # a dict
    assert not list(audit_rollouts(rows))
