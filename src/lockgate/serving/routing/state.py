"""The desired routing on disk: written whole or not at all, read back at start.

One server owns its state folder: a lock is held on it as long as the process lives, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from lockgate.core.ids import is_model_name
from lockgate.errors import BadInput, ConfigError, IntegrityError
from lockgate.serving.disk import sync, temporary, write_synced
from lockgate.serving.routing.desired import Desired
from lockgate.serving.routing.form import RoutingForm
from lockgate.serving.routing.sticky import Split

logger = logging.getLogger(__name__)

VERSION: Final = 2
_READS: Final = (1, 2)  # 1 had a champion and a previous bundle, nothing else


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    salt: str
    runs: tuple[tuple[str, int], ...]


class _Desired(RoutingForm, forbid_unknown_fields=True, kw_only=True):
    since: datetime
    timeout_s: float | None = None
    constant: dict[str, Any] | None = None
    split: _Split | None = None


class _Version(msgspec.Struct):
    schema_version: int


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema_version: int
    environment: str
    models: dict[str, _Desired]


def _desired(stored: _Desired) -> Desired:
    split = None if stored.split is None else Split(stored.split.salt, stored.split.runs)
    return stored.desired(since=stored.since, timeout_s=stored.timeout_s, constant=stored.constant, split=split)


def encode_desired(desired: Desired) -> msgspec.Raw:
    """Return a desired routing as JSON, for another process of this server."""
    return msgspec.Raw(msgspec.json.encode(asdict(desired)))


def decode_desired(data: msgspec.Raw) -> Desired:
    """Read it back."""
    return _desired(msgspec.json.decode(data, type=_Desired))


def read_routing(path: Path, environment: str) -> dict[str, Desired]:
    """Return what was saved last, by model; empty when nothing ever was. Needs no lock: the file is replaced whole.

    Raises:
        IntegrityError: The file cannot be read; routing must not be guessed.
        ConfigError: It belongs to another environment.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as broken:
        raise IntegrityError(f"{path} cannot be read: {broken}") from broken
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version  # first: another one's fields are unknown
        if version not in _READS:
            raise IntegrityError(f"{path}: schema_version is {version}; this server reads 1 and 2")
        stored = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise IntegrityError(
            f"{path} is not what this server wrote: {broken}; "
            "remove it and put the routing again, with the ledger's sequence"
        ) from broken
    if stored.environment != environment:
        raise ConfigError(f"{path} is the routing of environment {stored.environment!r}, not {environment!r}")
    routing = {model: _desired(each) for model, each in stored.models.items()}
    for model, desired in routing.items():
        problem = desired.problem() if is_model_name(model) else "that is no model name"
        if problem is not None:
            raise IntegrityError(f"{path}: model {model!r}: {problem}; no server wrote that: put the routing again")
    return routing


class RoutingFile:
    """`<state>/routing.json`."""

    def __init__(self, folder: Path, environment: str, write: Callable[[Path, bytes], None] = write_synced) -> None:
        """Take the folder for this process.

        Args:
            folder: The state folder.
            environment: The server's.
            write: Writes a file whole, to survive a power cut; raises OSError, be it before or after it is there.

        Raises:
            BadInput: Another server owns it, or it cannot be written.
        """
        self.path: Final = folder / "routing.json"
        self._write = write
        self._environment = environment
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as broken:
            raise BadInput(f"state folder {folder}: {broken.strerror}; give one that can be written") from broken
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            os.close(self._lock)
            raise BadInput(f"state folder {folder} is owned by another server; give each server its own") from taken

    def close(self) -> None:
        """Give the folder up."""
        os.close(self._lock)

    def load(self) -> dict[str, Desired]:
        """Return what was saved last, by model, see `read_routing`."""
        return read_routing(self.path, self._environment)

    def save(self, models: Mapping[str, Desired]) -> None:
        """Keep this routing; after a return it survives a power cut, after an error the old one stands.

        Raises:
            OSError: The disk did not take it.
        """
        stored = {
            "schema_version": VERSION,
            "environment": self._environment,
            "models": {model: asdict(desired) for model, desired in models.items()},
        }
        before = self.path.read_bytes() if self.path.exists() else None
        try:
            self._write(self.path, msgspec.json.format(msgspec.json.encode(stored)))
        except OSError:
            self._put_back(before)
            raise

    def _put_back(self, before: bytes | None) -> None:
        """Let the next start find what the callers were told: the new file may be in place, and only not be synced."""
        try:
            with contextlib.suppress(FileNotFoundError):
                if self.path.read_bytes() == before:
                    return
            if before is None:
                self.path.unlink(missing_ok=True)
            else:
                hidden = temporary(self.path)
                hidden.write_bytes(before)
                with contextlib.suppress(OSError):  # a disk that is sick may not sync; a restart finds it all the same
                    sync(hidden)
                hidden.replace(self.path)
            with contextlib.suppress(OSError):
                sync(self.path.parent)
        except OSError as broken:
            logger.critical(
                "%s holds a routing that was refused, and cannot be put back: %s; a restart would serve it: "
                "mend the disk, and put what should be served with the ledger's next sequence", self.path, broken,
            )  # fmt: skip
