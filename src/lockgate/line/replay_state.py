"""How far a replay has come, in a file that is written whole; a folder that holds something else is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lockgate.adapters.durable_files import write_whole
from lockgate.core.ids import Json, to_json
from lockgate.core.records import read_record
from lockgate.core.replay_plan import SCHEMA_VERSION, Months, PolicyDone
from lockgate.errors import BadInput, IntegrityError

STATE: Final = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is replayed.

    Attributes:
        model: Which model.
        since: The first month.
        until: The last one.
        months: The same as batches.
        output: Holds the state, the result and each policy's home.
    """

    model: str
    since: str
    until: str
    months: Months
    output: Path

    @property
    def key(self) -> dict[str, Json]:
        """What makes two replays the same one, beside their policies."""
        return {"model": self.model, "since": self.since, "until": self.until}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far a replay has come.

    Attributes:
        schema_version: Of this form.
        asked: Model and months.
        policies: How far each policy has come.
    """

    schema_version: int
    asked: Mapping[str, Json]
    policies: tuple[PolicyDone, ...]


def read_state(asked: Asked) -> State:
    """Return how far a replay in this folder has come; an empty one has not begun.

    Raises:
        BadInput: The folder holds something else, or another replay.
    """
    path = asked.output / STATE
    if not path.is_file():
        if asked.output.is_dir() and any(asked.output.iterdir()):
            raise BadInput(f"--output {asked.output} is not empty, and holds no replay; name an empty or a new folder")
        return State(schema_version=SCHEMA_VERSION, asked=asked.key, policies=())
    try:
        state = read_record(State, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, IntegrityError) as broken:
        raise BadInput(f"{path} is no state of a replay ({broken}); name another --output") from broken
    if dict(state.asked) != asked.key or state.schema_version != SCHEMA_VERSION:
        held = ", ".join(f"{name} {value}" for name, value in state.asked.items())
        raise BadInput(f"--output {asked.output} holds another replay ({held}); name another folder")
    return state


def write_state(asked: Asked, state: State) -> None:
    """Write how far the replay has come."""
    write_whole(asked.output / STATE, json.dumps(to_json(state), indent=1))
