"""The desired routing on disk: written whole or not at all, read back at start.

One server owns its state folder: a lock is held on it as long as the process lives, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from lockgate.core.ids import Digest
from lockgate.errors import BadInput, ConfigError, IntegrityError
from lockgate.serving.router import Desired


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    sequence: int
    champion: str
    previous: str | None
    since: datetime


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema_version: int
    environment: str
    models: dict[str, _Stored]


class RoutingFile:
    """`<state>/routing.json`."""

    def __init__(self, folder: Path, environment: str) -> None:
        """Take the folder for this process.

        Raises:
            BadInput: Another server owns it, or it cannot be written.
        """
        self.path: Final = folder / "routing.json"
        self._environment = environment
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as broken:
            raise BadInput(f"state folder {folder}: {broken}; give one that can be written") from broken
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            os.close(self._lock)
            raise BadInput(f"state folder {folder} is owned by another server; give each server its own") from taken

    def close(self) -> None:
        """Give the folder up."""
        os.close(self._lock)

    def load(self) -> dict[str, Desired]:
        """Return what was saved last, by model; empty when nothing ever was.

        Raises:
            IntegrityError: The file cannot be read; routing must not be guessed.
            ConfigError: It belongs to another environment.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as broken:
            raise IntegrityError(f"{self.path} cannot be read: {broken}") from broken
        try:
            stored = msgspec.json.decode(data, type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
            raise IntegrityError(
                f"{self.path} is not what this server wrote: {broken}; "
                "remove it and put the routing again, with the ledger's sequence"
            ) from broken
        if stored.schema_version != 1:
            raise IntegrityError(f"{self.path}: schema_version is {stored.schema_version}; this server reads 1")
        if stored.environment != self._environment:
            raise ConfigError(
                f"{self.path} is the routing of environment {stored.environment!r}, not {self._environment!r}"
            )
        return {
            model: Desired(
                sequence=each.sequence,
                champion=Digest(each.champion),
                previous=None if each.previous is None else Digest(each.previous),
                since=each.since,
            )
            for model, each in stored.models.items()
        }

    def save(self, models: Mapping[str, Desired]) -> None:
        """Keep this routing; after a return it survives a power cut, after an error the old one stands.

        Raises:
            OSError: The disk did not take it.
        """
        data = msgspec.json.format(
            msgspec.json.encode(
                _File(
                    1,
                    self._environment,
                    {m: _Stored(d.sequence, d.champion, d.previous, d.since) for m, d in models.items()},
                )
            )
        )
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the rename itself
        finally:
            os.close(folder)
