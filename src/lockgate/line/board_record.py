"""What the board says of one model from its chain alone: served, under way, ended, found, rehearsed, delivered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from lockgate.core.alerting.alert import open_alerts
from lockgate.core.alerting.watchdog import WATCHED_EVENTS, monitor_silence
from lockgate.core.board import Alarm, Decided, Drilled, Ended, Found, Lamp, Light, Score, Served, UnderWay
from lockgate.core.board_course import Mark
from lockgate.core.delivery import Delivery, delivery
from lockgate.core.drills import DrillVerdict, is_drill, results_of
from lockgate.core.estimates import items, number, within
from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.model_state import ModelState, project
from lockgate.core.rollout.record import read_rollout
from lockgate.core.spec import ReleaseSpec
from lockgate.core.traffic import Kind
from lockgate.line.rollout_words import commands, headline

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

_PRODUCTION: Final = "production"
_ENDS: Final = {
    Outcome.PROMOTED: Light.GOOD,
    Outcome.SUPERSEDED: Light.GOOD,
    Outcome.REJECTED: Light.GOOD,
    Outcome.EXPIRED: Light.WARN,
    Outcome.INCONCLUSIVE: Light.WARN,
    Outcome.BLOCKED: Light.WARN,  # a gate did its work, and the champion stays
    Outcome.ROLLED_BACK: Light.WARN,
    Outcome.FAILED: Light.BAD,
}
_STATES: Final = {
    "HARM": Light.BAD, "BROKEN": Light.WARN, "NO_DATA": Light.UNKNOWN, "NOISE": Light.GOOD, "OK": Light.GOOD,
}  # fmt: skip
"""Light by the state of a finding; one of another name is shown as a warning."""
_STANDINGS: Final = {
    "ok": (Light.GOOD, ""),
    "noise": (Light.GOOD, ""),
    "harm": (Light.GOOD, ""),  # the monitor is awake; its findings speak for themselves
    "broken": (Light.WARN, " and could not measure"),
    "no_data": (Light.UNKNOWN, " and cannot say yet"),
}
"""Light of the monitor, and what to add, by what its findings add up to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What follows from a chain; its fields are those of `ModelBoard`.

    Attributes:
        champion: What production serves; None: nothing yet.
        changing: Whether production's traffic is being changed.
        watched: The rows that tell whether the monitor is awake.
        standing: What the monitor's findings add up to, in its own word; empty: it never looked.
    """

    champion: Digest | None
    changing: bool
    watched: tuple[LedgerRow, ...]
    served: tuple[Served, ...]
    under_way: UnderWay | None
    ended: Ended | None
    found: tuple[Found, ...]
    monitored: datetime | None
    standing: str
    marks: tuple[Mark, ...]
    score: Score | None
    delivery: Delivery | None
    drill: Drilled | None
    decided: Decided | None


def recorded_of(services: Services, model: ModelName, rows: Sequence[LedgerRow]) -> Recorded:
    """Return what a model's chain says.

    Args:
        services: Where bundles and results are, for the ML Test Score.
        model: Whose.
        rows: The whole chain.

    Raises:
        IntegrityError: A row is not what it should hold.
    """
    state = project(rows)
    monitored = next((row for row in reversed(rows) if row.event is Event.MONITORED), None)
    return Recorded(
        champion=state.champion,
        changing=_PRODUCTION in state.pending,
        watched=tuple(row for row in rows if row.event in WATCHED_EVENTS),
        served=_served(state),
        under_way=_under_way(rows, state),
        ended=_ended(rows),
        found=() if monitored is None else _found(monitored.payload),
        monitored=None if monitored is None else monitored.at,
        standing="" if monitored is None else str(monitored.payload.get("state") or ""),
        marks=tuple(_marks(rows)),
        score=_score(services, model, rows),
        delivery=delivery(rows) if rows else None,
        drill=_drill(model, rows),
        decided=_decided(rows),
    )


def monitor_lamp(model: ModelName, recorded: Recorded, spec: ReleaseSpec | None, now: datetime) -> Lamp:
    """Say whether the monitor is awake; what it found has words of its own."""
    run = f"lockgate monitor {model}"
    if recorded.champion is None:
        return Lamp(name="monitor", light=Light.GOOD, says="nothing serves, so there is nothing to watch")
    if spec is not None:
        since = next((each.since for each in recorded.served if each.environment == _PRODUCTION), now)
        silence = monitor_silence(recorded.watched, spec.monitoring, model, since=since, now=now)
        if silence is not None and silence.state != "ok":
            return Lamp(name="monitor", light=Light.BAD, says=silence.reason, next=silence.next)
    if recorded.monitored is None:
        return Lamp(name="monitor", light=Light.UNKNOWN, says="has never looked", next=run)
    light, more = _STANDINGS.get(recorded.standing, (Light.UNKNOWN, " and said nothing"))
    says = f"looked at {recorded.monitored:%Y-%m-%d %H:%M} UTC{more}"
    return Lamp(name="monitor", light=light, says=says, next="" if light is Light.GOOD else run)


def alarms_of(rows: Iterable[LedgerRow], now: datetime) -> tuple[Alarm, ...]:
    """Return the alerts that are not closed, the most harmful first."""
    return tuple(
        Alarm(
            name=each.key.partition(":")[2],
            state=each.state.value,
            reason=each.reason,
            owner=each.owner,
            opened=each.opened,
            count=each.count,
            next=each.next,
        )
        for each in open_alerts(rows, now)
    )


def _served(state: ModelState) -> tuple[Served, ...]:
    return tuple(
        Served(environment=name, bundle=now.bundle, release=now.release, since=now.since, why=now.why)
        for name in (_PRODUCTION, "staging")
        if (now := state.serving.get(name)) is not None
    )


def _under_way(rows: Sequence[LedgerRow], state: ModelState) -> UnderWay | None:
    rollout = _rollout(rows)
    if rollout is not None:
        return rollout
    opened = state.open
    if opened is None:
        return None
    explain = (f"lockgate explain {opened.release}", "see how far it is")
    if not opened.waiting:
        return UnderWay(
            release=opened.release, says=f"runs since {opened.opened_at:%Y-%m-%d %H:%M} UTC", commands=(explain,)
        )
    until = "" if opened.expires_at is None else f" until {opened.expires_at:%Y-%m-%d %H:%M} UTC"
    decide = (f"lockgate approve {opened.release}", "let it take over"), (f"lockgate reject {opened.release}", "do not")
    return UnderWay(release=opened.release, says=f"waits for approval{until}", waits=True, commands=(*decide, explain))


def _rollout(rows: Sequence[LedgerRow]) -> UnderWay | None:
    begun = [row.release for row in rows if row.event is Event.ROLLOUT_BEGUN and not is_drill(row.release)]
    if not begun or begun[-1] is None:
        return None
    found = read_rollout(rows, begun[-1])
    if found is None or found.ended:
        return None
    return UnderWay(
        release=found.rollout.release,
        says=headline(found),
        why=found.rollout.reason,
        share=found.rollout.share,
        waits=found.rollout.held_by is not None,
        commands=commands(found),
    )


def _ended(rows: Sequence[LedgerRow]) -> Ended | None:
    for row in reversed(rows):
        if row.event is Event.RELEASE_RESUMED:  # taken up again: what it ended as does not hold
            continue
        if row.event is Event.RELEASE_ENDED and row.release is not None:
            outcome = Outcome(str(row.payload["outcome"]))
            return Ended(
                release=row.release,
                outcome=outcome.value.replace("_", " "),
                at=row.at,
                reason=str(row.payload.get("reason", "")),
                light=_ENDS[outcome],
                next=f"lockgate explain {row.release}",
            )
    return None


def _found(payload: Mapping[str, Json]) -> tuple[Found, ...]:
    """Read the monitor's findings; those that say that all is well are left out, harm first."""
    read = [_finding(each) for each in items(payload.get("findings")) if isinstance(each, Mapping)]
    kept = [each for each in read if each.state != "OK"]
    order = (Light.BAD, Light.WARN, Light.UNKNOWN, Light.GOOD)
    return tuple(sorted(kept, key=lambda each: (order.index(each.light), -each.harm, each.name)))


