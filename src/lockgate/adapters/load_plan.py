"""What the processes of a load test share: the plan on disk, and the common start.

parent            generator (Locust, open loop)
plan.json   ──>   reads it, connects, warms up
            <──   <name>.ready
go (a time) ──>   starts at that moment of the monotonic clock, which all processes of a machine share
            <──   <name>.samples.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lockgate.core.load import Window

_LOOK_S = 0.01
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Who is asked, and what.

    Attributes:
        host: Address of the server.
        port: Its data port.
        path: Where requests are posted.
        bodies: JSON bodies, sent in turn.
        digest: The bundle that must answer; None for the echo server.
    """

    host: str
    port: int
    path: str
    bodies: tuple[str, ...]
    digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One load test.

    Attributes:
        folder: Where the processes meet.
        windows: Who is asked when, and how fast.
        arms: By name.
        shares: Each generator's part of the rate, adding up to 1.
        timeout_s: A request that takes longer has failed.
    """

    folder: Path
    windows: tuple[Window, ...]
    arms: Mapping[str, Arm]
    shares: Mapping[str, float]
    timeout_s: float = 5.0

    @property
    def path(self) -> Path:
        """Where the plan lies."""
        return self.folder / "plan.json"

    def write(self) -> None:
        """Write the plan."""
        told = {
            "windows": [asdict(each) for each in self.windows],
            "arms": {name: asdict(each) for name, each in self.arms.items()},
            "shares": dict(self.shares),
            "timeout_s": self.timeout_s,
        }
        self.path.write_text(json.dumps(told))

    def ready(self, generator: str) -> Path:
        """Return the file that says that a generator waits for the start."""
        return self.folder / f"{generator}.ready"

    def samples(self, generator: str) -> Path:
        """Return the file that a generator writes at the end."""
        return self.folder / f"{generator}.samples.json"

    @property
    def go(self) -> Path:
        """The file that holds the start, in seconds of the monotonic clock."""
        return self.folder / "go"

    def give_start(self, in_s: float) -> float:
        """Write the start and return it."""
        start = time.monotonic() + in_s
        new = self.go.with_suffix(".new")
        new.write_text(repr(start))
        new.rename(self.go)
        return start

    def await_start(self, generator: str) -> float:
        """Say that a generator is ready, wait for the start and return it.

        Raises:
            TimeoutError: Nobody gave it.
        """
        self.ready(generator).touch()
        deadline = time.monotonic() + _PATIENCE_S
        while not self.go.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{generator}: no start was given in {_PATIENCE_S:g} s")
            time.sleep(_LOOK_S)
        return float(self.go.read_text())

    def write_samples(self, generator: str, rows: Sequence[Sequence[object]]) -> None:
        """Write a generator's samples: window, due_s, latency_ms, late_ms, error."""
        new = self.samples(generator).with_suffix(".new")
        new.write_text(json.dumps(rows))
        new.rename(self.samples(generator))


def read_plan(path: Path) -> LoadPlan:
    """Read a plan that `write` wrote."""
    told = json.loads(path.read_text())
    return LoadPlan(
        folder=path.parent,
        windows=tuple(Window(**each) for each in told["windows"]),
        arms={name: Arm(**{**each, "bodies": tuple(each["bodies"])}) for name, each in told["arms"].items()},
        shares=told["shares"],
        timeout_s=told["timeout_s"],
    )
