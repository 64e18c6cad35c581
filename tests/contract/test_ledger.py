"""The promises of `ports.Ledger`, kept by the fake and by the real one alike."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, exc, make_url

from lockgate.adapters.ledger_keys import LedgerSigner
from lockgate.adapters.sql_ledger import SqlLedger
from lockgate.core.ids import Json, ModelName, ReleaseId
from lockgate.core.ledger import GENESIS, Event, broken_at, hash_row
from lockgate.core.model_state import project
from lockgate.errors import LedgerConflict
from lockgate.ports import Ledger
from tests.fakes import FakeClock, FakeLedger
from tests.postgres_process import NOT_HERE, postgres_programs, running_postgres

MODEL, OTHER = ModelName("flights"), ModelName("loans")
FIRST = ReleaseId("flights-0001")


def _fake(_folder: Path) -> FakeLedger:
    return FakeLedger(FakeClock(step=timedelta(seconds=1)))


def _sqlite(folder: Path) -> SqlLedger:
    signer = LedgerSigner(folder / "keys" / "ledger.key")
    return SqlLedger(f"sqlite:///{folder}/deep/ledger.db", FakeClock(step=timedelta(seconds=1)), signer)


def _on_postgres(folder: Path, server: str) -> SqlLedger:
    """Use a schema of its own in a server's database."""
    url = make_url(server)
    schema = f"lockgate_{uuid4().hex}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    engine.dispose()
    own = url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    return SqlLedger(own, FakeClock(step=timedelta(seconds=1)), LedgerSigner(folder / "keys" / "ledger.key"))


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """The server that LOCKGATE_TEST_POSTGRES_URL names, or one that ends with these tests."""
    named, programs = os.environ.get("LOCKGATE_TEST_POSTGRES_URL"), postgres_programs()
    if named is not None:
        yield named
    elif programs is None:
        pytest.skip(NOT_HERE)
    else:
        with running_postgres(programs) as url:
            yield url


_LEDGERS = [
    pytest.param(_fake, id="fake"),
    pytest.param(_sqlite, id="sqlite"),
    pytest.param(None, id="postgres", marks=pytest.mark.integration),
]


