"""A fit's state on disk, so that a killed fit goes on where it was.

A checkpoint belongs to one key, the digest of everything the fit depends on; under any other key it is not seen. It
carries a hash of itself: one that was damaged is thrown away and the work done again, never taken for a state.

    <sha256 of the rest>  newline  {"key": ..., "state": ...}  newline  <the bytes of the model>
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from lockgate.core.ids import Digest, Json, to_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where one fit keeps its state.

    Attributes:
        folder: Where; None: nowhere, for fits that are cheap to repeat (trials of a search).
        key: What the state belongs to.
        what: What it is the state of, for people.
        notes: What became of it when it was loaded, in sentences for people; filled by `load`.
    """

    folder: Path | None
    key: Digest
    what: str = "the fit"
    notes: list[str] = field(default_factory=list, compare=False)

    def load(self) -> tuple[Json, bytes] | None:
        """Return the state and the model's bytes as they were last kept; None when there are none for this key.

        A damaged one is removed, and said so in `notes` and in the log.
        """
        if self.folder is None or not self._file.is_file():
            return None
        digest, _, body = self._file.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            self._discard("is damaged")
            return None
        head, _, model = body.partition(b"\n")
        kept = json.loads(head)
        if kept["key"] != self.key:
            self._discard("is of something else")
            return None
        self.notes.append(f"{self.what} had been interrupted and went on from its checkpoint")
        return kept["state"], model

    def save(self, state: Json, model: bytes) -> None:
        """Keep the state and the model's bytes: both or neither."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        body = json.dumps({"key": self.key, "state": to_json(state)}).encode() + b"\n" + model
        partial = self._file.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._file)

    def _discard(self, why: str) -> None:
        self._file.unlink(missing_ok=True)
        said = f"a checkpoint of {self.what} {why}; it was thrown away and the work is done from the start"
        self.notes.append(said)
        _log.warning("%s: %s", self._file, said)

    @property
    def _file(self) -> Path:
        assert self.folder is not None  # noqa: S101 - callers checked; this tells the type checker
        return self.folder / f"{self.key[:16]}.checkpoint"


def nowhere() -> Checkpoint:
    """Return a checkpoint that keeps nothing."""
    return Checkpoint(folder=None, key=Digest(""))
