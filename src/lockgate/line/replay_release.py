"""The release that a month's file leads to: waited for, and put right where a replay was killed in the middle of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from lockgate.core.estimates import within
from lockgate.core.ids import Digest, Json
from lockgate.core.learning.triggers import TriggerKind, kind_of
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.replay_plan import KILLED, Ended
from lockgate.errors import LockgateError, TransientError
from lockgate.line.model_line import Line
from lockgate.stages.releasing import end_release

STARTED_WITHIN_S: Final = 600.0  # longer than the demo waits: others may use the machine for the hour of a replay
ENDED_WITHIN_S: Final = 3_600.0  # ours: twenty times what a release takes alone on two cores
BEGUN_WITHIN_S: Final = 60.0
"""Ours: a run begins within seconds. One that finds nothing to release says so on no record, and is not waited for."""
MOST_AGAIN: Final = 2  # ours: what three tries cannot measure, this machine cannot measure now
MACHINE_GATES: Final = ("infra", "stress")
"""The gates that time a server on this machine; INCONCLUSIVE, they speak of the machine and not of the model."""
_LOOK_S = 0.5
_ASKED_BY = (TriggerKind.NEW_DATA, TriggerKind.BY_HAND)
_HEARD = (Event.RETRAINING_DECIDED, Event.RELEASE_OPENED, Event.APPROVAL_GIVEN, Event.RELEASE_ENDED)


def await_end(line: Line, seen: int, rollout: Callable[[], None] | None) -> Ended:
    """Wait for what comes of a file that landed after row `seen`: a release that ends, or none.

    Args:
        line: The model's line.
        seen: The ledger's last row before it landed.
        rollout: Called when the release was approved.

    Raises:
        TransientError: Nothing came of it in time.
    """
    deadline, opened = time.monotonic() + STARTED_WITHIN_S, None
    while time.monotonic() < deadline:
        for row in line.ledger.rows(line.model, events=_HEARD):  # without evidence, which is most of a year's record
            if row.seq <= seen:
                continue
            seen = row.seq
            if opened is None and _holds_back(row):
                return Ended(decision="held back", why=str(row.payload.get("why")))
            if row.event is Event.RELEASE_OPENED and opened is None:
                opened, deadline = row, time.monotonic() + ENDED_WITHIN_S
            if row.event is Event.APPROVAL_GIVEN and rollout is not None:
                rollout()
            if row.event is Event.RELEASE_ENDED and opened is not None and row.release == opened.release:
                return _ended(opened, row)
        time.sleep(_LOOK_S)
    what = "no release started" if opened is None else f"{opened.release} did not end"
    logs = line.services.settings.logs
    raise TransientError(f"{what} in time; look into {logs}, then run the replay again: it goes on")


def again_where_busy(line: Line, ended: Ended, rollout: Callable[[], None] | None) -> Ended:
    """Run a release again that this machine was too busy to measure, at most twice, and return how the last one ended.

    What the past would have decided is not to hang on what else the machine of a replay does. A gate that says FAIL is
    never asked again.
    """
    for _ in range(MOST_AGAIN):
        if ended.outcome != Outcome.INCONCLUSIVE or ended.gate not in MACHINE_GATES:
            break
        seen = line.ledger.last_seq(line.model)
        _start(line, f"{ended.release} ended inconclusive by {ended.gate}: this machine was busy")
        ended = await_end(line, seen, rollout)
    return ended


def _start(line: Line, reason: str) -> None:
    parameters: dict[str, Json] = {"model": line.model, "reason": reason, "started_by": "replay"}
    line.services.runs.start_run(f"release-model/{line.model}", parameters)


def await_none(line: Line) -> None:
    """Wait until no release is under way, and none that harm asked for is about to begin.

    Raises:
        TransientError: One does not end.
    """
    soon = time.monotonic() + BEGUN_WITHIN_S
    while _harm_asks(line) and time.monotonic() < soon:
        time.sleep(_LOOK_S)
    deadline = time.monotonic() + ENDED_WITHIN_S
    while (held := line.ledger.state(line.model).open) is not None:
        if time.monotonic() >= deadline:
            raise TransientError(f"{held.release} did not end in time; look into {line.services.settings.logs}")
        time.sleep(_LOOK_S)


def _harm_asks(line: Line) -> bool:
    """Tell whether the policy let harm start a release, and that has neither begun nor been refused."""
    rows = line.ledger.rows(line.model, events=(Event.RETRAINING_DECIDED, Event.RELEASE_OPENED))
    if not rows or rows[-1].event is not Event.RETRAINING_DECIDED or rows[-1].payload.get("train") is not True:
        return False
    return within(rows[-1].payload.get("trigger"), "kind") == TriggerKind.DEGRADATION


def taken_up(line: Line, sha256: Digest) -> Ended | None:
    """Return what came of a file before the replay was killed; None where that is still to be awaited.

    Args:
        line: The model's line.
        sha256: The file's content; a file that was not landed is left to the caller.
    """
    rows = line.ledger.rows(line.model, events=(*_HEARD, Event.BATCH_INGESTED, Event.ROLLOUT_BEGUN))
    taken = [row.seq for row in rows if row.event is Event.BATCH_INGESTED and row.payload.get("sha256") == sha256]
    if not taken:
        waits = any(each.sha256 == sha256 for each in line.services.store.landed(line.model))
        return _held_back(rows) if waits else None
    opened = [row for row in rows if row.event is Event.RELEASE_OPENED and row.seq > taken[-1]]
    release = opened[-1].release if opened else None
    ended = [row for row in rows if row.event is Event.RELEASE_ENDED and row.release == release]
    if opened and ended and not _cut_short(rows, ended[-1]):
        return _ended(opened[-1], ended[-1])
    _start(line, "replay taken up again")
    return None


def _cut_short(rows: Sequence[LedgerRow], ended: LedgerRow) -> bool:
    """Tell whether a release ended so because the replay died: failed, or in a rollout that no client asked then."""
    outcome = ended.payload.get("outcome")
    rolled_out = any(row.event is Event.ROLLOUT_BEGUN and row.release == ended.release for row in rows)
    return outcome == Outcome.FAILED or (outcome == Outcome.INCONCLUSIVE and rolled_out)


def _held_back(rows: Sequence[LedgerRow]) -> Ended | None:
    """Return the newest answer of the policy, if it was no; the same answer to the same files is written once."""
    asked = [row for row in rows if row.event is Event.RETRAINING_DECIDED]
    if not asked or not _holds_back(asked[-1]):
        return None
    return Ended(decision="held back", why=str(asked[-1].payload.get("why")))


def end_leftovers(line: Line) -> None:
    """End what a killed replay left under way: its rollout, then its release."""
    from lockgate.line.rolling import end_abandoned

    ended = {row.release for row in line.ledger.rows(line.model, events=(Event.ROLLOUT_ENDED,))}
    begun = line.ledger.rows(line.model, events=(Event.ROLLOUT_BEGUN,))
    for release in dict.fromkeys(row.release for row in begun if row.release and row.release not in ended):
        end_abandoned(line, release, KILLED)
    held = line.ledger.state(line.model).open
    if held is not None:
        with suppress(LockgateError):  # a run that the orchestrator does not know any more has ended
            line.services.runs.end(held.run, type="CRASHED", name="Crashed", message=KILLED)
        end_release(line.ledger, line.spec, held.release, Outcome.FAILED, KILLED)


def started_by_harm(line: Line) -> tuple[Ended, ...]:
    """Return every release that the monitor's harm started and that has ended, oldest first."""
    rows = line.ledger.rows(line.model, events=(Event.RELEASE_OPENED, Event.RELEASE_ENDED))
    ends = {row.release: row for row in rows if row.event is Event.RELEASE_ENDED}
    opened = [row for row in rows if row.event is Event.RELEASE_OPENED and row.release in ends]
    return tuple(_ended(row, ends[row.release]) for row in opened if _trigger(row) is TriggerKind.DEGRADATION)


def _trigger(opened: LedgerRow) -> TriggerKind:
    return kind_of(str(opened.payload.get("reason")), str(opened.payload.get("started_by")))


def _holds_back(row: LedgerRow) -> bool:
    """Tell whether a row says that what landed starts no release; what else asked meanwhile is another matter."""
    if row.event is not Event.RETRAINING_DECIDED or row.payload.get("train") is not False:
        return False
    return within(row.payload.get("trigger"), "kind") in _ASKED_BY


def _ended(opened: LedgerRow, row: LedgerRow) -> Ended:
    told = row.payload
    return Ended(
        decision="released",
        why=str(opened.payload.get("reason") or ""),
        release=str(row.release),
        outcome=str(told.get("outcome")),
        gate=str(told.get("gate") or ""),
        reason=str(told.get("reason") or ""),
    )