def _finding(given: Mapping[str, Json]) -> Found:
    state = str(given.get("state", "")).upper()
    part = within(given.get("evidence"), "slice")
    name = str(given.get("name", "a finding"))
    return Found(
        name=f"{name}:{part}" if part and f":{part}" not in name else name,  # as the key of its alert
        light=_STATES.get(state, Light.WARN),
        state=state,
        reason=str(given.get("reason", "")),
        harm=number(given.get("harm")) or 0.0,
        next=str(given.get("next", "")),
    )


def _marks(rows: Iterable[LedgerRow]) -> Iterable[Mark]:
    for row in rows:
        if row.event is Event.TRAFFIC_VERIFIED and row.payload.get("environment") == _PRODUCTION:
            kind = str(row.payload.get("kind", Kind.PROMOTION.value))
            yield Mark(at=row.at, kind=kind, release=str(row.payload.get("undone") or row.release or ""))


def _score(services: Services, model: ModelName, rows: Sequence[LedgerRow]) -> Score | None:
    from lockgate.core.maturity import meaning, trend
    from lockgate.line.assessing import records

    assessed = trend(records(services, model, rows, newest=1))
    if not assessed:
        return None
    newest = assessed[-1]
    areas = {area.value: score for area, score in newest.areas.items()}
    return Score(release=newest.release, score=newest.score, areas=areas, meaning=meaning(newest.score))


def _drill(model: ModelName, rows: Sequence[LedgerRow]) -> Drilled | None:
    ended = results_of(rows)
    if not ended:
        return None
    payload = ended[-1].payload
    verdict = str(payload.get("verdict", ""))
    passed = verdict == DrillVerdict.PASSED
    restored = number(within(payload.get("times_s"), "restored"))
    took = "" if restored is None else f", restored after {restored:.1f} s"
    bad = Light.BAD if verdict == DrillVerdict.FAILED else Light.WARN
    return Drilled(
        at=ended[-1].at,
        light=Light.GOOD if passed else bad,
        says=f"{verdict}: {payload.get('fault')} in {payload.get('mode')}{took}, {payload.get('lost')} lost",
        next="" if passed else f"lockgate drill {model}",
    )


def _decided(rows: Sequence[LedgerRow]) -> Decided | None:
    row = next((row for row in reversed(rows) if row.event is Event.RETRAINING_DECIDED), None)
    if row is None:
        return None
    said = row.payload
    looked = next((row for row in reversed(rows) if row.event is Event.COUNTERFACTUALS), None)
    hindsight = "" if looked is None else f" ({looked.at:%Y-%m-%d} {looked.payload.get('summary')})"
    return Decided(
        at=row.at,
        train=said.get("train") is True,
        trigger=str(within(said.get("trigger"), "kind") or "").replace("_", " "),
        why=f"{said.get('why', '')}{hindsight}",
        next=str(said.get("next", "")),
    )
