"""In-memory parts for tests of the release's own rules: its runs, and a spec small enough to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, ModelName
from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, TaskSection
from lockgate.ports import RunState
from lockgate.stages.releasing import Start

LONG_AGO = datetime(2013, 1, 1, tzinfo=UTC)


@dataclass
class FakeFlowRuns:
    """Flow runs by id; a run that was never set is unknown."""

    states: dict[str, RunState] = field(default_factory=dict)

    def put(self, run: str, type: str, name: str | None = None, since: datetime = LONG_AGO) -> None:  # noqa: A002
        self.states[run] = RunState(type=type, name=name or type.title(), since=since)

    def state(self, run: str) -> RunState | None:
        return self.states.get(run)

    def end(self, run: str, *, type: str, name: str, message: str) -> None:  # noqa: A002, ARG002
        self.put(run, type, name)


def toy_spec(name: str = "toy") -> ReleaseSpec:
    return ReleaseSpec(
        model=ModelSection(name=ModelName(name)),
        task=TaskSection(kind=TaskKind.BINARY, classes=("no", "yes")),
        data=DataSection(suite="toy", label="y", time="t", key=("id",), numeric=("a", "b"), categorical=("c",)),
    )


def start(run: str = "run-1", reason: str = "by hand", code: str = "c" * 64) -> Start:
    return Start(
        run=run,
        reason=reason,
        started_by="ada",
        code=Digest(code),
        process={"host": "here", "pid": 1, "started": 0.0},
    )
