"""The SQLite ledger under other processes, under kill -9, on a full disk, and under plain SQL."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.adapters.ledger_keys import LedgerSigner, LedgerVerifier
from lockgate.adapters.sql_ledger import SqlLedger
from lockgate.core.ids import ModelName
from lockgate.core.ledger import Event, broken_at
from lockgate.errors import ConfigError, IntegrityError, TransientError
from lockgate.stages.audit import Means, verify
from tests.fakes import FakeClock

pytestmark = pytest.mark.integration

MODEL = ModelName("flights")
_PROGRAM = Path(__file__).parent / "appending.py"


def _start(folder: Path, writer: str, rows: int, **limits: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | limits
    return subprocess.Popen(
        [sys.executable, str(_PROGRAM), str(folder), writer, str(rows)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    with SqlLedger(f"sqlite:///{tmp_path}/ledger.db", FakeClock(), LedgerSigner(tmp_path / "ledger.key")) as opened:
        yield opened


def _means(folder: Path) -> Means:
    return Means(gates=(), verifies=LedgerVerifier(folder / "ledger.pub").verify)


def _findings(ledger: SqlLedger, folder: Path) -> set[str]:
    found = verify(MODEL, ledger.rows(MODEL), ledger.heads(MODEL), _means(folder))
    return {each.what for each in found if each.what != "record"}  # the rows of these tests hold no real evidence


@pytest.mark.timeout(300)
def test_processes_that_race_lose_no_row_and_double_none(tmp_path: Path, ledger: SqlLedger) -> None:
    writers = {name: _start(tmp_path, name, 25) for name in ("a", "b", "c")}
    told: list[int] = []
    for process in writers.values():
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        told += [int(line) for line in out.split()]
    rows = ledger.rows(MODEL)
    assert sorted(told) == [row.seq for row in rows] == list(range(1, 76))
    written = [(row.payload["writer"], row.payload["i"]) for row in rows]
    assert sorted(written) == [(name, i) for name in writers for i in range(25)]
    assert broken_at(rows) is None
    assert _findings(ledger, tmp_path) == set()


@pytest.mark.timeout(300)
def test_a_writer_killed_while_appending_leaves_a_whole_chain_with_every_row_it_was_promised(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    promised = 0
    for killed in range(4):
        process = _start(tmp_path, f"killed-{killed}", 1_000_000)
        assert process.stdout is not None
        for _ in range(10 + 7 * killed):
            promised = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        with process:
            rest = process.stdout.read()  # not communicate(): it would pass over what readline() has read ahead
        promised = max([promised, *(int(line) for line in rest.split())])
        rows = ledger.rows(MODEL)
        assert broken_at(rows) is None
        assert promised <= len(rows) <= promised + 1
        assert len(ledger.heads(MODEL)) == len(rows)
    assert ledger.append(MODEL, Event.BUNDLE, {}).seq == len(rows) + 1
    assert _findings(ledger, tmp_path) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET actor = 'nobody'",
        "DELETE FROM ledger",
        "UPDATE heads SET signature = ''",
        "DELETE FROM heads",
        "INSERT OR REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 1",
        "INSERT OR REPLACE INTO heads SELECT model, seq, row_hash, '' FROM heads",
        "INSERT INTO ledger SELECT model, 9, 1, at, event, release, actor, prev_hash, row_hash, '{}' FROM ledger",
    ],
)
def test_the_database_itself_refuses_to_change_the_record(ledger: SqlLedger, tmp_path: Path, statement: str) -> None:
    before = [ledger.append(MODEL, Event.BUNDLE, {"i": i}) for i in range(3)]
    connection = sqlite3.connect(tmp_path / "ledger.db")
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|next row|signed once"):
        connection.execute(statement)
    connection.close()
    assert list(ledger.rows(MODEL)) == before


def _doctor(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "ledger.db")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "seqs"),
    [
        ("""UPDATE ledger SET payload = '{"auc":0.91}' WHERE seq = 2""", {2}),
        ("UPDATE ledger SET actor = 'somebody else' WHERE seq = 3", {3}),
        ("DELETE FROM ledger WHERE seq = 2", {2, 3}),
        ("DELETE FROM ledger WHERE seq = 4", {4}),
        ("UPDATE heads SET signature = 'AAAA' WHERE seq = 1", {1}),
        ("DELETE FROM heads WHERE seq = 4", {4}),
    ],
)
def test_an_owner_of_the_database_who_drops_the_triggers_is_found_out(
    ledger: SqlLedger, tmp_path: Path, statement: str, seqs: set[int]
) -> None:
    for i in range(4):
        ledger.append(MODEL, Event.BUNDLE, {"auc": 0.61 + i})
    assert verify(MODEL, ledger.rows(MODEL), ledger.heads(MODEL), _means(tmp_path)) == ()
    _doctor(tmp_path, statement)
    found = verify(MODEL, ledger.rows(MODEL), ledger.heads(MODEL), _means(tmp_path))
    assert {each.seq for each in found} == seqs


def test_a_record_whose_tail_was_cut_is_not_continued_as_if_nothing_were(ledger: SqlLedger, tmp_path: Path) -> None:
    for _ in range(3):
        ledger.append(MODEL, Event.BUNDLE, {})
    _doctor(tmp_path, "DELETE FROM ledger WHERE seq = 3")
    with pytest.raises(IntegrityError, match="recorded before and is gone"):
        ledger.append(MODEL, Event.BUNDLE, {})


@pytest.mark.timeout(300)
def test_a_full_disk_is_told_in_words_and_the_chain_stays_whole(tmp_path: Path, ledger: SqlLedger) -> None:
    first = ledger.append(MODEL, Event.BUNDLE, {})
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        "from pathlib import Path; from tests.integration.appending import main; main(Path(sys.argv[1]), 'full', 1000)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert "TransientError" in done.stderr
    assert "its disk is full" in done.stderr
    rows = ledger.rows(MODEL)
    assert rows[0] == first
    assert len(rows) == 1 + len(done.stdout.split())
    assert broken_at(rows) is None


def test_a_ledger_held_by_another_writer_is_a_transient_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.adapters.ledger_database._BUSY_S", 0.05)
    with SqlLedger(f"sqlite:///{tmp_path}/ledger.db", FakeClock()) as ledger:
        ledger.append(MODEL, Event.BUNDLE, {})
        holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="held by another writer"):
            ledger.append(MODEL, Event.BUNDLE, {})
        assert len(ledger.rows(MODEL)) == 1, "readers do not wait for writers"
        holder.close()
        assert ledger.append(MODEL, Event.BUNDLE, {}).seq == 2


def test_a_file_that_is_no_database_is_an_integrity_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"this was a ledger once" * 100)
    with (
        SqlLedger(f"sqlite:///{tmp_path}/ledger.db", FakeClock()) as ledger,
        pytest.raises(IntegrityError, match="damaged"),
    ):
        ledger.rows(MODEL)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        SqlLedger(f"sqlite:///{tmp_path}/file/ledger.db", FakeClock()) as ledger,
        pytest.raises(TransientError, match="folder"),
    ):
        ledger.rows(MODEL)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("no url", "no database URL"),
        ("mysql://host/db", "sqlite or postgresql"),
        ("sqlite://", "names no file"),
        ("postgresql+nodriver://host/db", "driver"),
    ],
)
def test_a_url_that_cannot_hold_a_ledger_is_refused_at_once(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SqlLedger(url, FakeClock())


@pytest.mark.timeout(300)
def test_opening_a_ledger_imports_nothing_slow() -> None:
    heavy = "{'pandas', 'numpy', 'scipy', 'mlflow', 'prefect', 'sklearn', 'pydantic'}"
    script = f"import sys, lockgate.adapters.sql_ledger; print(sorted({heavy} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