@pytest.fixture(params=_LEDGERS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr("lockgate.adapters.ledger_database._BUSY_S", 240.0)  # a disk may stall while others wait
    make: Callable[[Path], FakeLedger | SqlLedger] | None = request.param
    made = _on_postgres(tmp_path, request.getfixturevalue("postgres_url")) if make is None else make(tmp_path)
    yield made
    if isinstance(made, SqlLedger):
        made.close()


def test_a_model_without_rows_is_empty_and_not_an_error(ledger: Ledger) -> None:
    assert ledger.rows(MODEL) == ()
    assert ledger.last_seq(MODEL) == 0
    assert ledger.models() == ()
    assert ledger.state(MODEL).champion is None


def test_sequences_start_at_one_and_leave_no_gap(ledger: Ledger) -> None:
    seqs = [ledger.append(MODEL, Event.BUNDLE, {"i": i}).seq for i in range(4)]
    assert seqs == [1, 2, 3, 4]
    assert ledger.last_seq(MODEL) == 4


def test_each_model_has_a_chain_of_its_own(ledger: Ledger) -> None:
    ledger.append(MODEL, Event.BUNDLE, {})
    first = ledger.append(OTHER, Event.BUNDLE, {})
    assert (first.seq, first.prev_hash) == (1, GENESIS)
    assert ledger.models() == (MODEL, OTHER)


def test_the_row_returned_is_the_row_that_is_read(ledger: Ledger) -> None:
    payload: dict[str, Json] = {
        "text": "Zoë \u0000 “quoted”\n",
        "n": 3,
        "share": 0.1,
        "nan": float("nan"),
        "list": [1, None, {"a": True}],
    }
    appended = ledger.append(MODEL, Event.EVIDENCE, payload, release=FIRST, actor="Zoë")
    (read,) = ledger.rows(MODEL)
    assert read == appended
    assert hash_row(read) == read.row_hash
    assert read.at.utcoffset() == timedelta(0)


def test_the_chain_is_whole(ledger: Ledger) -> None:
    for i in range(5):
        ledger.append(MODEL, Event.VERDICT, {"i": i})
    assert broken_at(ledger.rows(MODEL)) is None


def test_a_writer_that_read_an_older_row_is_refused_and_writes_nothing(ledger: Ledger) -> None:
    ledger.append(MODEL, Event.BUNDLE, {})
    ledger.append(MODEL, Event.BUNDLE, {})
    with pytest.raises(LedgerConflict):
        ledger.append(MODEL, Event.BUNDLE, {}, expect_seq=1)
    with pytest.raises(LedgerConflict):
        ledger.append(MODEL, Event.BUNDLE, {}, expect_seq=3)
    assert ledger.last_seq(MODEL) == 2
    assert ledger.append(MODEL, Event.BUNDLE, {}, expect_seq=2).seq == 3


def test_the_first_row_can_be_claimed(ledger: Ledger) -> None:
    assert ledger.append(MODEL, Event.BUNDLE, {}, expect_seq=0).seq == 1
    with pytest.raises(LedgerConflict):
        ledger.append(MODEL, Event.BUNDLE, {}, expect_seq=0)


def test_rows_can_be_asked_for_by_release_and_event(ledger: Ledger) -> None:
    ledger.append(MODEL, Event.BUNDLE, {}, release=FIRST)
    ledger.append(MODEL, Event.VERDICT, {}, release=FIRST)
    ledger.append(MODEL, Event.BUNDLE, {})
    assert [row.seq for row in ledger.rows(MODEL, release=FIRST)] == [1, 2]
    assert [row.seq for row in ledger.rows(MODEL, events=(Event.BUNDLE,))] == [1, 3]
    assert [row.seq for row in ledger.rows(MODEL, release=FIRST, events=(Event.BUNDLE, Event.STAGED))] == [1]


def test_the_state_is_what_all_the_rows_add_up_to(ledger: Ledger) -> None:
    opened: dict[str, Json] = {
        "run": "r1",
        "spec": "s",
        "code": "c",
        "reason": "new data",
        "started_by": "worker",
        "process": {},
    }
    traffic: dict[str, Json] = {"environment": "production", "from": None, "to": "b" * 64}
    ledger.append(MODEL, Event.BATCH_INGESTED, {"sha256": "a" * 64, "name": "x", "rows": 1, "table_version": 0})
    ledger.append(MODEL, Event.RELEASE_OPENED, opened, release=FIRST)
    ledger.append(MODEL, Event.EVIDENCE, {"gate": "schema"}, release=FIRST)
    ledger.append(MODEL, Event.VERDICT, {"gate": "schema"}, release=FIRST)
    ledger.append(MODEL, Event.APPROVAL_ASKED, {"expires_at": "2013-03-02T00:00:00+00:00"}, release=FIRST)
    intended = ledger.append(MODEL, Event.TRAFFIC_INTENDED, traffic | {"why": "release"}, release=FIRST)
    assert ledger.state(MODEL).pending == {"production": intended}
    ledger.append(MODEL, Event.TRAFFIC_VERIFIED, traffic | {"sequence": intended.seq, "answers": 5}, release=FIRST)
    state = ledger.state(MODEL)
    assert state == project(ledger.rows(MODEL))
    assert state.champion == "b" * 64
    assert state.open is not None
    assert state.open.waiting


def test_threads_that_race_without_a_wish_all_get_their_row(ledger: Ledger) -> None:
    start = threading.Barrier(4)

    def write(writer: int) -> None:
        start.wait()
        for i in range(5):
            ledger.append(MODEL, Event.BUNDLE, {"writer": writer, "i": i})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = ledger.rows(MODEL)
    assert sorted((row.payload["writer"], row.payload["i"]) for row in rows) == [
        (w, i) for w in range(4) for i in range(5)
    ]
    assert broken_at(rows) is None


def test_of_threads_that_claim_the_same_row_exactly_one_wins(ledger: Ledger) -> None:
    start, won, lost = threading.Barrier(6), [], []

    def claim(writer: int) -> None:
        start.wait()
        try:
            won.append(ledger.append(MODEL, Event.BUNDLE, {"writer": writer}, expect_seq=0))
        except LedgerConflict:
            lost.append(writer)

    threads = [threading.Thread(target=claim, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 5)
    assert ledger.rows(MODEL) == tuple(won)


def test_a_database_that_keeps_rows_refuses_to_change_them(ledger: Ledger) -> None:
    row = ledger.append(MODEL, Event.BUNDLE, {})
    if isinstance(ledger, SqlLedger):
        for statement in ("UPDATE ledger SET actor = 'x'", "DELETE FROM ledger", "DELETE FROM heads"):
            with pytest.raises(exc.DatabaseError, match="append-only"), ledger._engine.begin() as connection:
                connection.exec_driver_sql(statement)
    assert ledger.rows(MODEL) == (row,)


def test_rows_later_than_one_are_those_that_came_since(ledger: Ledger) -> None:
    for number in range(4):
        ledger.append(MODEL, Event.ALERT, {"number": number}, release=FIRST if number % 2 else None)
    assert [row.seq for row in ledger.rows(MODEL, after=2)] == [3, 4]
    assert [row.seq for row in ledger.rows(MODEL, release=FIRST, events=(Event.ALERT,), after=2)] == [4]
    assert ledger.rows(MODEL, after=4) == ()
