"""Fits a model on a window of the past as a release then would have, and scores the month that followed.

    tables/<model> ── rows before the month ── split ──> fit in a process of its own ──> answers to the month
                                                          <home>/windows/<model>/<key>.npz, whole or not at all

What was answered is kept under a key of everything that it depends on, so that a comparison which was killed, or was
given too little time, goes on where it was. Two windows that hold the same rows, weighed alike, are fitted once.
"""

from __future__ import annotations

import fcntl
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.compute as pc  # type: ignore[import-untyped]  # no stubs published
from pyarrow.dataset import Dataset  # type: ignore[import-untyped]  # no stubs published

from lockgate.adapters import snapshots
from lockgate.adapters.delta_append import BATCH, answering, open_table
from lockgate.adapters.durable_files import room_for, written_aside
from lockgate.adapters.native_scorer import NativeScorer
from lockgate.adapters.table_reading import whole_files
from lockgate.adapters.trainer import IsolatedTrainer
from lockgate.config import Settings
from lockgate.core.ids import Digest, digest_of
from lockgate.core.learning.backtest import Candidate, with_window
from lockgate.core.spec import ReleaseSpec, SplitMethod
from lockgate.errors import BadInput, MeasurementError, TransientError
from lockgate.ports import Fit, Snapshot
from lockgate.stages.sampling import is_valid
from lockgate.stages.train import Trainer
from lockgate.stages.window_choice import Answered

if TYPE_CHECKING:
    import pandas as pd


