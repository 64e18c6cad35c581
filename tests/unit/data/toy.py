"""A dataset small enough to reason about, the spec over it, and a store of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from lockgate.adapters.delta_store import DeltaDatasetStore
from lockgate.config import Settings
from lockgate.core.contract import TaskKind
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import Json, ModelName, ReleaseId
from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, SplitSection, TaskSection
from lockgate.core.verdict import GateReport, Verdict

PROJECT = Path(__file__).parents[3]
MODEL = ModelName("toy")
START = "2024-01-01"


def toy_spec(**data: object) -> ReleaseSpec:
    section = DataSection(suite="toy", label="y", time="t", key=("id",), numeric=("a", "b"), categorical=("c",))
    return ReleaseSpec(
        model=ModelSection(name=MODEL),
        task=TaskSection(kind=TaskKind.BINARY, classes=("no", "yes")),
        data=replace(section, **data),
        split=SplitSection(validation_days=5, holdout_days=10),
    )


def toy_rows(days: int = 30, per_day: int = 20, *, start: str = START, seed: int = 1) -> pd.DataFrame:
    """Rows whose label depends a little on `a`; every tenth has no label."""
    draw = np.random.default_rng(seed)
    n = days * per_day
    at = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(np.arange(n) * 86_400 // per_day, unit="s")
    a = draw.normal(size=n)
    yes = pd.Series(np.where(a + 2 * draw.normal(size=n) > 0, "yes", "no"), dtype="str")
    return pd.DataFrame(
        {
            "id": [f"{start}-{i}" for i in range(n)],
            "t": at,
            "a": a,
            "b": np.where(draw.random(n) < 0.1, np.nan, draw.normal(size=n)),
            "c": draw.choice(["x", "y", "z"], size=n),
            "extra": draw.integers(0, 9, size=n),
            "y": yes.mask(np.arange(n) % 10 == 0),
        }
    )


def settings(home: Path, project: Path = PROJECT) -> Settings:
    return Settings(project=project, home=home, host="127.0.0.1", ports={}, notify=(), ledger_url="sqlite://")


@dataclass
class WallClock:
    """The real time: files are as old as they are."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def in_this_process(target: str, request: Mapping[str, Json], **_limits: object) -> Json:
    """Call the target here: what it does is under test, not the process around it."""
    from lockgate.adapters.isolated import load_function

    answer: Json = load_function(target)(**request)
    return answer


def store(home: Path) -> DeltaDatasetStore:
    return DeltaDatasetStore(settings(home), WallClock(), isolated=in_this_process)


def written(folder: Path, frame: pd.DataFrame, name: str = "rows.parquet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / name, index=False)
    return folder / name


def evidence(gate: Gate, measurements: Mapping[str, Json]) -> Evidence:
    return Evidence(
        gate=gate.name,
        stage=gate.stage,
        release=ReleaseId("toy-0001"),
        measured_at=datetime(2024, 2, 1, tzinfo=UTC),
        measured_on="test",
        subjects={},
        measurements=measurements,
    )


def judged(gate: Gate, measurements: Mapping[str, Json], **thresholds: object) -> GateReport:
    return gate.judge(evidence(gate, measurements), gate.thresholds(**thresholds))


def failing(report: GateReport) -> set[str]:
    """Names of the required checks that failed."""
    return {check.name for check in report.checks if check.verdict is Verdict.FAIL and check.required}


def errors(report: GateReport) -> set[str]:
    """Names of the required checks that could not be measured."""
    return {check.name for check in report.checks if check.verdict is Verdict.ERROR and check.required}


def without(measurements: Mapping[str, Json], path: str) -> dict[str, Json]:
    """Return the measurements without what stands at a dotted path."""
    first, _, rest = path.partition(".")
    left = {name: value for name, value in measurements.items() if name != first}
    inner = measurements[first]
    if rest and isinstance(inner, Mapping):
        left[first] = without(inner, rest)
    return left
