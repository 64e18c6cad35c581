"""A holdout with numbers, nulls and strings, and models that can be asked again, sound and with known faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from lockgate.core.contract import TaskKind
from lockgate.core.gates import robustness
from lockgate.core.ids import ModelName
from lockgate.core.spec import (
    DataSection,
    ModelSection,
    ReleaseSpec,
    RobustnessSection,
    SliceSection,
    SplitSection,
    TaskSection,
)
from lockgate.core.verdict import GateReport
from lockgate.stages.examination import Examination, Explain, examination_of
from lockgate.stages.robustness import measure_robustness
from lockgate.stages.sampling import ChampionScores, Scores
from tests.unit.judgement.scenes import CHAMPION, NONE_KNOWN, evidence_of

Model: TypeAlias = "Callable[[pd.DataFrame], np.ndarray]"
TEMPERATURE = {"oslo": -0.5, "rome": 0.5, "lima": 0.0}
CLASSES = {TaskKind.BINARY: ("no", "yes"), TaskKind.MULTICLASS: ("a", "b", "c"), TaskKind.REGRESSION: ()}


def spec_of(kind: TaskKind = TaskKind.BINARY, robust: RobustnessSection | None = None, **more: Any) -> ReleaseSpec:
    return ReleaseSpec(
        model=ModelSection(name=ModelName("toy")),
        task=TaskSection(kind=kind, classes=CLASSES[kind], threshold=0.5 if kind is TaskKind.BINARY else None),
        data=DataSection(
            suite="toy", label="label", time="time", key=("id",), numeric=("x", "z", "idle"), categorical=("city",)
        ),
        split=SplitSection(),
        slices=(SliceSection(column="city"),),
        robustness=robust or RobustnessSection(),
        **more,
    )


def holdout(kind: TaskKind = TaskKind.BINARY, days: int = 25, rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """Return rows whose label follows x, z (null in a tenth of rows) and city; `idle` has nothing to do with it."""
    rng = np.random.default_rng(seed)
    n = days * rows
    frame = pd.DataFrame(
        {
            "id": np.arange(n),
            "time": pd.Timestamp("2013-02-01", tz="UTC") + pd.to_timedelta(np.repeat(np.arange(days), rows), unit="D"),
            "x": rng.normal(10, 2, n),
            "z": np.where(rng.random(n) < 0.1, np.nan, rng.normal(0, 1, n)),
            "idle": rng.normal(0, 1, n),
            "city": rng.choice(["oslo", "rome", "lima"], n, p=[0.5, 0.4, 0.1]),
        }
    )
    true = signal(frame)
    if kind is TaskKind.REGRESSION:
        frame["label"] = 30 + 10 * true + rng.normal(0, 5, n)
    elif kind is TaskKind.BINARY:
        frame["label"] = np.where(rng.random(n) < 1 / (1 + np.exp(-true)), "yes", "no")
    else:
        logits = np.column_stack([true, -true, np.zeros(n)]) + rng.gumbel(size=(n, 3))
        frame["label"] = np.array(["a", "b", "c"])[logits.argmax(axis=1)]
    return frame


def signal(frame: pd.DataFrame) -> np.ndarray:
    """Return what the label follows; a null or a city nobody knows counts as the middle of what is usual."""
    x, z = (frame[name].to_numpy(dtype=float) for name in ("x", "z"))
    city = frame["city"].map(TEMPERATURE).fillna(0.0).to_numpy(dtype=float)
    return np.where(np.isnan(x), 0.0, (x - 10) / 1.5) + np.where(np.isnan(z), 0.0, 0.5 * z) + city


def answering(kind: TaskKind, of: Callable[[pd.DataFrame], np.ndarray] = signal) -> Model:
    """Return a model that answers by a signal."""

    def ask(frame: pd.DataFrame) -> np.ndarray:
        found = of(frame)
        if kind is TaskKind.REGRESSION:
            return 30 + 10 * found
        if kind is TaskKind.BINARY:
            return np.asarray(1 / (1 + np.exp(-np.clip(found, -500, 500))))
        odds = np.exp(np.clip(np.column_stack([found, -found, np.zeros(len(found))]), -200, 200))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    return ask


def examined(
    spec: ReleaseSpec,
    frame: pd.DataFrame,
    ask: Model,
    champion: Model | None = None,
    *,
    explain: Explain | None = None,
    explain_champion: Explain | None = None,
) -> Examination:
    serving = None
    if champion is not None:
        serving = ChampionScores(bundle=CHAMPION, scores=champion(frame), known_keys=NONE_KNOWN)
    if spec.task.kind is TaskKind.REGRESSION:
        naive = np.full(len(frame), float(frame["label"].mean()))
    else:
        shares = np.array([(frame["label"] == name).mean() for name in spec.task.classes])
        binary = spec.task.kind is TaskKind.BINARY
        naive = np.full(len(frame), shares[1]) if binary else np.tile(shares, (len(frame), 1))
    return examination_of(
        spec,
        frame,
        Scores(challenger=ask(frame), naive=naive, simple=None, champion=serving),
        ask=ask,
        ask_champion=champion,
        part=lambda _name, _columns: frame,
        explain=explain,
        explain_champion=explain_champion,
    )


def judged(
    spec: ReleaseSpec, frame: pd.DataFrame, ask: Model, champion: Model | None = None, **thresholds: Any
) -> GateReport:
    """Measure and judge robustness."""
    measured = measure_robustness(examined(spec, frame, ask, champion))
    return robustness.judge(evidence_of("robustness", _plain(measured)), robustness.Thresholds(**thresholds))


def _plain(measured: Any) -> Any:
    from lockgate.core.ids import to_json

    return to_json(measured)
