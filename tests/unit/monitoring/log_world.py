"""A server's log written by the real writer, and an oracle that counts the same rows in plain Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.adapters.log_windows import summarise
from lockgate.config import Settings
from lockgate.core import metrics
from lockgate.core.contract import ModelContract, TaskKind
from lockgate.core.drift import edge_bins, reference_profile
from lockgate.core.ids import ModelName, canonical_json
from lockgate.core.labels import class_indices
from lockgate.core.monitoring.summary import (
    LABEL_DELAY_EDGES_S,
    LATENCY_EDGES_US,
    RANK_LOGITS,
    ColumnCounts,
    DaySummary,
)
from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, SliceColumn, SliceSection, TaskSection
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import ArchiveStatus, Kept
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.model.column_values import Flag
from tests.bundles import contract

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MODEL = ModelName("toy")
CHAMPION, CHALLENGER = "d" * 64, "e" * 64
ALL = Kept(days=0, max_bytes=0)
SLICES = (
    SliceSection(column="colour"),
    SliceSection(column="amount", edges=(10.0, 50.0), across=SliceColumn(column="shape", values=("disc",))),
    SliceSection(column="age"),
)


def profile(task: TaskKind, contract: ModelContract) -> dict[str, Any]:
    """Freeze the profile of some training rows."""
    draw = np.random.default_rng(5)
    rows = 400
    columns = {
        "amount": np.where(draw.random(rows) < 0.3, 0.0, draw.gamma(2.0, 20.0, rows)).astype(np.float32),
        "age": draw.integers(0, 90, rows).astype(np.float32),
        "colour": draw.choice(np.array(["red", "green", 'it\'s "blue"'], dtype=object), rows),
        "shape": draw.choice(np.array(["disc", "cube"], dtype=object), rows),
    }
    found = reference_profile(columns, ("amount", "age"), ("colour", "shape"))
    answers = draw.random((rows, 3)).astype(np.float32)
    names = contract.classes if task is TaskKind.MULTICLASS else ("prediction",)
    scores = {name: answers[:, at] * (50 if task is TaskKind.REGRESSION else 1) for at, name in enumerate(names)}
    return {**found, "score": reference_profile(scores, tuple(scores), ())["numeric"]}


@dataclass
class LogWorld:
    """A home with a server's state, two bundles and a spec."""

    home: Path
    task: TaskKind = TaskKind.BINARY
    made: list[Record] = field(default_factory=list)
    slices: tuple[SliceSection, ...] = SLICES

    def __post_init__(self) -> None:
        self.contract = contract("toy", self.task)
        self.profile = profile(self.task, self.contract)
        for digest in (CHAMPION, CHALLENGER):
            self.bundle(digest)

    @property
    def settings(self) -> Settings:
        return Settings(
            project=self.home, home=self.home, host="127.0.0.1", ports={}, notify=(), ledger_url="sqlite://"
        )

    @property
    def state(self) -> Path:
        return self.settings.serving("production")

    @property
    def folder(self) -> Path:
        return self.home / "monitoring" / MODEL

    @property
    def spec(self) -> ReleaseSpec:
        return ReleaseSpec(
            model=ModelSection(name=MODEL),
            task=TaskSection(kind=self.task, classes=self.contract.classes),
            data=DataSection(
                suite="toy",
                label="y",
                time="t",
                key=("id",),
                numeric=("amount", "age"),
                categorical=("colour", "shape"),
            ),
            slices=self.slices,
        )

    def bundle(self, digest: str) -> None:
        folder = self.settings.bundles / digest
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "contract.json").write_bytes(canonical_json(self.contract))
        (folder / "reference_profile.json").write_bytes(canonical_json(self.profile))

    def record(self, number: int, *, day: int = 0, rows: int = 1, **more: Any) -> Record:
        """Make a request whose content depends on its number alone."""
        draw = np.random.default_rng(number)
        at = NOON + timedelta(days=day, seconds=37 * (number % 900))
        amounts = [None if draw.random() < 0.1 else round(float(draw.gamma(2.0, 20.0)), 2) for _ in range(rows)]
        colours = [[None, "red", "green", 'it\'s "blue"', "octarine"][int(draw.integers(5))] for _ in range(rows)]
        strange = tuple(row for row in range(rows) if colours[row] == "octarine")
        high = tuple(row for row in range(rows) if (amounts[row] or 0) > 90)
        flags = [Flag("unknown_category", "colour", strange)] * bool(strange)
        flags += [Flag("out_of_range", "amount", high)] * bool(high)
        facts: dict[str, Any] = {
            "time": at.timestamp(),
            "prediction_id": f"p-{number:05d}",
            "model": MODEL,
            "digest": CHAMPION,
            "arm": "champion",
            "entity": f"e-{number}",
            "rows": rows,
            "inputs": {
                "amount": amounts,
                "age": [int(draw.integers(0, 90)) for _ in range(rows)],
                "colour": colours,
                "shape": [["disc", "cube"][int(draw.integers(2))] for _ in range(rows)],
            },
            "outputs": self._outputs(draw, rows),
            "flags": tuple(flags),
            "latency_us": int(10 ** draw.uniform(1.5, 6)),
            "contract": self.contract,
        }
        return Record(**facts | more)

    def _outputs(self, draw: np.random.Generator, rows: int) -> dict[str, Any]:
        if self.task is TaskKind.REGRESSION:
            return {"value": (draw.random(rows) * 60).astype(np.float32)}
        if self.task is TaskKind.BINARY:
            found = draw.random(rows).astype(np.float32)
            return {"probability": found, "label": [self.contract.classes[int(p >= 0.5)] for p in found]}
        several = draw.dirichlet((1.0, 1.0, 1.0), rows).astype(np.float32)
        return {"probabilities": several, "label": [self.contract.classes[int(p.argmax())] for p in several]}

    def log(self, *records: Record, worker: int = 0) -> None:
        """Log into one closed segment."""
        written = PredictionLog(self.state / "predictions", worker=worker)
        for each in records:
            written.append(each)
        written.close()
        self.made += records

    def label(self, *labels: Mapping[str, Any], name: str = "a", after: timedelta = timedelta(days=1)) -> None:
        """Put labels into one closed segment."""
        folder = self.state / "labels"
        folder.mkdir(parents=True, exist_ok=True)
        when = (NOON + after).isoformat()
        lines = [json.dumps({"row": 0, "label_time": when, "received": when} | dict(each)) for each in labels]
        (folder / f"20260102T120000.000000Z-w0-{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def archive(self, kept: Kept = ALL) -> ArchiveStatus:
        return Archive(self.state, kept).run()

    def summaries(self, **more: Any) -> list[DaySummary]:
        return summarise(self.settings, MODEL, spec=self.spec, **more)

    def summary(self, digest: str = CHAMPION) -> DaySummary:
        (found,) = [each for each in self.summaries() if each.digest == digest]
        return found


# -- the oracle --------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A row as the log has it."""

    record: Record
    number: int

    def value(self, name: str) -> Any:
        inputs: Any = self.record.inputs
        return inputs[name][self.number] if inputs else None

    def output(self, name: str) -> Any:
        outputs: Any = self.record.outputs
        return outputs[name][self.number]

    @property
    def is_own(self) -> bool:
        return self.record.kind == "live" and not self.record.fallback


def rows_of(records: Sequence[Record]) -> list[Row]:
    seen = [each for each in records if each.kind in {"live", "failed"}]
    return [Row(each, number) for each in seen for number in range(each.rows)]


def counted_numbers(values: Sequence[Any], edges: Sequence[float]) -> ColumnCounts:
    numbers = np.array([np.nan if each is None else each for each in values], dtype=np.float32).astype(np.float64)
    there = numbers[~np.isnan(numbers)]
    bins = np.bincount(edge_bins(there, np.array(edges)), minlength=2 * len(edges) + 1)
    return ColumnCounts(bins=tuple(bins.tolist()), missing=len(numbers) - len(there))


def counted_strings(values: Sequence[Any], kept: Sequence[str]) -> ColumnCounts:
    counts = Counter(values)
    others = sum(n for value, n in counts.items() if value is not None and value not in kept)
    return ColumnCounts(bins=(*(counts[value] for value in kept), others), missing=counts[None])


def expected(world: LogWorld, records: Sequence[Record], truths: Mapping[tuple[str, int], tuple[Any, float]]) -> Any:
    """Count rows as the summary of one bundle must.

    Args:
        world: Says how.
        records: The bundle's, of one day.
        truths: Label that holds and its delay in seconds, by prediction id and row.
    """
    rows = rows_of(records)
    requests = [row.record for row in rows if row.number == 0]
    own = [row for row in rows if row.is_own]
    profile = world.profile
    flags = Counter(flag.column for each in requests for flag in each.flags for _ in flag.rows if flag.flag != "null")
    features = {name: counted_numbers([row.value(name) for row in rows], profile["numeric"][name]["edges"])
                for name in ("amount", "age")}  # fmt: skip
    features |= {name: counted_strings([row.value(name) for row in rows], profile["categorical"][name]["values"])
                 for name in ("colour", "shape")}  # fmt: skip
    latency = np.searchsorted(LATENCY_EDGES_US, [each.latency_us for each in requests if each.kind == "live"])
    found = {
        "requests": len(requests),
        "rows": len(rows),
        "failed": sum(each.kind == "failed" for each in requests),
        "fallbacks": sum(each.fallback for each in requests),
        "flagged": sum(any(row.number in flag.rows for flag in row.record.flags) for row in rows),
        "features": {name: replace(counts, unseen=flags[name]) for name, counts in features.items()},
        "latency_us": tuple(np.bincount(latency, minlength=len(LATENCY_EDGES_US) + 1).tolist()),
        "classes": dict(Counter(row.output("label") for row in own)) if world.task is not TaskKind.REGRESSION else {},
    }
    return found | judged(world, own, truths)


def answer(world: LogWorld, row: Row) -> tuple[float, float]:
    """Return the number that is judged, and the expected loss."""
    if world.task is TaskKind.REGRESSION:
        return float(row.output("value")), float("nan")
    if world.task is TaskKind.BINARY:
        p = float(row.output("probability"))
        return p, p * (1 - p)
    several = row.output("probabilities").astype(float)
    return several[world.contract.classes.index(row.output("label"))], (1 - (several**2).sum()) / 2


def loss(world: LogWorld, row: Row, label: Any) -> tuple[float, float] | None:
    """Return loss and what was observed; None where the label means nothing."""
    said, _ = answer(world, row)
    if world.task is TaskKind.REGRESSION:
        try:
            return abs(said - float(label)), float(label)
        except ValueError:
            return None
    try:
        (truth,) = class_indices([label], world.contract.classes).tolist()
    except Exception:  # noqa: BLE001 - any label
        return None
    if world.task is TaskKind.BINARY:
        return (said - truth) ** 2, float(truth)
    several = row.output("probabilities").astype(float)
    brier = float(metrics.brier_rows(np.array([truth]), several[None])[0]) / 2
    return brier, float(world.contract.classes[truth] == row.output("label"))


def judged(world: LogWorld, own: Sequence[Row], truths: Mapping[tuple[str, int], tuple[Any, float]]) -> dict[str, Any]:
    told: list[Any] = []  # row, said, loss, observed, delay
    unusable = 0
    for row in own:
        truth = truths.get((row.record.prediction_id, row.number))
        if truth is not None:
            lost = loss(world, row, truth[0])
            unusable += lost is None
            if lost is not None:
                told.append((row, answer(world, row)[0], *lost, truth[1]))
    hours = [[0, 0] for _ in range(24)]
    for place, those in enumerate((own, [each[0] for each in told])):
        for row in those:
            hours[datetime.fromtimestamp(row.record.time, UTC).hour][place] += 1
    delays = np.searchsorted(LABEL_DELAY_EDGES_S, [each[4] for each in told], side="right")
    return {
        "moments": [
            len(own),
            sum(answer(world, row)[0] for row in own),
            sum(answer(world, row)[0] ** 2 for row in own),
        ],
        "expected_loss": np.nansum([answer(world, row)[1] for row in own]),
        "unusable_labels": unusable,
        "hours": tuple(map(tuple, hours)),
        "delays": tuple(np.bincount(delays, minlength=len(LABEL_DELAY_EDGES_S) + 1).tolist()) if told else (),
        "labels": [len(told), *(sum(each[at] for each in told) for at in (2, 1, 3))],
        "loss_squares": sum(each[2] ** 2 for each in told),
        "calibration": calibration(world, told),
        "ranks": ranks(told) if world.task is TaskKind.BINARY else {},
        "slices": {name: len(of) for name, of in sliced(told).items()},
        "slice_loss": {name: sum(each[2] for each in of) for name, of in sliced(told).items()},
    }


def calibration(world: LogWorld, told: Sequence[Any]) -> dict[int, list[float]]:
    said = np.array([each[1] for each in told])
    if world.task is TaskKind.REGRESSION:
        bins = edge_bins(said, np.array(world.profile["score"]["prediction"]["edges"]))
    else:
        bins = metrics.calibration_bins(said)
    found: dict[int, list[float]] = {}
    for place, each in zip(bins.tolist(), told, strict=True):
        sums = found.setdefault(place, [0, 0.0, 0.0])
        for at, value in enumerate((1, each[1], each[3])):
            sums[at] += value
    return found


def ranks(told: Sequence[Any]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for _, p, _, observed, _ in told:
        place = int(np.searchsorted(RANK_LOGITS, np.log(p / (1 - p)), side="right"))
        found.setdefault(place, [0, 0])[int(observed)] += 1
    return found


def sliced(told: Sequence[Any]) -> dict[str, list[Any]]:
    """Sort labelled rows into the slices of `SLICES`."""
    found: dict[str, list[Any]] = {}
    for each in told:
        row = each[0]
        amount, colour = row.value("amount"), row.value("colour")
        named = "(missing)" if amount is None else "<10" if amount < 10 else "[10, 50)" if amount < 50 else ">=50"
        names = [f"colour={'(missing)' if colour is None else colour}", f"age={row.value('age')}"]
        names += [f"amount={named} & shape=disc"] * (row.value("shape") == "disc")
        for name in names:
            found.setdefault(name, []).append(each)
    return found
