"""A fit's state on disk, so that a killed fit goes on where it was.

A checkpoint belongs to one key, the digest of everything the fit depends on; under any other key it is not seen.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from lockgate.core.ids import Digest, Json, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where one fit keeps its state.

    Attributes:
        folder: Where; None: nowhere, for fits that are cheap to repeat (trials of a search).
        key: What the state belongs to.
    """

    folder: Path | None
    key: Digest

    def load(self) -> tuple[Json, bytes] | None:
        """Return the state and the model's bytes as they were last kept; None when there are none for this key."""
        if self.folder is None or not self._file.is_file():
            return None
        head, _, model = self._file.read_bytes().partition(b"\n")
        state: Json = json.loads(head)
        return state, model

    def save(self, state: Json, model: bytes) -> None:
        """Keep the state and the model's bytes: both or neither."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(json.dumps(to_json(state)).encode() + b"\n" + model)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._file)

    @property
    def _file(self) -> Path:
        assert self.folder is not None  # noqa: S101 - callers checked; this tells the type checker
        return self.folder / f"{self.key[:16]}.checkpoint"


def nowhere() -> Checkpoint:
    """Return a checkpoint that keeps nothing."""
    return Checkpoint(folder=None, key=Digest(""))
