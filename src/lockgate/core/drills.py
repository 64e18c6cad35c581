"""Rehearsed rollbacks: what was planted, how long it took to be undone, and when a rehearsal is due. Pure.

    planted ──> detected ──> decided ──> switched ──> restored        seconds after the fault was in place
       │           │            │           │             └ live answers of every worker carry the champion's digest
       │           │            │           └ the server acknowledged the champion alone
       │           │            └ the intent to go back is on record, and the server is asked
       │           └ the first look at which a guardrail showed harm is on record
       └ the server acknowledged the faulty copy

The switch is what lies between detected and switched. The ledger's rows of a drill bracket every one of its times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from lockgate.core.contract import ModelContract, ProbeSet
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, as_float, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.spec_sections.rollout import DrillSection, RolloutSection, RolloutStrategy

SWITCH_AT_MOST_S = 0.5
"""From the look with harm to the server's acknowledgement. Ours: at 50 requests a second 25 requests."""
ALERT_EVERY = timedelta(days=1)
ALERT = "drill"
"""Name of the alert; rows of an older form hold it as `what`."""
_MARK = "-drill-"


class Fault(StrEnum):
    """What is planted into the copy of the champion."""

    ERRORS = "errors"  # no finite answer to a share of the rows
    LATENCY = "latency"  # the same answers, later
    WRONG = "wrong"  # other answers to a share of the rows


class Mode(StrEnum):
    """Where the faulty copy stands."""

    SHADOW = "shadow"  # it answers copies of requests; nobody sees what it says
    PRODUCTION = "production"  # it answers a share of entities; the champion stands behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyCopy:
    """A copy of the champion's bundle with a planted fault, in the bundle store for as long as its drill lasts.

    Attributes:
        digest: Its digest.
        contract: The champion's.
        probes: The champion's probe requests that the fault spares; to them it answers as the champion does.
    """

    digest: Digest
    contract: ModelContract
    probes: ProbeSet


class DrillVerdict(StrEnum):
    """How a drill ended; one that could not measure is not passed."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds after the fault was in place; None: it did not come to that.

    Attributes:
        detected: A guardrail showed harm.
        decided: The way back was begun.
        switched: The server acknowledged the champion alone.
        restored: Live answers, asked for by connections of their own until every worker was met, are the champion's.
        switch: From detected to switched, in seconds.
    """

    detected: float | None = None
    decided: float | None = None
    switched: float | None = None
    restored: float | None = None
    switch: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """One rehearsal, as the ledger keeps it.

    Attributes:
        drill: Its id, which is also the release and the salt of its rows.
        mode: Where the faulty copy stood.
        fault: What was planted.
        verdict: passed, failed or inconclusive.
        passed: The same as a yes or no.
        times_s: How long each part took.
        lost: Requests without an answer, or with another's than the champion's where nobody should see one.
        asked: Requests that were sent by the drill itself to find that out.
        requests_per_s: Traffic before the fault.
        reason: One sentence.
        next: What to do, in one sentence.
        run: The flow run that carried it out.
    """

    drill: str
    mode: Mode
    fault: Fault
    verdict: DrillVerdict
    passed: bool
    times_s: Times
    lost: int
    asked: int
    requests_per_s: float
    reason: str
    next: str
    run: str

    def payload(self) -> dict[str, Json]:
        """Return the payload of the ledger's row."""
        form = to_json(self)
        return dict(form) if isinstance(form, Mapping) else {}


def drill_id(model: ModelName, rows: Sequence[LedgerRow]) -> ReleaseId:
    """Return the id of a model's next drill.

    >>> drill_id(ModelName("toy"), ())
    'toy-drill-0001'
    """
    begun = {row.release for row in rows if is_drill(row.release)}
    return ReleaseId(f"{model}{_MARK}{len(begun) + 1:04d}")


def is_drill(release: str | None) -> bool:
    """Tell whether an id is a drill's.

    >>> is_drill("toy-drill-0001"), is_drill("toy-0001"), is_drill("seed-drill-press-0001"), is_drill(None)
    (True, False, False, False)
    """
    model, mark, number = (release or "").rpartition(_MARK)
    return bool(model and mark) and number.isdecimal()


