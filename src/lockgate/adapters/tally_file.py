"""Where a rollout's tally is kept, with the place in the logs up to which it has read: whole, or as it was before."""

from __future__ import annotations

import json
from pathlib import Path

from lockgate.adapters.durable_files import room_for
from lockgate.serving.disk import write_synced


class TallyFile:
    """One file: a line of JSON that holds the cursor, then the tally's bytes; a `stages.rollout_world.Keeper`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[str, bytes] | None:
        """Return cursor and tally as they were saved last; None where nothing readable is there."""
        try:
            head, _, kept = self._path.read_bytes().partition(b"\n")
            return str(json.loads(head)["cursor"]), kept
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, cursor: str, kept: bytes) -> None:
        """Keep both.

        Raises:
            TransientError: The disk does not take them; what was kept before still is.
        """
        with room_for("the tally of a rollout", self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_synced(self._path, json.dumps({"cursor": cursor}).encode() + b"\n" + kept)

    def drop(self) -> None:
        """Forget both; a rollout that ended needs them no more."""
        self._path.unlink(missing_ok=True)
