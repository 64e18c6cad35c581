"""Lets several processes of one server count as one: each keeps its numbers in a file, whoever is asked adds them up.

    <state>/metrics/run                     id of this run of the server; files of other runs are none of ours
    <state>/metrics/<run>-<process>.counts  a process's numbers, replaced whole, twice a second and before every page
    <state>/metrics/<run>-<process>.lock    locked as long as the process lives, however it ends
    <state>/metrics/<run>-ended.counts      the sum of processes that ended, and which they were

A number is never lost nor counted twice: the sum names the processes it holds, a reader reads files first and the sum
last, and leaves out the files of those named. What a killed process counted in its last half second is gone with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from lockgate.errors import ConfigError
from lockgate.serving.disk import alone
from lockgate.serving.watch.metric_snapshot import Snapshot, decode, merged, number_of
from lockgate.serving.watch.metrics import Metrics

logger = logging.getLogger(__name__)

WRITE_EVERY_S: Final = 0.5
_SUM_FROM: Final = 4  # ours: so many files of ended processes are worth a sum
_REMEMBERED: Final = 1000  # names in the sum: a reader that is slower than so many restarts would count one twice


class _Ended(msgspec.Struct, array_like=True, frozen=True):
    """Processes that ended.

    Attributes:
        names: Which; the oldest first.
        total: What all of them counted.
    """

    names: list[str]
    total: Snapshot


def begin_run(folder: Path) -> None:
    """Start counting anew; called once by whoever starts the server's processes, before the first of them.

    Args:
        folder: `<state>/metrics`, of a state folder that this process owns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    _write_whole(folder / "run", os.urandom(6).hex().encode())


class MetricFiles:
    """One process's part in it.

    Attributes:
        name: Its files' stem.
        lock: Descriptor that is locked as long as the process lives; None while the disk takes none.
    """

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        """Join the run, and make `metrics` share its numbers.

        Raises:
            ConfigError: No run was begun in this folder.
        """
        self._folder, self._metrics = folder, metrics
        try:
            run = (folder / "run").read_text()
        except OSError as broken:
            raise ConfigError(f"{folder}: no run of a server was begun there: {broken.strerror}") from broken
        self._run: Final = run
        self.name: Final = f"{run}-{os.getpid()}x{os.urandom(3).hex()}"
        self._ended: Final = folder / f"{run}-ended.counts"
        self.lock: int | None = None
        self._writing = threading.Lock()
        self._complained = False
        self._written = 0
        self.share(metrics.snapshot())
        metrics.share = self.share

    async def keep(self) -> None:
        """Write this process's numbers twice a second, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await asyncio.to_thread(self.write_and_sum, self._metrics.snapshot())

    def close(self) -> None:
        """Write the last numbers and leave them to the others."""
        self._write(self._metrics.snapshot())
        if self.lock is not None:
            os.close(self.lock)

    def share(self, own: bytes) -> list[Snapshot]:
        """Write this process's numbers and return those of all others.

        They are written before others are read, so that a counter never runs backwards when pages are asked of one
        process now and of another at once afterwards.
        """
        self._write(own)
        found = {name: snapshot for name in self._others() if (snapshot := self._read(name)) is not None}
        ended = self._read_ended()
        ours = [found[name] if self._lives(name) else found[name].ended() for name in found if name not in ended.names]
        return [ended.total, *ours]

    def write_and_sum(self, own: bytes) -> None:
        """Write this process's numbers, and bring together those of ended ones where there are many."""
        self._write(own)
        gone = [name for name in self._others() if not self._lives(name)]
        if len(gone) >= _SUM_FROM:
            with self._said():
                self._sum_up(gone)

    def _sum_up(self, gone: list[str]) -> None:
        """Add ended processes to the sum and remove their files, unless another process is at it."""
        with alone(self._folder / f"{self._run}-ended.lock") as first:
            if not first:
                return
            ended = self._read_ended()
            new = {name: each for name in gone if name not in ended.names and (each := self._read(name)) is not None}
            total = merged([ended.total, *(each.ended() for each in new.values())])
            names = [*ended.names, *new][-_REMEMBERED:]
            _write_whole(self._ended, msgspec.msgpack.encode(_Ended(names, total)))
            for name in gone:  # after the sum stands: in between they are in both, and left out by its names
                for suffix in ("counts", "lock", "new"):
                    (self._folder / f"{name}.{suffix}").unlink(missing_ok=True)

    def _write(self, own: bytes) -> None:
        """Write this process's numbers."""
        with self._said(), self._writing:
            if self.lock is None:
                self.lock = _locked(self._folder / f"{self.name}.lock")
            number = number_of(own)
            if number > self._written:  # another thread may have come first with a later one
                _write_whole(self._folder / f"{self.name}.counts", own)
                self._written = number

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """Say once that a disk does not take something; serving does not depend on it."""
        try:
            yield
        except OSError as broken:
            if not self._complained:
                self._complained = True
                logger.error("the metrics cannot be shared with the other workers: %s", broken)  # noqa: TRY400 - said
        else:
            self._complained = False

    def _others(self) -> list[str]:
        names = (path.stem for path in self._folder.glob(f"{self._run}-*.counts"))
        return [name for name in names if name not in (self.name, self._ended.stem)]

    def _read(self, name: str) -> Snapshot | None:
        with contextlib.suppress(FileNotFoundError):  # added to the sum in between
            try:
                return decode((self._folder / f"{name}.counts").read_bytes())
            except msgspec.MsgspecError as broken:
                logger.error("the metrics of process %s cannot be read: %s", name, broken)  # noqa: TRY400 - said
        return None

    def _read_ended(self) -> _Ended:
        try:
            return msgspec.msgpack.decode(self._ended.read_bytes(), type=_Ended)
        except FileNotFoundError:
            return _Ended([], merged(()))

    def _lives(self, name: str) -> bool:
        try:
            handle = os.open(self._folder / f"{name}.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look see the same
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(handle)


def _locked(path: Path) -> int:
    """Return a locked file; it gets its name when it is locked, so nobody takes its process for ended."""
    new = path.with_suffix(".new")
    handle = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        new.rename(path)
    except OSError:
        os.close(handle)
        raise
    return handle


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a power cut may lose it, since it is of no use after one."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)
