"""Opening, entering and ending a release: who may be open, what supersedes what, and on which code it may go on.

    (landed) ── open ──> open ──> waiting for approval ── given ──> open ──> ended
                           │                 └── newer batch ──> ended: superseded
                           └── process gone ──> ended: failed ── Retry ──> resumed (same code only)

The ledger holds at most one open release a model. Everything here may run twice: a release is found by its run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lockgate.core.ids import Digest, Json, ReleaseId, to_json
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.model_state import ModelState, OpenRelease
from lockgate.core.progress import Progress
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, LedgerConflict, TransientError
from lockgate.ports import FlowRuns, Ledger

BY_ITSELF = ("new data", "schedule")
"""Reasons given by triggers: without new data they open nothing. A person's own wish always opens a release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Who asked for a release, and why.

    Attributes:
        run: The flow run that carries it.
        reason: "new data", "schedule", or a person's own words.
        started_by: Who or what started the run.
        code: Digest of the program.
        process: Where the run's process lives: host, pid and start time, for the reaper.
    """

    run: str
    reason: str
    started_by: str
    code: Digest
    process: Mapping[str, Json]


def landed_since_last_release(ledger: Ledger, spec: ReleaseSpec) -> tuple[LedgerRow, ...]:
    """Return the batch rows after the newest release was opened.

    Read from the ledger and not from what one call took in, so that a crash between the two forgets nothing.
    """
    events = (Event.RELEASE_OPENED, Event.BATCH_INGESTED, Event.BATCH_QUARANTINED)
    rows = ledger.rows(spec.name, events=events)
    opened = max((row.seq for row in rows if row.event is Event.RELEASE_OPENED), default=0)
    return tuple(row for row in rows if row.seq > opened)


def open_release(ledger: Ledger, runs: FlowRuns, spec: ReleaseSpec, start: Start) -> Progress:
    """Open a release for this run, or say why there is nothing to release.

    Returns:
        The open release; or an ended one without id when nothing new landed for a trigger, or when a release of this
        model waits for approval and nothing newer landed.

    Raises:
        TransientError: Another release of this model is running; this one waits its turn.
    """
    mine = release_of_run(ledger, spec, start.run)
    if mine is not None:
        return _progress(spec, start, mine)
    state = ledger.state(spec.name)
    landed = landed_since_last_release(ledger, spec)
    fresh = any(row.event is Event.BATCH_INGESTED for row in landed)
    if start.reason in BY_ITSELF and not landed:
        return nothing_new(spec, start, "nothing new landed; land a file, or start a release by hand")
    if state.open is not None:
        _make_room(ledger, runs, spec, state, fresh=fresh)
        if not fresh and ledger.state(spec.name).open is not None:
            waiting = state.open.release
            return nothing_new(
                spec, start, f"{waiting} waits for its approval and nothing newer landed; approve or reject it first"
            )
    return _open(ledger, spec, start)


def _make_room(ledger: Ledger, runs: FlowRuns, spec: ReleaseSpec, state: ModelState, *, fresh: bool) -> None:
    """End the open release if its run is over or a newer batch supersedes it; let a running one finish."""
    held = state.open
    if held is None or end_dead(ledger, runs, spec, held):
        return
    if held.waiting and fresh:
        reason = "a newer batch landed while it waited for approval"
        end_release(ledger, spec, held.release, Outcome.SUPERSEDED, reason)
        runs.end(held.run, type="CANCELLED", name="Superseded", message=reason)
    elif not held.waiting:
        raise TransientError(f"{held.release} is running; a release of the same model waits its turn")


def end_dead(ledger: Ledger, runs: FlowRuns, spec: ReleaseSpec, held: OpenRelease) -> bool:
    """End an open release whose run is over; tells whether it was."""
    run = runs.state(held.run)
    if run is not None and not run.ended:
        return False
    name = "unknown to the orchestrator" if run is None else run.name
    end_release(ledger, spec, held.release, Outcome.FAILED, f"its run ended as {name} before the release did")
    return True


def _open(ledger: Ledger, spec: ReleaseSpec, start: Start) -> Progress:
    state, seen = ledger.state(spec.name), ledger.last_seq(spec.name)
    if state.open is not None:
        raise TransientError(f"{state.open.release} was opened meanwhile; this release waits its turn")
    release = ReleaseId(f"{spec.name}-{state.releases + 1:04d}")
    payload: dict[str, Json] = {
        "run": start.run,
        "reason": start.reason,
        "started_by": start.started_by,
        "spec": spec.digest,
        "code": start.code,
        "process": start.process,
        "resolved_spec": to_json(spec),
    }
    try:
        ledger.append(
            spec.name,
            Event.RELEASE_OPENED,
            payload,
            release=release,
            actor=start.started_by,
            expect_seq=seen,
        )
    except LedgerConflict as lost:
        raise TransientError("another writer opened a release first; this one waits its turn") from lost
    return _progress(spec, start, release)


def enter_release(ledger: Ledger, spec: ReleaseSpec, start: Start) -> Progress | None:
    """Check on every entry of a run that its release may go on, and record the process that now carries it.

    A run enters once when it starts, again after its approval, and again when a person presses Retry.

    Returns:
        None when the run may go on; else how its release ended: for good before this entry, or now, because the
        program or the spec is no longer the one it was opened with, or another release of the model is open.
    """
    release = release_of_run(ledger, spec, start.run)
    if release is None:
        return None
    so_far = _progress(spec, start, release)
    opened = opened_row(ledger, spec, release)
    state = ledger.state(spec.name)
    outcome = state.outcomes.get(release)
    if outcome not in (None, Outcome.FAILED):
        return so_far.end(outcome, f"{release} ended as {outcome} before; start a new release")
    for what, now in (("code", start.code), ("spec", spec.digest)):
        bound = str(opened.payload[what])
        if bound != now:
            reason = (
                f"the {what} changed since {release} was opened ({bound[:12]} then, {now[:12]} now); what would run is "
                "not what was judged: start a new release"
            )
            end_release(ledger, spec, release, Outcome.EXPIRED, reason)
            return so_far.end(Outcome.EXPIRED, reason)
    held = state.open
    if held is not None and held.release != release:
        return so_far.end(Outcome.EXPIRED, f"{release} ended and {held.release} is open; wait for that one")
    ledger.append(
        spec.name,
        Event.RELEASE_RESUMED,
        {"run": start.run, "process": start.process},
        release=release,
        actor=start.started_by,
    )
    return None


def end_release(  # noqa: PLR0913 - an end has this many facts
    ledger: Ledger,
    spec: ReleaseSpec,
    release: ReleaseId,
    outcome: Outcome,
    reason: str,
    *,
    gate: str | None = None,
    actor: str = "lockgate",
) -> LedgerRow | None:
    """Write how a release ended, once; None when it had already ended.

    A crash between a release's last row and its run's last state calls this twice; the first word stands. A run that
    failed after its rollout was verified did not take the rollout back: such a release ended as promoted.
    """

    def ending(now: Outcome | None) -> dict[str, Json] | None:
        if now is not None:
            return None
        if outcome is Outcome.FAILED and serves(ledger, spec, release):
            served = f"production answers with its bundle; after that, {reason}"
            return {"outcome": Outcome.PROMOTED.value, "reason": served, "gate": None}
        return {"outcome": outcome.value, "reason": reason, "gate": gate}

    return _append_end(ledger, spec, release, ending, actor)


def _append_end(
    ledger: Ledger,
    spec: ReleaseSpec,
    release: ReleaseId,
    ending: Callable[[Outcome | None], dict[str, Json] | None],
    actor: str,
) -> LedgerRow | None:
    """Write the end that follows from how the release stands, by compare-and-set: hook and reaper come at once."""
    while True:
        seen = ledger.last_seq(spec.name)
        payload = ending(ledger.state(spec.name).outcomes.get(release))
        if payload is None:
            return None
        try:
            return ledger.append(spec.name, Event.RELEASE_ENDED, payload, release=release, actor=actor, expect_seq=seen)
        except LedgerConflict:
            continue


def note_promotion(ledger: Ledger, spec: ReleaseSpec, release: ReleaseId, *, actor: str) -> LedgerRow | None:
    """Write that a release ended as promoted, if its own run had ended otherwise before its rollout did; else nothing.

    The rollout is a run of its own: it outlives the release's when that failed, and it may be carried out again after
    it was inconclusive. What it verified in production is the later word.
    """

    def ending(now: Outcome | None) -> dict[str, Json] | None:
        if now not in (Outcome.FAILED, Outcome.INCONCLUSIVE) or not serves(ledger, spec, release):
            return None
        reason = f"its run had ended {now.value}, its rollout went on and was verified from live answers"
        return {"outcome": Outcome.PROMOTED.value, "reason": reason, "gate": None}

    return _append_end(ledger, spec, release, ending, actor)


def serves(ledger: Ledger, spec: ReleaseSpec, release: ReleaseId) -> bool:
    """Tell whether production serves a release's bundle, as verified from live answers."""
    now = ledger.state(spec.name).serving.get("production")
    return now is not None and now.release == release


def release_of_run(ledger: Ledger, spec: ReleaseSpec, run: str) -> ReleaseId | None:
    """Return the release that this flow run carries."""
    for row in ledger.rows(spec.name, events=(Event.RELEASE_OPENED,)):
        if row.payload["run"] == run:
            return row.release
    return None


def opened_row(ledger: Ledger, spec: ReleaseSpec, release: ReleaseId) -> LedgerRow:
    """Return the row that opened a release.

    Raises:
        BadInput: There is no such release of this model.
    """
    rows = ledger.rows(spec.name, release=release, events=(Event.RELEASE_OPENED,))
    if not rows:
        raise BadInput(f"{spec.name} has no release {release!r}; see lockgate history --model {spec.name}")
    return rows[0]


def _progress(spec: ReleaseSpec, start: Start, release: ReleaseId) -> Progress:
    return Progress(model=spec.name, release=release, run=start.run, spec=spec.digest, code=start.code)


def nothing_new(spec: ReleaseSpec, start: Start, reason: str) -> Progress:
    """Return the progress of a run that opens no release, and says why."""
    return _progress(spec, start, ReleaseId("")).end(Outcome.SUPERSEDED, reason)
