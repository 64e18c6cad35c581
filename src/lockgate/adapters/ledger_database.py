"""Opens the ledger's database: the engine, its durability, and its errors in our words.

SQLite runs in WAL mode with an fsync at every commit; a write transaction takes the write lock before it reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, create_engine, exc, make_url
from sqlalchemy.event import listen
from sqlalchemy.pool import ConnectionPoolEntry

from lockgate.errors import ConfigError, IntegrityError, LockgateError, TransientError

WRITES = "lockgate_writes"
"""Execution option of connections whose transactions write."""

_BUSY_S = 15.0  # ours: a writer holds the lock for some 5 ms, so thousands are queued before one gives up


def checked_url(url: str) -> URL:
    """Return the parsed URL.

    Raises:
        ConfigError: It names no database that a ledger can lie in; says which do.
    """
    try:
        parsed = make_url(url)
    except exc.ArgumentError as wrong:
        raise ConfigError(
            "LOCKGATE_LEDGER_URL is no database URL; e.g. sqlite:////var/lib/lockgate/ledger.db"
        ) from wrong
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(f"LOCKGATE_LEDGER_URL names {backend}; a ledger lies in sqlite or postgresql+psycopg2")
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError("LOCKGATE_LEDGER_URL names no file; a ledger must outlive its process")
    return parsed


def open_engine(url: URL) -> Engine:
    """Return an engine for a checked URL; it connects when first used.

    Raises:
        ConfigError: The URL's driver is not installed.
    """
    lite = url.get_backend_name() == "sqlite"
    try:
        engine = create_engine(url, connect_args={"timeout": _BUSY_S} if lite else {"connect_timeout": 5})
    except (ModuleNotFoundError, exc.NoSuchModuleError) as missing:
        raise ConfigError(f"LOCKGATE_LEDGER_URL needs a driver that is not installed: {missing}") from missing
    if lite:
        listen(engine, "connect", _set_up_sqlite)
        listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: object, _entry: ConnectionPoolEntry) -> None:
    """Make every commit durable before it returns, and leave the transactions to `_begin_sqlite`."""
    if not isinstance(connection, sqlite3.Connection):
        raise ConfigError("the ledger's SQLite driver must be the standard library's; use sqlite:///FILE")
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads first and then writes fails at once when another writer came between.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def answering(url: URL) -> Iterator[None]:
    """Turn the database's own errors into ours; a lost race (`exc.IntegrityError`) passes through."""
    try:
        yield
    except exc.IntegrityError:
        raise
    except exc.DatabaseError as broken:
        raise _explained(url, str(broken.orig)) from broken
    except OSError as broken:
        raise TransientError(f"the folder of the ledger {url.database} cannot be made: {broken}") from broken


def _explained(url: URL, said: str) -> LockgateError:
    where = f"the ledger {url.render_as_string(hide_password=True)}"
    match said.lower():
        case low if "locked" in low or "busy" in low:
            return TransientError(f"{where} is held by another writer for more than {_BUSY_S:g} s; try again")
        case low if "full" in low or "disk i/o" in low:
            return TransientError(f"{where} cannot be written, most likely its disk is full; free space there ({said})")
        case low if "malformed" in low or "not a database" in low:
            return IntegrityError(f"{where} is damaged ({said}); restore it from a backup, then run: lockgate verify")
        case low if "readonly" in low or "read-only" in low:
            return ConfigError(
                f"{where} may not be written by this user ({said}); grant it, or set LOCKGATE_LEDGER_URL"
            )
        case _:
            return TransientError(f"{where} did not answer: {said}")