class WindowBacktest:
    """One model's past, fitted and scored month by month.

    Args:
        settings: Where everything lies.
        spec: The model's.
        code: Digest of the program: another one is asked anew.
        trainer: Fits; None: in a process of its own, within the spec's limits.

    Raises:
        BadInput: Nothing was ingested yet, or the spec does not split by time.
        TransientError: The table did not answer.
    """

    def __init__(self, settings: Settings, spec: ReleaseSpec, code: Digest, trainer: Trainer | None = None) -> None:
        if spec.split.method is not SplitMethod.TIME:
            raise BadInput(
                f"windows of the past are compared where split.method is time; for {spec.name} it is "
                f"{spec.split.method}, and its parts do not follow each other"
            )
        table = open_table(settings.table(spec.name))
        if table is None:
            raise BadInput(f"nothing was ingested for {spec.name} yet; land a file: lockgate land FILE -m {spec.name}")
        self._settings, self._spec, self._code = settings, spec, code
        with answering(settings.table(spec.name)):
            self._rows: Dataset = table.to_pyarrow_dataset()
        self.table_version = table.version()
        self._table_id = str(table.metadata().id)
        self._folder = settings.home / "windows" / spec.name
        self._trainer: Trainer = trainer or IsolatedTrainer(settings.project)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let one comparison of a model at a time work in its folder; the system frees the lock of one that died.

        What one that died, or a fit that was refused, left of its rows is removed.

        Raises:
            TransientError: Another one is at it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as busy:
                raise TransientError(
                    f"another comparison of windows of {self._spec.name} is under way; call it again when that has "
                    "ended: what it fits is kept"
                ) from busy
            work = self._folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            try:
                yield
            finally:
                shutil.rmtree(work, ignore_errors=True)

    @cached_property
    def _time(self) -> pc.Expression:
        return pc.field(self._spec.data.time)

    @cached_property
    def _labelled(self) -> pc.Expression:
        return pc.field(self._spec.data.label).is_valid()

    def days(self) -> tuple[date, date]:
        """Return the first and the last day that has a labelled row.

        Raises:
            BadInput: No row has a label.
        """
        name = self._spec.data.time
        with whole_files(self._rows):
            labelled = self._rows.to_table(columns=[name], filter=self._labelled)
        if not len(labelled):
            raise BadInput(f"no row of {self._spec.name} has a label; land labelled rows")
        ends = pc.min_max(labelled[name]).as_py()
        return ends["min"].date(), ends["max"].date()

    def frame(self, since: date, until: date) -> pd.DataFrame:
        """Return the labelled rows of a period, every column, by time and key: kept answers are one a row of it."""
        inside = (self._time >= self._at(since)) & (self._time < self._at(until)) & self._labelled
        with whole_files(self._rows):
            rows = self._rows.to_table(filter=inside)
        order = [(name, "ascending") for name in (self._spec.data.time, *self._spec.data.key)]
        frame: pd.DataFrame = rows.take(pc.sort_indices(rows, order)).drop_columns([BATCH]).to_pandas()
        return frame

    def kept(self, candidate: Candidate, since: date, until: date) -> Answered | None:
        """Return what was answered before; None where nothing was, or what is there cannot be read."""
        try:
            with self._path(candidate, since, until).open("rb") as content:
                with zipfile.ZipFile(content) as whole:
                    if whole.testzip() is not None:
                        return None
                content.seek(0)
                with np.load(content, allow_pickle=False) as file:
                    facts: dict[str, Any] = json.loads(str(file["facts"]))
                    return Answered(answers=file["answers"], **facts)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def answer(self, candidate: Candidate, since: date, until: date, same: dict[str, Answered]) -> Answered:
        """Fit on the rows before a period and answer its rows; what was answered before is returned as it is.

        Args:
            candidate: The window.
            since: The period's first day.
            until: The day after its last.
            same: Answers to this period by what they were fitted on; a window that is one of them is not fitted again.

        Raises:
            BadInput: There is too little before the period for the split, or the rows or parameters are refused.
            MeasurementError: The fit hit a limit, its process died, or it answered a row with no number.
        """
        before = self.kept(candidate, since, until)
        if before is None:
            spec = with_window(self._spec, candidate)
            scratch = self._folder / "work" / self._key(candidate, since, until)
            rows = self._rows.filter(self._time < self._at(since))
            snapshot = snapshots.freeze(rows, spec, scratch, BATCH, self.table_version)
            fitted_on = _fitted_on(snapshot, spec)
            before = same.get(fitted_on) or self._fit(spec, snapshot, scratch, fitted_on, since, until)
            self._keep(before, self._path(candidate, since, until))
            shutil.rmtree(scratch, ignore_errors=True)
        same[before.fitted_on] = before
        return before

    def _fit(  # noqa: PLR0913, PLR0917 - what is fitted, where, and what it then answers
        self, spec: ReleaseSpec, snapshot: Snapshot, scratch: Path, fitted_on: str, since: date, until: date
    ) -> Answered:
        fit = self._trainer.fit(spec, snapshot, scratch / "fit")
        answers = np.asarray(NativeScorer.load(fit.folder).score(self.frame(since, until)), dtype=np.float64)
        unanswered = int((~is_valid(spec.task.kind, answers)).sum())
        if unanswered:
            raise MeasurementError(f"the fit answered {unanswered} of {len(answers)} rows with no number")
        rows, effective = _weighed(fit)
        seconds = float(str(fit.facts.get("seconds", 0.0)))
        return Answered(
            answers=answers, fitted_on=fitted_on, trained_on=rows, effective_rows=effective, seconds=seconds
        )

    def _keep(self, answered: Answered, path: Path) -> None:
        facts = {name: getattr(answered, name) for name in ("fitted_on", "trained_on", "effective_rows", "seconds")}
        content = io.BytesIO()
        np.savez_compressed(content, answers=answered.answers, facts=np.array(json.dumps(facts)))
        path.parent.mkdir(parents=True, exist_ok=True)
        with room_for("the answers of a window", path.parent):
            written_aside(path, content.getvalue()).replace(path)

    def _path(self, candidate: Candidate, since: date, until: date) -> Path:
        return self._folder / f"{since:%Y-%m-%d}-{candidate.name}-{self._key(candidate, since, until)[:16]}.npz"

    def _key(self, candidate: Candidate, since: date, until: date) -> Digest:
        spec = with_window(self._spec, candidate)
        depends = {"task": spec.task, "data": spec.data, "split": spec.split, "training": spec.training,
                   "costs": spec.costs, "window": candidate, "quarantine": spec.retraining.quarantine}  # fmt: skip
        asked = [since.isoformat(), until.isoformat(), self._table_id, self.table_version, self._code]
        return digest_of([depends, asked])

    def _at(self, day: date) -> pa.Scalar:
        return pa.scalar(datetime.combine(day, time(), UTC), type=self._rows.schema.field(self._spec.data.time).type)


def _fitted_on(snapshot: Snapshot, spec: ReleaseSpec) -> str:
    """Return what tells whether two fits are one: the rows of both parts, and how they are weighed."""
    parts = json.loads((snapshot.folder / "snapshot.json").read_bytes())["parts"]
    return digest_of([parts["train"], parts["validation"], spec.retraining.half_life_days])


def _weighed(fit: Fit) -> tuple[int, float]:
    """Return the rows that a fit learnt from, and how many equal rows say as much."""
    rows, weighted = fit.facts.get("rows"), fit.facts.get("weighted")
    trained_on = rows.get("train") if isinstance(rows, dict) else None
    count = trained_on if isinstance(trained_on, int) else 0
    effective = weighted.get("effective_rows") if isinstance(weighted, dict) else None
    return count, float(effective) if isinstance(effective, int | float) else float(count)
