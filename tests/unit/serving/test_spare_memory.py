"""A server is no larger than it needs to be: what was freed goes back, what nobody needs is not loaded."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.serving.unwanted import hidden
from lockgate.serving.watch import spare_memory
from lockgate.serving.watch.process_usage import resident_bytes

MB = 1_000_000


def test_what_was_freed_goes_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare_memory, "EVERY_S", 0.01)
    pieces = [bytes(3000) for _ in range(40_000)]  # small enough for the C library's heap, too large for Python's own
    kept = pieces[::50]  # scattered, so that the heap cannot simply shrink
    full = resident_bytes()
    del pieces
    assert resident_bytes() > full - 60 * MB  # the C library keeps it

    async def for_a_while() -> None:
        giving = asyncio.ensure_future(spare_memory.give_back())
        for _ in range(3000):
            await asyncio.sleep(0.01)
            if resident_bytes() < full - 60 * MB:
                break
        giving.cancel()

    asyncio.run(for_a_while())
    assert resident_bytes() < full - 60 * MB  # 120 MB were taken
    assert len(kept) == 800


def test_a_server_loads_none_of_what_it_needs_nothing_of() -> None:
    pytest.importorskip("watchfiles")
    code = (
        "import sys, lockgate.serving.fleet.process, lockgate.serving.fleet.worker; "
        "print(sorted({'watchfiles', 'anyio', 'pandas', 'pyarrow', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_hidden_is_found_again_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unwanted_here.py").write_text("ANSWER = 42")
    monkeypatch.syspath_prepend(tmp_path)
    with hidden("unwanted_here"), pytest.raises(ModuleNotFoundError, match="unwanted_here is not wanted here"):
        importlib.import_module("unwanted_here")
    assert importlib.import_module("unwanted_here").ANSWER == 42
