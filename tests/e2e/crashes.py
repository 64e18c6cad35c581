"""One crash: start a release, kill something at a moment, and see how it all ends.

A moment is a row of the ledger, the last that is on record before a stage works: the same on a slow machine and on a
fast one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lockgate.core.ledger import Event, LedgerRow
from tests.e2e.polling import Poller, polling
from tests.e2e.retrying import retry
from tests.e2e.stack import Stack

MODEL = "toy-crash"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When to kill.

    Attributes:
        event: Kind of the ledger row that is waited for.
        facts: What its payload holds.
        later_s: How long after it: what the stage before takes to show its page, and this one to start.
    """

    event: Event
    facts: Mapping[str, Any] = field(default_factory=dict)
    later_s: float = 0.6


def _verdict(gate: str, later_s: float = 0.6) -> Moment:
    return Moment(event=Event.VERDICT, facts={"gate": gate}, later_s=later_s)


STAGES: Mapping[str, Moment] = {
    "ingest_data": Moment(event=Event.RELEASE_OPENED, later_s=0.0),
    "validate_data": _verdict("schema", later_s=1.0),
    "train_model": _verdict("drift", later_s=1.0),
    "evaluate_model": _verdict("training"),
    "package_model": _verdict("slices", later_s=0.4),
    "validate_infra": _verdict("parity", later_s=0.4),
    "stress_test": _verdict("infra", later_s=2.0),
    "register_model": _verdict("stress", later_s=0.4),
    "deploy_staging": Moment(event=Event.REGISTERED, later_s=0.2),
    "approval": _verdict("staging", later_s=0.3),
    "promote": Moment(event=Event.APPROVAL_GIVEN, later_s=1.0),
}
"""Each stage, and the moment at which it works."""
APPROVED = Moment(event=Event.APPROVAL_GIVEN, later_s=0.0)


@dataclass(kw_only=True)
class Crash:
    """What became of one crash.

    Attributes:
        release: The release it hit.
        run: Its flow run.
        state: Name of the state the run was in once it had settled; empty when it went on by itself.
        retried: Whether Retry was pressed.
        outcome: How the release ended in the end.
        seconds: From the crash to that end.
        production: What production answered meanwhile.
    """

    release: str
    run: str
    state: str = ""
    retried: bool = False
    outcome: str = ""
    seconds: float = 0.0
    production: Poller = field(default_factory=Poller)


def ensure_champion(stack: Stack) -> str:
    """Release the model once, if it never was; returns its champion."""
    if stack.state(MODEL).champion is None:
        stack.land(MODEL)
        opened = stack.await_open(MODEL, after=0)
        ended = stack.await_end(str(opened.release))
        assert ended.payload["outcome"] == "promoted", ended.payload
    return str(stack.state(MODEL).champion)


def crash(stack: Stack, moment: Moment, kill: Callable[[LedgerRow], object]) -> Crash:
    """Release the next batch, kill at a moment, and follow it to its end; press Retry when the run has crashed.

    Args:
        stack: A running stack with a champion of the model.
        moment: When.
        kill: What: takes the row that opened the release.
    """
    before, seen = ensure_champion(stack), stack.last_seq(MODEL)
    with polling(stack, MODEL) as production:
        stack.land(MODEL)
        opened = stack.await_open(MODEL, after=seen)
        hit = Crash(release=str(opened.release), run=str(opened.payload["run"]), production=production)
        stack.await_row(MODEL, moment.event, after=opened.seq - 1, **moment.facts)
        time.sleep(moment.later_s)
        kill(opened)
        began = time.monotonic()
        _follow(stack, hit)
        hit.seconds = time.monotonic() - began
        stack.await_ready()
        stack.check(MODEL)
    after = str(stack.state(MODEL).champion)
    assert after != before if hit.outcome == "promoted" else after == before
    assert set(production.answers) <= {before, after}, "production answered with a bundle that never was champion"
    return hit


def _follow(stack: Stack, hit: Crash) -> None:
    ended = stack.await_end(hit.release)
    if ended.payload["outcome"] == "failed":
        hit.state = stack.await_state(hit.run, "Crashed", "Failed")
        retry(stack, MODEL, hit.run)
        hit.retried = True
        ended = stack.await_end(hit.release, after=ended.seq)
    hit.outcome = str(ended.payload["outcome"])
