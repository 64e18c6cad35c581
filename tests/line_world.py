"""The real line without an orchestrator: stages are called as tasks call them, runs are told by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lockgate.adapters.signer import ensure_keys
from lockgate.adapters.sql_ledger import SqlLedger
from lockgate.bootstrap import Services, services
from lockgate.core.ids import ModelName, Stage
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.model_state import ModelState
from lockgate.core.progress import Progress
from lockgate.line import begin, close, line_of, run
from tests.e2e.toy_project import make_project, rows
from tests.release_fakes import FakeFlowRuns

MODEL = ModelName("toy")
MEASURED = (
    Stage.INGEST,
    Stage.VALIDATE_DATA,
    Stage.TRAIN,
    Stage.EVALUATE,
    Stage.PACKAGE,
    Stage.INFRA,
    Stage.STRESS,
)
_RUN = "PREFECT__RUNTIME__FLOW_RUN__ID"  # how Prefect lets a test say which run it is


@dataclass
class LineWorld:
    """One installation in a folder of its own.

    Attributes:
        root: Holds the project, the home and what is landed.
        runs: What the orchestrator would say of each run.
    """

    root: Path
    runs: FakeFlowRuns = field(default_factory=FakeFlowRuns)

    @property
    def services(self) -> Services:
        return services()

    @property
    def spec_file(self) -> Path:
        return self.services.settings.spec_file(MODEL)

    @property
    def suite_file(self) -> Path:
        return self.services.settings.suites / "expectations" / "toy.json"

    def change(self, path: Path, before: str, after: str) -> None:
        """Change one thing in a file of the project, and read everything anew."""
        text = path.read_text()
        assert before in text, f"{path} does not hold {before!r}"
        path.write_text(text.replace(before, after))
        self.renew()

    def renew(self) -> None:
        """Forget what this process has read, as a new process would."""
        self.close()
        services.cache_clear()
        vars(services())["runs"] = self.runs

    def close(self) -> None:
        """Close the ledger, if it was opened."""
        ledger = vars(self.services).get("ledger")
        if isinstance(ledger, SqlLedger):
            ledger.close()

    def frame(self, frame: pd.DataFrame, name: str = "rows.parquet") -> Path:
        """Write rows to a file that is not landed yet."""
        path = self.root / "scratch" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(path, index=False)
        return path

    def land(self, frame: pd.DataFrame | None = None, name: str = "first.parquet") -> None:
        """Land rows as a person does."""
        path = self.frame(rows(0, 40) if frame is None else frame, name)
        self.services.store.land(MODEL, path)

    def drop(self, content: bytes, name: str) -> Path:
        """Put a file into the landing folder past every check, as another program might, a while ago."""
        folder = self.services.settings.landing(MODEL)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    def begin(self, run_id: str = "run-1", reason: str = "new data") -> Progress:
        """Open a release as the first task does, in the run of that id."""
        os.environ[_RUN] = run_id
        if run_id not in self.runs.states:
            self.runs.put(run_id, "RUNNING")
        return begin(MODEL, reason, "landing")

    def release(self, run_id: str = "run-1", *, through: Stage = Stage.STRESS) -> Progress:
        """Take a release as far as a stage, closing it if a gate stops it."""
        so_far = self.begin(run_id)
        for stage in MEASURED[: MEASURED.index(through) + 1]:
            if so_far.ended is None:
                so_far = run(line_of(MODEL), stage, so_far).so_far
        if so_far.ended is not None and so_far.release:
            self.end(so_far)
        return so_far

    def end(self, so_far: Progress) -> str:
        """Close a release as the flow does, and say that its run is over."""
        said = close(line_of(MODEL), so_far)
        self.runs.put(so_far.run, "CANCELLED", str(so_far.ended))
        return said

    def rows(self, *events: Event) -> tuple[LedgerRow, ...]:
        return self.services.ledger.rows(MODEL, events=events)

    @property
    def state(self) -> ModelState:
        return self.services.ledger.state(MODEL)


@contextmanager
def line_world(root: Path) -> Iterator[LineWorld]:
    """Make an installation and point this process at it, for the length of a block."""
    project = make_project(root / "project")
    ours = {"LOCKGATE_HOME": str(root / "home"), "LOCKGATE_PROJECT": str(project)}
    before = {name: os.environ.get(name) for name in (*ours, _RUN)}
    os.environ.update(ours)
    try:
        services.cache_clear()
        world = LineWorld(root)
        world.renew()
        ensure_keys(world.services.settings)
        yield world
        world.close()
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        services.cache_clear()
