"""Sees a disk stand still: somebody who writes a little, again and again, beside those whose writes are judged.

What a server promises to have on disk by a time it can keep only while the disk takes something.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

EVERY_S: Final = 0.02
STILL_S: Final = 0.1  # ours: a write to the cache of the system takes a millisecond, on a crowded machine some tens
LOOKED_AT_S: Final = 2.0  # ours: what is late by a stall that was over so long ago has been written since
STOOD_STILL: Final = "the disk stood still"  # how a problem begins that says nothing of the server then: try again


class Beside:
    """Writes into a folder for the length of a block: more of one file, and another one anew."""

    def __init__(self, folder: Path) -> None:
        """Take where to write; nothing is written yet."""
        self._folder = folder
        self._took: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, name="beside", daemon=True)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def why(self, problem: str, *before: float) -> str:
        """Return how a problem with what was written is told: beginning with `STOOD_STILL` where that may be why.

        Args:
            problem: What was not on the disk.
            before: When it should have been there, monotonic, in seconds; of several, it may have been any.
        """
        return f"{STOOD_STILL}: {problem}" if any(map(self._stood_still, before)) else problem

    def _stood_still(self, before: float) -> bool:
        """Tell whether a write took long that was not over well before then; asked after the block."""
        return any(
            ended - began > STILL_S and began < before and ended > before - LOOKED_AT_S for began, ended in self._took
        )

    def _write(self) -> None:
        new, whole = (self._folder / name for name in ("beside.new", "beside"))
        with (self._folder / "beside.more").open("ab", buffering=0) as more:
            while not self._over.wait(EVERY_S):
                began = time.monotonic()
                more.write(b".")
                new.write_bytes(b".")
                new.replace(whole)
                self._took.append((began, time.monotonic()))
