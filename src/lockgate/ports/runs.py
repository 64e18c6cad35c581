"""The orchestrator's runs, and the people who are told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The state of one flow run.

    Attributes:
        type: The orchestrator's type of state, upper case: RUNNING, PAUSED, COMPLETED, CANCELLED, CRASHED...
        name: Its name: Suspended, Blocked, Expired...
        since: When the run entered it, aware UTC.
    """

    type: str
    name: str
    since: datetime

    @property
    def ended(self) -> bool:
        """Whether the run will do nothing more by itself."""
        return self.type in ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


class FlowRuns(Protocol):
    """The orchestrator's runs."""

    def state(self, run: str) -> RunState | None:
        """Return the run's state; None when the orchestrator does not know it.

        Raises:
            TransientError: The orchestrator did not answer.
        """
        ...

    def end(self, run: str, *, type: str, name: str, message: str) -> None:  # noqa: A002 - the orchestrator's word
        """Put the run in an end state of that type (CANCELLED or CRASHED), name and message."""
        ...


class Notifier(Protocol):
    """Tells people."""

    def notify(self, title: str, body: str) -> bool:
        """Send one message; False when no address is set or no address took it. Never raises."""
        ...
