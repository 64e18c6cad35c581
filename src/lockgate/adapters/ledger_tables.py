"""The ledger's two tables and what makes the database itself refuse to change them.

`ledger` holds the rows, `heads` a signature over each row's hash. Triggers refuse UPDATE, DELETE and any insert but
the next row of a chain (SQLite's INSERT OR REPLACE would pass a DELETE trigger). They stop accidents and plain SQL; an
owner of the database can drop them, and then the hash chain and the signed heads show it.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, inspect, text
from sqlalchemy.schema import CreateTable

METADATA = MetaData()

LEDGER = Table(
    "ledger",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("schema_version", Integer, nullable=False),
    Column("at", Text, nullable=False),  # ISO 8601 text: what was hashed is what is stored, to the microsecond
    Column("event", Text, nullable=False),
    Column("release", Text),
    Column("actor", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("row_hash", Text, nullable=False),
    Column("payload", Text, nullable=False),  # canonical JSON; last, so that SQLite skips its pages when not asked
)

HEADS = Table(
    "heads",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("row_hash", Text, nullable=False),
    Column("signature", Text, nullable=False),
)

_TABLES = (LEDGER, HEADS)

_SQLITE_TRIGGERS = (
    """CREATE TRIGGER IF NOT EXISTS ledger_next_row BEFORE INSERT ON ledger
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM ledger WHERE model = NEW.model)
    BEGIN SELECT RAISE(ABORT, 'the ledger takes the next row of a chain only'); END""",
    """CREATE TRIGGER IF NOT EXISTS heads_new_row BEFORE INSERT ON heads
    WHEN EXISTS (SELECT 1 FROM heads WHERE model = NEW.model AND seq = NEW.seq)
    BEGIN SELECT RAISE(ABORT, 'a head is signed once'); END""",
    *(
        f"""CREATE TRIGGER IF NOT EXISTS {table.name}_no_{verb.lower()} BEFORE {verb} ON {table.name}
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"""
        for table in _TABLES
        for verb in ("UPDATE", "DELETE")
    ),
)

_POSTGRES_TRIGGERS = (
    """CREATE OR REPLACE FUNCTION lockgate_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$""",
    *(
        f"""CREATE OR REPLACE TRIGGER {table.name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table.name}
        FOR EACH STATEMENT EXECUTE FUNCTION lockgate_append_only()"""
        for table in _TABLES
    ),
)

_CREATING = 0x10C46A7E  # ours: the advisory lock under which one of several processes makes the tables


def create_tables(connection: Connection) -> None:
    """Make the tables and triggers, inside the caller's write transaction; nothing when they are there."""
    postgres = connection.dialect.name == "postgresql"
    if postgres:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATING})
    if tables_exist(connection):
        return
    for table in _TABLES:
        connection.execute(CreateTable(table, if_not_exists=True))
    for trigger in _POSTGRES_TRIGGERS if postgres else _SQLITE_TRIGGERS:
        connection.exec_driver_sql(trigger)


def tables_exist(connection: Connection) -> bool:
    """Tell whether the tables are there; they are made in one transaction, so the last one stands for all."""
    return inspect(connection).has_table(HEADS.name)
