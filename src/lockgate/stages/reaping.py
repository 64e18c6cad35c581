"""The reaper: ends approvals that are overdue or void and runs whose process is gone, and says so in the ledger.

It acts only on what it can prove: an expiry that passed, a run in an end state, a process id of this machine that no
longer lives, a run that was taken by a worker and never began. A run on another machine is left to the orchestrator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.model_state import OpenRelease
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import Clock, FlowRuns, Ledger, Notifier, RunState
from lockgate.stages.approving import tell
from lockgate.stages.releasing import end_release

_SETTLING = timedelta(seconds=60)
"""A resumed run is RUNNING before its new process has signed in to the ledger; ours: ten times a slow start."""
NEVER_STARTED = timedelta(seconds=60)
"""A run that a worker took (PENDING) and that does not run after this long died with its worker; ours, as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """One thing the reaper did.

    Attributes:
        model: The model.
        release: The release.
        did: What was done, in one sentence.
    """

    model: ModelName
    release: str
    did: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """Why a question can no longer be answered.

    Attributes:
        outcome: How its release ends.
        reason: One sentence, with the next step.
    """

    outcome: Outcome
    reason: str


def _never_void(_held: OpenRelease) -> Void | None:
    return None


def reap(  # noqa: PLR0913 - five ports and one question
    ledger: Ledger,
    runs: FlowRuns,
    clock: Clock,
    notifier: Notifier,
    spec: ReleaseSpec,
    *,
    lives: Callable[[Mapping[str, Json]], bool | None],
    void: Callable[[OpenRelease], Void | None] = _never_void,
) -> Reaped | None:
    """Look at the model's open release once.

    Args:
        lives: Tells whether a recorded process still runs; None when it cannot be known from here.
        void: Tells why the question of a release that waits is void before anybody answers it; None while it is not.
    """
    held = ledger.state(spec.name).open
    if held is None:
        return None
    run = runs.state(held.run)
    died = _death(run, clock.now(), lambda: lives(_process(ledger, spec, held)))
    if died is not None:
        reason = f"{died}; press Retry in the Prefect UI, or start a new release"
        runs.end(held.run, type="CRASHED", name="Crashed", message=reason)
        return _end(ledger, spec, held, Outcome.FAILED, reason)
    if run is not None and run.ended:
        return _end(ledger, spec, held, Outcome.FAILED, f"its run ended as {run.name}; Retry it, or start a new one")
    # only while nobody answers: a run that goes on again has just been checked, or will be
    revoked = void(held) if held.waiting and run is not None and run.type == "PAUSED" else None
    if revoked is not None:
        reaped = _end(ledger, spec, held, revoked.outcome, revoked.reason)
        notifier.notify(f"Lockgate: {held.release} cannot be decided on any more", revoked.reason)
        runs.end(held.run, type="CANCELLED", name=revoked.outcome.value.title(), message=revoked.reason)
        return reaped
    if held.waiting and held.expires_at is not None:
        return _watch_expiry(ledger, runs, notifier, spec, held, clock.now(), held.expires_at)
    return None


def _death(run: RunState | None, now: datetime, lives: Callable[[], bool | None]) -> str | None:
    """Say how a run died that the orchestrator takes for a living one; None when nothing proves that it did."""
    if run is None:
        return None
    if run.type == "RUNNING" and now - run.since > _SETTLING and lives() is False:
        return "the process that ran it is gone"
    if run.type == "PENDING" and now - run.since > NEVER_STARTED:
        return "its worker took it and died before it ran"
    return None


def _watch_expiry(  # noqa: PLR0913, PLR0917 - one private step of the function above
    ledger: Ledger,
    runs: FlowRuns,
    notifier: Notifier,
    spec: ReleaseSpec,
    held: OpenRelease,
    now: datetime,
    expires: datetime,
) -> Reaped | None:
    if now > expires:
        reason = f"nobody decided before {expires.isoformat()}; start a new release when somebody can"
        reaped = _end(ledger, spec, held, Outcome.EXPIRED, reason)
        runs.end(held.run, type="CANCELLED", name="Expired", message=reason)
        return reaped
    if not held.reminded and now > expires - timedelta(seconds=spec.approval.remind_before_s):
        ledger.append(spec.name, Event.APPROVAL_REMINDED, {"expires_at": expires.isoformat()}, release=held.release)
        tell(notifier, held.release, f"still waits for your decision; it expires {expires.isoformat()}", {})
        return Reaped(model=spec.name, release=held.release, did="reminded the approvers")
    return None


def _process(ledger: Ledger, spec: ReleaseSpec, held: OpenRelease) -> Mapping[str, Json]:
    rows: tuple[LedgerRow, ...] = ledger.rows(
        spec.name, release=held.release, events=(Event.RELEASE_OPENED, Event.RELEASE_RESUMED)
    )
    process = rows[-1].payload.get("process")
    return process if isinstance(process, Mapping) else {}


def _end(ledger: Ledger, spec: ReleaseSpec, held: OpenRelease, outcome: Outcome, reason: str) -> Reaped:
    end_release(ledger, spec, held.release, outcome, reason, actor="reaper")
    return Reaped(model=spec.name, release=held.release, did=f"ended it as {outcome}: {reason}")
