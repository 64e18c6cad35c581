"""Replaying months of history through the whole line, and saying what each policy was worth.

    policy by policy: first batch > first champion > each month: asked about, labelled, landed, decided, released

The state is written whole after each month; a replay that was killed goes on at the next one. What is done to a stack
stands behind `replay_port.Ground`; the real one is `replay_ground`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Final

from lockgate.adapters.durable_files import write_whole
from lockgate.core import replay_comparison as comparison
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json, digest_of, to_json
from lockgate.core.replay_aims import aims
from lockgate.core.replay_cost import cost
from lockgate.core.replay_plan import (
    MEASURES,
    SCHEMA_VERSION,
    WATCHED_LOSS,
    MonthDone,
    PolicyDone,
)
from lockgate.core.replay_waits import Shortened
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, LockgateError, NotBlessed
from lockgate.line.replay_port import Ground
from lockgate.line.replay_state import Asked, State, read_state, write_state

RESULT: Final = "replay.json"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy that is replayed.

    Attributes:
        name: As people call it.
        spec: What the replay judges and rolls out by.
        shortened: What that does in less time than the spec says.
        ground: Its stack; made when it is this policy's turn.
        people_each: How many people the spec asks to approve a release, before that was shortened.
    """

    name: str
    spec: ReleaseSpec
    shortened: tuple[Shortened, ...]
    ground: Callable[[], Ground]
    people_each: int = 0


def replay(asked: Asked, policies: Sequence[Policy], tell: Tell) -> dict[str, Json]:
    """Replay every policy as far as it has not been, and return the result; it is written beside the state too.

    Raises:
        BadInput: The output folder holds something else.
        NotBlessed: The first champion did not come into being: there is nothing to replay.
    """
    state = read_state(asked)
    write_state(asked, state)  # the folder is this replay's from here on
    told: list[Json] = []
    for place, policy in enumerate(policies):
        done = _begun(state, place, policy)
        ground = policy.ground()
        if len(done.months) < len(asked.months.during):
            with closing(ground):
                tell(f"{policy.name}: starting a stack of its own")
                ground.open()
                for each in _months(asked, policy, ground, done, tell):
                    done = each
                    state = replace(state, policies=(*state.policies[:place], done))
                    write_state(asked, state)
        tell(f"{policy.name}: comparing")
        told.append(compared(policy, done, ground, asked.months.after))
    result = {"schema_version": SCHEMA_VERSION, **asked.key, "policies": to_json(told)}  # NaN has no word in JSON
    write_whole(asked.output / RESULT, json.dumps(result, indent=1))
    return result


def _begun(state: State, place: int, policy: Policy) -> PolicyDone:
    digest = digest_of({"name": policy.name, "spec": policy.spec.digest})
    if place >= len(state.policies):
        return PolicyDone(name=policy.name, digest=digest, shortened=policy.shortened)
    found = state.policies[place]
    if found.digest != digest:
        raise BadInput(
            f"the replay in this folder began with another spec or policy than {policy.name!r} is now; name another "
            "--output, or put back what it was"
        )
    return found


def _months(asked: Asked, policy: Policy, ground: Ground, done: PolicyDone, tell: Tell) -> Iterator[PolicyDone]:
    """Yield how far the policy has come, after the first champion and after each month."""
    if not done.first:
        done = replace(done, first=_first(asked, policy, ground, tell))
        yield done
    for month in asked.months.during[len(done.months) :]:
        before = done.months[-1] if done.months else None
        calendar = (before.monthly or before.newest) if before else done.first
        lived = _live(asked, ground, month, calendar, partial(_tell, tell, f"{policy.name}, {month}"))
        known = {each.release for lived_before in done.months for each in lived_before.releases} | {done.first}
        harm = tuple(each for each in ground.by_harm() if each.release not in known | {lived.ended.release})
        for each in harm:
            tell(f"{policy.name}, {month}: {each.release}, started by harm: {each.outcome}")
        done = replace(done, months=(*done.months, replace(lived, harm=harm)))
        yield done


def _tell(tell: Tell, where: str, text: str) -> None:
    tell(f"{where}: {text}")


