"""What only real processes and a real limit show: two writers, a killed one, and a disk without room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.ports import Batch
from tests.unit.data.toy import MODEL, PROJECT, settings, store, toy_rows, toy_spec, written

pytestmark = pytest.mark.integration

_CHILD = """
import os, resource, signal, sys
from pathlib import Path
from lockgate.errors import TransientError
from tests.unit.data.toy import MODEL, settings, store, toy_rows, toy_spec, written
home, what = Path(sys.argv[1]), sys.argv[2]
there = store(home)
"""


def child(home: Path, body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD + body, str(home), "x"],
        cwd=PROJECT,
        env={"PYTHONPATH": f"{PROJECT / 'src'}:{PROJECT}", "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return out.strip()


def rows_in_table(home: Path) -> int:
    from deltalake import DeltaTable

    path = str(settings(home).table(MODEL))
    return DeltaTable(path).to_pyarrow_table().num_rows if DeltaTable.is_deltatable(path) else 0


def waiting(home: Path) -> Batch:
    return store(home).land(MODEL, written(home / "made", toy_rows(40, 200)))


def test_two_processes_that_take_one_file_at_once_append_it_once(tmp_path: Path) -> None:
    waiting(tmp_path)
    body = "print([there.ingest(toy_spec(), b).already for b in BATCHES])"
    listed = "BATCHES = there.landed(MODEL)\nprint('listed', flush=True)\nsys.stdin.readline()\n"
    both = [child_with_input(tmp_path, listed + body) for _ in range(2)]
    for process in both:  # both have seen the file before either takes it
        assert process.stdout is not None
        assert process.stdout.readline() == "listed\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sorted(finished(process) for process in both) == ["[False]", "[True]"]
    assert rows_in_table(tmp_path) == 8_000


def child_with_input(home: Path, body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD + body, str(home), "x"],
        cwd=PROJECT,
        env={"PYTHONPATH": f"{PROJECT / 'src'}:{PROJECT}", "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("step", ["write", "finish"])
def test_a_process_killed_around_the_commit_is_made_good_by_the_next(tmp_path: Path, step: str) -> None:
    """Killed just before the append, or just after it and before the file was moved."""
    batch = waiting(tmp_path)
    kind = "Appending" if step == "write" else "type(there._landing)"
    body = "from lockgate.adapters.delta_append import Appending\n"
    body += f"assert callable({kind}.{step})\n"
    body += f"{kind}.{step} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
    body += "there.ingest(toy_spec(), there.landed(MODEL)[0])"
    process = child(tmp_path, body)
    process.communicate(timeout=180)
    assert process.returncode == -9
    result = store(tmp_path).ingest(toy_spec(), batch)
    assert (result.quarantined, result.already) == (None, step == "finish")
    assert rows_in_table(tmp_path) == 8_000
    assert store(tmp_path).landed(MODEL) == ()


_NO_ROOM = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
_TELL = "\ntry:\n    {call}\n    print('done')\nexcept TransientError as full:\n    print(full.message)\n"


def hidden_or_temporary(home: Path) -> list[Path]:
    return [p for p in home.rglob("*") if p.is_file() and (p.name.endswith(".tmp") or ".tmp" in str(p.parent))]


def test_landing_without_room_leaves_nothing(tmp_path: Path) -> None:
    source = written(tmp_path / "made", toy_rows(40, 200))
    told = finished(child(tmp_path, _NO_ROOM + _TELL.format(call=f"there.land(MODEL, Path({str(source)!r}))")))
    assert "no room for a copy of rows.parquet" in told
    assert store(tmp_path).landed(MODEL) == ()
    assert not hidden_or_temporary(settings(tmp_path).landing(MODEL))


def test_ingesting_without_room_changes_nothing_and_works_later(tmp_path: Path) -> None:
    batch = waiting(tmp_path)
    call = "there.ingest(toy_spec(), there.landed(MODEL)[0])"
    assert "no room for the rows" in finished(child(tmp_path, _NO_ROOM + _TELL.format(call=call)))
    assert rows_in_table(tmp_path) == 0
    assert store(tmp_path).landed(MODEL) == (batch,)
    assert store(tmp_path).ingest(toy_spec(), batch).rows == 8_000


def test_freezing_without_room_leaves_no_half_snapshot(tmp_path: Path) -> None:
    there = store(tmp_path)
    there.ingest(toy_spec(), waiting(tmp_path))
    told = finished(child(tmp_path, _NO_ROOM + _TELL.format(call="there.freeze(toy_spec())")))
    assert "no room for a snapshot" in told
    assert not list(settings(tmp_path).snapshots.glob("*"))
    assert not list(settings(tmp_path).snapshots.glob(".*"))
    assert there.freeze(toy_spec()).rows["train"] > 0