def judge(times: Times, *, lost: int, asked: int, within_s: float) -> tuple[DrillVerdict, str]:
    """Return the verdict on what was measured, and why in one sentence.

    Args:
        times: What was measured.
        lost: Requests that were lost.
        asked: Requests of the drill's own that would have shown a loss; without any nothing was measured.
        within_s: From the fault to the champion restored, at most.

    >>> times = Times(detected=1.2, decided=1.3, switched=1.4, restored=1.6, switch=0.05)
    >>> judge(times, lost=0, asked=9, within_s=10.0)[0].value, judge(times, lost=1, asked=9, within_s=10.0)[0].value
    ('passed', 'failed')
    >>> judge(times, lost=0, asked=0, within_s=10.0)[0].value, judge(Times(), lost=0, asked=9, within_s=10.0)[0].value
    ('inconclusive', 'failed')
    """
    problem = next(_problems(times, lost, within_s), None)
    if problem is not None:
        return DrillVerdict.FAILED, problem
    if asked <= 0:
        unasked = "nobody asked while the fault was in place, so nothing shows that none is lost"
        return DrillVerdict.INCONCLUSIVE, unasked
    return DrillVerdict.PASSED, (
        f"seen after {times.detected:.1f} s, champion restored after {times.restored:.1f} s, "
        f"switch {1000 * (times.switch or 0.0):.0f} ms, nothing lost"
    )


def _problems(times: Times, lost: int, within_s: float) -> Iterator[str]:
    if times.detected is None:
        yield f"no guardrail saw the fault within {within_s:g} s"
    elif times.restored is None or times.switch is None:
        yield "the fault was seen, and live answers did not show the champion alone afterwards"
    else:
        if not times.restored <= within_s:
            yield f"the champion was restored after {times.restored:.1f} s; {within_s:g} s are allowed"
        if not times.switch < SWITCH_AT_MOST_S:
            yield f"the switch took {times.switch:.2f} s; less than {SWITCH_AT_MOST_S:g} s is allowed"
    if lost:
        yield f"{lost} {'request was' if lost == 1 else 'requests were'} lost meanwhile"


def results_of(rows: Sequence[LedgerRow]) -> tuple[LedgerRow, ...]:
    """Return the rows of drills that ended, oldest first."""
    return tuple(row for row in rows if row.event is Event.DRILL)


def unfinished(rows: Sequence[LedgerRow]) -> tuple[ReleaseId, ...]:
    """Return the drills that began and have no result, oldest first."""
    ended = {row.release for row in results_of(rows)}
    begun = dict.fromkeys(row.release for row in rows if row.release is not None and is_drill(row.release))
    return tuple(each for each in begun if each not in ended)


def wants_drills(section: RolloutSection, rows: Sequence[LedgerRow]) -> bool:
    """Tell whether a model's drills are waited for.

    A model with steps between the champion and its successor (any strategy but blue_green), one whose spec allows the
    fault in production, and one whose drill ever measured something. Who switches blue-green and never drilled is not
    reminded, nor who has a schedule that never met traffic.
    """
    steps = section.strategy is not RolloutStrategy.BLUE_GREEN
    measured = any(row.payload.get("verdict") != DrillVerdict.INCONCLUSIVE for row in results_of(rows))
    return steps or section.drill.production or measured


def drill_due(rows: Sequence[LedgerRow], section: RolloutSection, now: datetime) -> str | None:
    """Return why somebody must be told of a model's drills: missing, failed or stale; None where nothing is due.

    Args:
        rows: All rows of one model.
        section: Its rollout.
        now: The time, aware UTC.
    """
    champion = next((row.at for row in rows if _is_champion(row)), None)
    if champion is None or not wants_drills(section, rows):
        return None
    return next(_due(results_of(rows), section.drill, champion, now), None)


def _due(drills: Sequence[LedgerRow], section: DrillSection, champion: datetime, now: datetime) -> Iterator[str]:
    """Yield why a drill is due, at most one reason: the newest fact first."""
    passed = max((row.at for row in drills if row.payload.get("passed") is True), default=None)
    failed = next((row for row in reversed(drills) if row.payload.get("verdict") == DrillVerdict.FAILED), None)
    if failed is not None and (passed is None or failed.at > passed):
        yield f"the last drill of the rollback failed: {failed.payload.get('reason')}"
        return
    age = now - (passed or champion)
    if age > timedelta(days=section.every_days):
        since = "a champion serves" if passed is None else "the last passed drill of the rollback"
        yield f"{since}, and for {age.days} days none has passed; every {section.every_days} days one is due"


def _is_champion(row: LedgerRow) -> bool:
    return row.event is Event.TRAFFIC_VERIFIED and row.payload.get("environment") == "production"


def seconds_of(row: LedgerRow) -> Times:
    """Return a drill row's times; None for what an older or broken row does not hold."""
    given = row.payload.get("times_s")
    held = given if isinstance(given, Mapping) else {}
    named = {name: held.get(name) for name in ("detected", "decided", "switched", "restored", "switch")}
    return Times(**{name: None if value is None else as_float(value) for name, value in named.items()})
