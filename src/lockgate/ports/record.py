"""The record, and the time that is written into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from lockgate.core.ids import Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.model_state import ModelState


class Clock(Protocol):
    """The only way to ask for the time."""

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        ...


class Ledger(Protocol):
    """The append-only, hash-chained record."""

    def append(  # noqa: PLR0913 - a row has this many facts
        self,
        model: ModelName,
        event: Event,
        payload: Mapping[str, Json],
        *,
        release: ReleaseId | None = None,
        actor: str = "lockgate",
        expect_seq: int | None = None,
    ) -> LedgerRow:
        """Append one row and return it.

        Args:
            expect_seq: The last sequence the writer saw; the row is refused if another came since. None: append
                whatever came since (retrying lost races), for rows that do not depend on what was read.

        Raises:
            LedgerConflict: `expect_seq` is not the last sequence any more.
            TransientError: The database did not answer.
        """
        ...

    def rows(
        self, model: ModelName, *, release: ReleaseId | None = None, events: Sequence[Event] = (), after: int = 0
    ) -> tuple[LedgerRow, ...]:
        """Return the model's rows in order, of one release, of some events and later than a row where given."""
        ...

    def state(self, model: ModelName) -> ModelState:
        """Return what the model's rows add up to."""
        ...

    def last_seq(self, model: ModelName) -> int:
        """Return the last sequence, 0 for a model without rows."""
        ...

    def models(self) -> tuple[ModelName, ...]:
        """Return the models that have rows."""
        ...
