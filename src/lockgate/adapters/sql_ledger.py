"""The ledger in a SQL database: SQLite by default, PostgreSQL by URL.

Rows are only ever inserted. The primary key (model, seq) is the compare-and-set: of two writers that both read row
n, one inserts n + 1 and the other is told. SQLite takes its write lock before it reads (BEGIN IMMEDIATE), so a writer
there waits instead; its file must lie on a local disk, because WAL needs shared memory.

Imports SQLAlchemy and nothing heavier: `lockgate rollback` opens a ledger and must be done within two seconds.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, Self

from sqlalchemy import Connection, Row, exc, func, insert, select

from lockgate.adapters.ledger_database import WRITES, answering, checked_url, open_engine
from lockgate.adapters.ledger_tables import HEADS, LEDGER, create_tables, tables_exist
from lockgate.core.heads import Head, head_message
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, canonical_json
from lockgate.core.ledger import Event, LedgerRow, next_row
from lockgate.core.model_state import ModelState, project
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, TransientError
from lockgate.ports import Clock

_RACES = 100  # ours: lost this often in a row, something else is wrong
_NOT_IN_STATE = (Event.EVIDENCE, Event.VERDICT)  # `project` reads neither, and they are nearly all of the bytes


class Signer(Protocol):
    """Signs the head of every append."""

    def sign(self, message: bytes) -> str:
        """Return the signature as text."""
        ...


class SqlLedger:
    """Implements `ports.Ledger`; safe to share between threads, and between processes by its URL.

    Args:
        url: SQLAlchemy URL, e.g. "sqlite:////var/lib/lockgate/ledger.db" or "postgresql+psycopg2://...".
        clock: Dates the rows.
        signer: Signs each head; None for readers. A chain appended to without one does not verify.

    Raises:
        ConfigError: The URL names no database this program can write a ledger to.
    """

    def __init__(self, url: str, clock: Clock, signer: Signer | None = None) -> None:
        self._clock = clock
        self._signer = signer
        self._url = checked_url(url)
        self._engine = open_engine(self._url)
        weakref.finalize(self, self._engine.dispose)  # from Python 3.13 a connection that nobody closed is warned of
        self._writer = self._engine.execution_options(**{WRITES: True})
        self._made = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the ledger opens new ones when used again."""
        self._engine.dispose()

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
        """Append one row, signed, and return it as it will be read; see `ports.Ledger`."""
        stored, seen = _as_stored(payload), -1
        for _ in range(_RACES):
            with self._transaction(writes=True) as connection:
                last = _last(connection, model)
                before = 0 if last is None else last.seq
                _refuse_conflict(model, expect_seq, before)
                row = next_row(
                    model=model,
                    at=self._clock.now().astimezone(UTC),
                    event=event,
                    release=release,
                    actor=actor,
                    payload=stored,
                    last=last,
                )
                if self._inserted(connection, row):
                    return row
            if before == seen:
                raise IntegrityError(f"{model}: row {before + 1} was recorded before and is gone; run lockgate verify")
            seen = before
        raise TransientError(f"{model}: {_RACES} appends in a row lost the race for the next row; try again")

    def rows(
        self, model: ModelName, *, release: ReleaseId | None = None, events: Sequence[Event] = (), after: int = 0
    ) -> tuple[LedgerRow, ...]:
        """See `Ledger.rows`."""
        query = select(LEDGER).where(LEDGER.c.model == model, LEDGER.c.seq > after).order_by(LEDGER.c.seq)
        if release is not None:
            query = query.where(LEDGER.c.release == release)
        if events:
            query = query.where(LEDGER.c.event.in_([each.value for each in events]))
        with self._transaction() as connection:
            return tuple(_row(found) for found in connection.execute(query))

    def state(self, model: ModelName) -> ModelState:
        """Return what the model's rows add up to."""
        bulky = [each.value for each in _NOT_IN_STATE]
        query = select(LEDGER).where(LEDGER.c.model == model, LEDGER.c.event.not_in(bulky)).order_by(LEDGER.c.seq)
        with self._transaction() as connection:
            return project([_row(found) for found in connection.execute(query)])

    def last_seq(self, model: ModelName) -> int:
        """Return the last sequence, 0 for a model without rows."""
        with self._transaction() as connection:
            found = connection.scalar(select(func.max(LEDGER.c.seq)).where(LEDGER.c.model == model))
        return int(found or 0)

    def models(self) -> tuple[ModelName, ...]:
        """Return the models that have rows."""
        with self._transaction() as connection:
            found = connection.scalars(select(LEDGER.c.model).distinct().order_by(LEDGER.c.model))
            return tuple(ModelName(name) for name in found)

    def heads(self, model: ModelName) -> tuple[Head, ...]:
        """Return the signed heads of a chain in order; for `stages.audit.verify`."""
        query = select(HEADS).where(HEADS.c.model == model).order_by(HEADS.c.seq)
        with self._transaction() as connection:
            return tuple(_head(found) for found in connection.execute(query))

    def head(self, model: ModelName) -> Head | None:
        """Return the newest signed head, to be copied to where the database's owner cannot rewrite it."""
        query = select(HEADS).where(HEADS.c.model == model).order_by(HEADS.c.seq.desc()).limit(1)
        with self._transaction() as connection:
            found = connection.execute(query).first()
        return None if found is None else _head(found)

    def _inserted(self, connection: Connection, row: LedgerRow) -> bool:
        """Insert the row and its head; False when the database has that place taken (PostgreSQL: a lost race)."""
        values = {name: getattr(row, name) for name in LEDGER.c.keys()}  # noqa: SIM118 - a collection of columns
        values |= {"at": row.at.isoformat(), "event": row.event.value, "payload": canonical_json(row.payload).decode()}
        heads = []
        if self._signer is not None:
            signature = self._signer.sign(head_message(row.model, row.seq, row.row_hash))
            heads.append({"model": row.model, "seq": row.seq, "row_hash": row.row_hash, "signature": signature})
        try:
            connection.execute(insert(LEDGER).values(values))
            if heads:
                connection.execute(insert(HEADS), heads)
        except exc.IntegrityError:
            connection.rollback()
            return False
        return True

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[Connection]:
        with answering(self._url):
            if not self._made:
                self._make()
            with (self._writer if writes else self._engine).begin() as connection:
                yield connection

    def _make(self) -> None:
        if self._url.get_backend_name() == "sqlite":
            Path(str(self._url.database)).parent.mkdir(parents=True, exist_ok=True)
        with self._engine.begin() as connection:
            there = tables_exist(connection)
        if not there:
            with self._writer.begin() as connection:
                create_tables(connection)
        self._made = True


