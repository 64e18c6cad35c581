"""What a replay asks of one policy's own stack; the real one is `replay_ground`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from lockgate.core.ledger import LedgerRow
from lockgate.core.replay_comparison import ScoredMonth
from lockgate.core.replay_plan import Alarm, Ended


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

    def beside(self) -> tuple[int, int]:
        """Return how many asked, and were answered, beside releases since this was last asked for."""
        ...

    def by_harm(self) -> tuple[Ended, ...]:
        """Return every release so far that harm started and that has ended, oldest first."""
        ...

    def monthly_fit(self, months: Sequence[str], release: str | None) -> str:
        """Return the fit of a calendar that retrains on everything up to a month: a release's own, or one made aside.

        Args:
            months: Everything so far, the month at hand last.
            release: What the month's data led to; None where they led to none.

        Raises:
            LockgateError: It made none, and none can be made aside.
        """
        ...

    def watch(self) -> tuple[Alarm, ...] | None:
        """Let the monitor look once; returns the harm it found, None where there is no monitor."""
        ...

    def record(self) -> Sequence[LedgerRow]:
        """Return the ledger's rows of the model; the stack may be down."""
        ...

    def scored(self, month: str, releases: Sequence[str]) -> ScoredMonth:
        """Return what releases' fits answer to all labelled rows of a month; the stack may be down."""
        ...

    def at_release(self, release: str, measure: str) -> float | None:
        """Return a measure on the holdout that a release was judged on; None where it has none."""
        ...