def _first(asked: Asked, policy: Policy, ground: Ground, tell: Tell) -> str:
    before = asked.months.before
    tell(f"{policy.name}: the first champion, of {', '.join(before)}")
    ended = ground.land(before, asked.months.during[0])
    if not ended.promoted:
        raise NotBlessed(
            f"no first champion: the release of {', '.join(before)} ended {ended.outcome or ended.decision} "
            f"({ended.gate or ended.why}: {ended.reason}); begin later with --from, or change what stopped it",
            release=ended.release,
        )
    return ground.champion()


def _live(asked: Asked, ground: Ground, month: str, calendar: str, tell: Tell) -> MonthDone:
    started = time.monotonic()
    began, until = ground.times(month)
    champion = ground.champion()
    n, answered = ground.ask(month)
    tell(f"{answered:,} of {n:,} requests answered by {champion}")
    labelled = ground.label(month)
    alarms = ground.watch()
    ended = ground.land([month], asked.months.following(month))
    told = f"{ended.release} {ended.outcome}" if ended.release else ended.decision
    tell(f"{told}: {ended.gate + ': ' if ended.gate else ''}{ended.reason or ended.why}")
    beside_asked, beside_answered = ground.beside()
    monthly, failed = _monthly(asked, ground, month, ended.release, calendar, tell)
    return MonthDone(
        month=month,
        began=began,
        until=until,
        champion=champion,
        asked=n,
        answered=answered,
        labelled=labelled,
        ended=ended,
        alarms=alarms,
        newest=ground.newest() or champion,
        monthly=monthly,
        monthly_failed=failed,
        beside_asked=beside_asked,
        beside_answered=beside_answered,
        seconds=round(time.monotonic() - started, 1),
    )


def _monthly(  # noqa: PLR0913, PLR0917 - of which month, after what
    asked: Asked, ground: Ground, month: str, release: str | None, before: str, tell: Tell
) -> tuple[str, str]:
    """Return whose fit a calendar has after a month; where none can be made, it keeps the one before, and why."""
    so_far = asked.months.during[: asked.months.during.index(month) + 1]
    try:
        fit = ground.monthly_fit([*asked.months.before, *so_far], release)
    except LockgateError as why:
        tell(f"no monthly fit, {before} stays: {why}")
        return before, str(why)
    if fit != release:
        tell(f"{fit}: a fit made aside, to compare with")
    return fit, ""


def compared(policy: Policy, done: PolicyDone, ground: Ground, after: str | None = None) -> dict[str, Json]:
    """Return what one policy did, was worth and cost, as JSON.

    Args:
        policy: Which.
        done: What it did.
        ground: Its stack; it may be down.
        after: The month after the last one: who took over last is judged on it; None where there is none.
    """
    kind: TaskKind = policy.spec.task.kind
    measures = MEASURES[kind]
    scored = {each.month: ground.scored(each.month, _answering(done, each)) for each in done.months}
    last = done.months[-1] if done.months else None
    took_over = [str(each.release) for each in last.releases if each.promoted] if last else []
    if after is not None and last is not None and took_over:
        scored[after] = ground.scored(after, (took_over[-1], last.champion))
    else:
        after = None
    loss = WATCHED_LOSS[kind]
    champions = dict.fromkeys(each.champion for each in done.months)
    known = {each: ground.at_release(each, loss) for each in champions}
    at_release = {name: value for name, value in known.items() if value is not None}
    tolerated = policy.spec.monitoring.loss_tolerated
    told: dict[str, Json] = {
        "policy": policy.name,
        "spec": policy.spec.digest,
        "measures": list(measures),
        "first": done.first,
        "shortened": to_json(done.shortened),
        "months": to_json(done.months),
        "releases": comparison.outcomes(done),
        **comparison.compare(done, scored, measures),
        "by_month": comparison.by_month(done, scored, measures),
        "takeovers": list(comparison.takeovers(done, scored, measures, after)),
        "alarms": comparison.alarms(done, scored, at_release, loss=loss, tolerated=tolerated),
        "cost": cost(done, ground.record(), policy.people_each),
        "seconds": round(sum(each.seconds for each in done.months), 1),
    }
    return {**told, "aims": aims(told)}


def _answering(done: PolicyDone, month: MonthDone) -> tuple[str, ...]:
    """Return who is asked about a month: every fit before its data landed, and who served."""
    fits = comparison.known_releases(done, month.month), comparison.monthly_fits(done, month.month)
    return tuple(dict.fromkeys([*chain(*fits), month.champion]))
