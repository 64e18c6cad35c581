"""Holdouts and answers with known faults, for the tests of offline evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from lockgate.core.contract import TaskKind
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate, champion, quality, slices
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, Stage, to_json
from lockgate.core.metrics import Floats
from lockgate.core.spec import (
    DataSection,
    ModelSection,
    ReleaseSpec,
    SliceSection,
    TaskSection,
)
from lockgate.core.verdict import Check, GateReport
from lockgate.stages.evaluate import measures
from lockgate.stages.examination import Examination, examination_of
from lockgate.stages.sampling import ChampionScores, Scores

CHAMPION = Digest("a" * 64)
NONE_KNOWN = pd.DataFrame({"id": np.empty(0, dtype=np.int64)})


def spec_of(kind: TaskKind = TaskKind.BINARY, **more: Any) -> ReleaseSpec:
    classes = {TaskKind.BINARY: ("no", "yes"), TaskKind.MULTICLASS: ("a", "b", "c"), TaskKind.REGRESSION: ()}[kind]
    return ReleaseSpec(
        model=ModelSection(name=ModelName("toy"), description="A toy.", owner="nobody"),
        task=TaskSection(kind=kind, classes=classes, threshold=0.5 if kind is TaskKind.BINARY else None),
        data=DataSection(suite="toy", label="label", time="time", key=("id",), numeric=("x",)),
        slices=(SliceSection(column="city"),),
        **more,
    )


def days_of(days: int, rows: int, seed: int = 0) -> tuple[pd.DataFrame, Floats, np.random.Generator]:
    """Return rows with id, time, x and city, and the signal their labels follow; days differ as days do."""
    rng = np.random.default_rng(seed)
    n = days * rows
    day = np.repeat(np.arange(days), rows)
    x = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "id": np.arange(n),
            "time": pd.Timestamp("2013-02-01", tz="UTC") + pd.to_timedelta(day * 24 + 12, unit="h"),
            "x": x,
            "city": rng.choice(["oslo", "rome", "lima"], size=n, p=[0.5, 0.4, 0.1]),
        }
    )
    return frame, 1.5 * x + rng.normal(0, 0.3, days)[day], rng


def binary(days: int = 25, rows: int = 200, seed: int = 0) -> tuple[pd.DataFrame, Floats]:
    """Return a holdout and the probabilities of a model that knows x but not the day."""
    frame, signal, rng = days_of(days, rows, seed)
    happened = rng.random(len(frame)) < 1 / (1 + np.exp(1.0 - signal))
    frame["label"] = np.where(happened, "yes", "no")
    return frame, 1 / (1 + np.exp(1.0 - 1.5 * frame["x"].to_numpy()))


def multiclass(days: int = 25, rows: int = 200) -> tuple[pd.DataFrame, Floats]:
    frame, signal, rng = days_of(days, rows)
    logits = np.column_stack([signal, -signal, np.zeros(len(frame))])
    logits += rng.gumbel(size=logits.shape)
    frame["label"] = np.array(["a", "b", "c"])[logits.argmax(axis=1)]
    x = 1.5 * frame["x"].to_numpy()
    odds = np.exp(np.column_stack([x, -x, np.zeros(len(x))]))
    return frame, odds / odds.sum(axis=1, keepdims=True)


def regression(days: int = 25, rows: int = 200) -> tuple[pd.DataFrame, Floats]:
    frame, signal, rng = days_of(days, rows)
    frame["label"] = 30 + 10 * signal + rng.normal(0, 4, len(frame))
    return frame, np.asarray(30 + 15 * frame["x"].to_numpy())


def naive(kind: TaskKind, frame: pd.DataFrame) -> Floats:
    if kind is TaskKind.REGRESSION:
        return np.full(len(frame), float(frame["label"].mean()))
    if kind is TaskKind.BINARY:
        return np.full(len(frame), float((frame["label"] == "yes").mean()))
    shares = frame["label"].value_counts(normalize=True).reindex(["a", "b", "c"]).to_numpy()
    return np.tile(shares, (len(frame), 1))


def scores_of(
    spec: ReleaseSpec,
    frame: pd.DataFrame,
    challenger: Floats,
    champion_scores: Floats | None = None,
    known: pd.DataFrame | None = NONE_KNOWN,
) -> Scores:
    """Return scores against a champion where its answers are given, else of a first release."""
    serving = None
    if champion_scores is not None:
        serving = ChampionScores(bundle=CHAMPION, scores=champion_scores, known_keys=known)
    return Scores(challenger=challenger, naive=naive(spec.task.kind, frame), simple=None, champion=serving)


def evidence_of(gate: str, measurements: Mapping[str, Json]) -> Evidence:
    return Evidence(
        gate=gate,
        stage=Stage.EVALUATE,
        release=ReleaseId("toy-0001"),
        measured_at=datetime(2013, 3, 1, tzinfo=UTC),
        measured_on="test",
        subjects={},
        measurements=measurements,
    )


GATES: dict[str, Gate] = {gate.name: gate for gate in (quality.GATE, champion.GATE, slices.GATE)}


def judged(spec: ReleaseSpec, frame: pd.DataFrame, scores: Scores, gate: str) -> GateReport:
    """Measure, and judge one gate."""
    return judged_on(gate, measured_for(gate, spec, frame, scores))


def examined(spec: ReleaseSpec, frame: pd.DataFrame, scores: Scores, *, unlabelled: int = 0) -> Examination:
    """Return the examination of a holdout; who is asked again answers a row of it as before, whatever is changed."""

    def by_row(answers: Floats) -> Any:
        return lambda rows: answers[rows.index.to_numpy()]

    champion = scores.champion
    return examination_of(
        spec,
        frame,
        scores,
        ask=by_row(scores.challenger),
        ask_champion=None if champion is None or champion.scores is None else by_row(champion.scores),
        part=lambda _, columns: frame if columns is None else frame[list(columns)],
        unlabelled=unlabelled,
    )


def measured_for(gate: str, spec: ReleaseSpec, frame: pd.DataFrame, scores: Scores) -> Mapping[str, Json]:
    """Measure for one gate."""
    found: Any = to_json(measures()[gate](examined(spec, frame, scores)))
    return dict(found)


def judged_on(gate: str, measurements: Mapping[str, Json], **thresholds: Any) -> GateReport:
    found = GATES[gate]
    plain: Any = to_json(measurements)
    return found.judge(evidence_of(gate, plain), replace(found.thresholds(), **thresholds))


def check_of(report: GateReport, name: str, slice_: str = "all") -> Check:
    return next(each for each in report.checks if each.name == name and each.slice == slice_)