def _as_stored(payload: Mapping[str, Json]) -> Mapping[str, Json]:
    try:
        stored: Mapping[str, Json] = json.loads(canonical_json(payload))
    except UnicodeEncodeError as wrong:
        raise BadInput("a text for the ledger holds half a character (a lone surrogate); type it again") from wrong
    return stored


def _last(connection: Connection, model: ModelName) -> LedgerRow | None:
    query = select(LEDGER).where(LEDGER.c.model == model).order_by(LEDGER.c.seq.desc()).limit(1)
    found = connection.execute(query).first()
    return None if found is None else _row(found)


def _refuse_conflict(model: ModelName, expected: int | None, last: int) -> None:
    if expected is not None and expected != last:
        raise LedgerConflict(
            f"{model}: row {expected} was the last one read, but row {last} is; read again and decide again",
            model=model,
            expected=expected,
            last=last,
        )


def _row(found: Row[tuple[object, ...]]) -> LedgerRow:
    values = dict(found._mapping)  # noqa: SLF001 - SQLAlchemy's documented name for it
    values["at"] = datetime.fromisoformat(values["at"])
    values["event"] = _event(str(values["event"]), values)
    values["payload"] = json.loads(values["payload"])
    return LedgerRow(**values)


def _event(name: str, values: Mapping[str, object]) -> Event:
    try:
        return Event(name)
    except ValueError as unknown:
        where = f"{values['model']} row {values['seq']}"
        raise IntegrityError(
            f"{where} records {name!r}, which this version does not know; upgrade lockgate"
        ) from unknown


def _head(found: Row[tuple[object, ...]]) -> Head:
    model, seq, row_hash, signature = found
    return Head(
        model=ModelName(str(model)), seq=int(str(seq)), row_hash=Digest(str(row_hash)), signature=str(signature)
    )
