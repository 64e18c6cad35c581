"""Rows and specs for the models' tests: three numbers, two strings, all three tasks."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lockgate.core.contract import TaskKind
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, TaskSection, TrainingSection
from lockgate.core.verdict import GateReport
from lockgate.ports import Snapshot

NUMERIC = ("x0", "x1", "x2")
CATEGORICAL = ("c0", "c1")
CLASSES: dict[TaskKind, tuple[str, ...]] = {
    TaskKind.BINARY: ("0", "1"),
    TaskKind.MULTICLASS: ("low", "middle", "high"),
    TaskKind.REGRESSION: (),
}


def rows(n: int, kind: TaskKind = TaskKind.BINARY, *, seed: int = 0, unseen: bool = False) -> pd.DataFrame:
    """Rows with a learnable label; a tenth of x1 and c0 is missing; numbers repeat, so that ties at splits occur."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x0": rng.normal(size=n).round(2),
            "x1": rng.integers(-40, 40, size=n) / 3,
            "x2": rng.lognormal(5, 2, size=n),
            "c0": rng.choice(["a", "b", "c"], n),
            "c1": rng.choice([f"v{at}" for at in range(40)], n),
        }
    )
    score = frame.x0 + (frame.c0 == "a") - (frame.c1 == "v3") + frame.x1 / 10 + rng.normal(size=n) / 2
    frame.loc[rng.random(n) < 0.1, "x1"] = np.nan
    frame.loc[rng.random(n) < 0.1, "c0"] = None
    if unseen:
        frame.loc[rng.random(n) < 0.05, "c1"] = "never"
        frame.loc[rng.random(n) < 0.05, "c0"] = "v3"
    frame["y"] = {
        TaskKind.BINARY: lambda: (score > 0).astype(int),
        TaskKind.MULTICLASS: lambda: np.array(CLASSES[TaskKind.MULTICLASS])[np.digitize(score, [-0.5, 0.7])],
        TaskKind.REGRESSION: lambda: np.exp(score / 3) * 20,
    }[kind]()
    return frame


def spec_of(
    kind: TaskKind = TaskKind.BINARY, family: str = "xgboost", *, threshold: float | None = 0.5, **training: Any
) -> ReleaseSpec:
    return ReleaseSpec(
        model=ModelSection(name=ModelName("toy"), description="A toy.", owner="tests"),
        task=TaskSection(kind=kind, classes=CLASSES[kind], threshold=threshold),
        data=DataSection(suite="toy", label="y", time="t", key=("k",), numeric=NUMERIC, categorical=CATEGORICAL),
        training=TrainingSection(family=family, **training),
    )


def snapshot_in(folder: Path, kind: TaskKind = TaskKind.BINARY, *, n: int = 1500, label: str = "y") -> Snapshot:
    """Write a snapshot's parts and index, as the dataset store does."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {}
    for seed, part in enumerate(("train", "validation", "holdout")):
        frame = rows(n, kind, seed=seed, unseen=part == "holdout").rename(columns={"y": label})
        frame["t"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(n) % 20, unit="D")
        frame.to_parquet(folder / f"{part}.parquet", index=False)
        parts[part] = hashlib.sha256((folder / f"{part}.parquet").read_bytes()).hexdigest()
    (folder / "snapshot.json").write_text(json.dumps({"parts": parts}))
    return Snapshot(
        digest=Digest("5" * 64),
        folder=folder,
        table_version=0,
        as_of=datetime(2026, 1, 1, tzinfo=UTC),
        rows=dict.fromkeys(parts, n),
        unlabelled=dict.fromkeys(parts, 0),
    )


def judged(gate: Gate, measurements: Any, thresholds: Any = None) -> GateReport:
    evidence = Evidence(
        gate=gate.name,
        stage=gate.stage,
        release=ReleaseId("toy-0001"),
        measured_at=datetime(2026, 1, 1, tzinfo=UTC),
        measured_on="here",
        subjects={},
        measurements=measurements,
    )
    report: GateReport = gate.judge(evidence, thresholds or gate.thresholds())
    return report
