"""Replaying months of history through the whole line, and saying what each policy was worth.

    policy by policy: first batch > first champion > each month: asked about, labelled, landed, decided, released

The state is written whole after each month; a replay that was killed goes on at the next one. What is done to a stack
stands behind `Ground`; the real one is `replay_ground`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from lockgate.adapters.durable_files import write_whole
from lockgate.core import replay_comparison as comparison
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json, digest_of, to_json
from lockgate.core.replay_comparison import ScoredMonth
from lockgate.core.replay_plan import (
    MEASURES,
    SCHEMA_VERSION,
    WATCHED_LOSS,
    Alarm,
    Ended,
    MonthDone,
    PolicyDone,
)
from lockgate.core.replay_waits import Shortened
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, NotBlessed
from lockgate.line.replay_state import Asked, State, read_state, write_state

RESULT: Final = "replay.json"
Tell = Callable[[str], None]


class Ground(Protocol):
    """One policy's own stack, as much of it as a replay does."""

    def open(self) -> None:
        """Bring it up; what a killed replay left half done is ended first."""
        ...

    def close(self) -> None:
        """Take it down; what it holds stays."""
        ...

    def times(self, month: str) -> tuple[datetime, datetime]:
        """Return when a month's first and last row were."""
        ...

    def champion(self) -> str:
        """Return the release that serves; empty when none does."""
        ...

    def newest(self) -> str:
        """Return the newest release that came as far as a fit; empty when none did."""
        ...

    def ask(self, month: str) -> tuple[int, int]:
        """Let clients ask about a month's rows on their own days; returns how many asked, and were answered."""
        ...

    def label(self, month: str) -> int:
        """Tell the server, after a month's end, what turned out to be true of all that was asked; returns how many."""
        ...

    def land(self, months: Sequence[str], about: str | None) -> Ended:
        """Land months as one file, after their labels are known, and wait for what comes of it.

        Args:
            months: What the file holds.
            about: The month that clients ask about meanwhile; None: the landed one.
        """
        ...

    def watch(self) -> tuple[Alarm, ...] | None:
        """Let the monitor look once; returns the harm it found, None where there is no monitor."""
        ...

    def scored(self, month: str, releases: Sequence[str]) -> ScoredMonth:
        """Return what releases' fits answer to all labelled rows of a month; the stack may be down."""
        ...

    def at_release(self, release: str, measure: str) -> float | None:
        """Return a measure on the holdout that a release was judged on; None where it has none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy that is replayed.

    Attributes:
        name: As people call it.
        spec: What the replay judges and rolls out by.
        shortened: What that does in less time than the spec says.
        ground: Its stack; made when it is this policy's turn.
    """

    name: str
    spec: ReleaseSpec
    shortened: tuple[Shortened, ...]
    ground: Callable[[], Ground]


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
        told.append(compared(policy, done, ground))
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
        lived = _live(asked, ground, month, partial(_tell, tell, f"{policy.name}, {month}"))
        done = replace(done, months=(*done.months, lived))
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


def _live(asked: Asked, ground: Ground, month: str, tell: Tell) -> MonthDone:
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
        seconds=round(time.monotonic() - started, 1),
    )


def compared(policy: Policy, done: PolicyDone, ground: Ground) -> dict[str, Json]:
    """Return what one policy did and was worth, as JSON."""
    kind: TaskKind = policy.spec.task.kind
    measures = MEASURES[kind]
    scored = {each.month: ground.scored(each.month, _answering(done, each)) for each in done.months}
    loss = WATCHED_LOSS[kind]
    champions = dict.fromkeys(each.champion for each in done.months)
    known = {each: ground.at_release(each, loss) for each in champions}
    at_release = {name: value for name, value in known.items() if value is not None}
    tolerated = policy.spec.monitoring.loss_tolerated
    return {
        "policy": policy.name,
        "spec": policy.spec.digest,
        "measures": list(measures),
        "first": done.first,
        "shortened": to_json(done.shortened),
        "months": to_json(done.months),
        "releases": comparison.outcomes(done),
        **comparison.compare(done, scored, measures),
        "by_month": comparison.by_month(done, scored, measures),
        "takeovers": list(comparison.takeovers(done, scored, measures)),
        "alarms": comparison.alarms(done, scored, at_release, loss=loss, tolerated=tolerated),
        "seconds": round(sum(each.seconds for each in done.months), 1),
    }


def _answering(done: PolicyDone, month: MonthDone) -> tuple[str, ...]:
    """Return who is asked about a month: every fit before its data landed, and who served."""
    return tuple(dict.fromkeys([*comparison.known_releases(done, month.month), month.champion]))
