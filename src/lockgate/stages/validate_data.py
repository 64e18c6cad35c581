"""Stage 2: hold the frozen rows against the suite, and look for leaks, drift, duplicates and too little data.

Each part is read once and let go before the next, so that the largest of them is what must fit: the suite and all
measurements see the same reading. What is measured is numbers about columns; no row leaves this stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.core.ids import Digest, Json
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import DatasetStore, DataValidator, Snapshot
from lockgate.stages import batches, drifting, leaks
from lockgate.stages.drifting import Moved, Reference, ReferenceRows, measure_drift
from lockgate.stages.feature_columns import feature_columns
from lockgate.stages.leaks import measure_leakage
from lockgate.stages.part_facts import PartFacts, columns_of, facts_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["feature_columns", "measure_drift", "measure_leakage", "measure_validation"]

_SUITED = ("batch", "train")


def measure_validation(  # noqa: PLR0913 - the ports, and what is compared
    store: DatasetStore,
    validator: DataValidator,
    spec: ReleaseSpec,
    snapshot: Snapshot,
    *,
    champion: Digest | None,
    reference_profile: Mapping[str, Json] | None,
    docs: Path,
    champion_rows: Snapshot | None = None,
    champion_rows_gone: str = "the champion's training rows were not asked for",
    history: Sequence[int] = (),
) -> Mapping[str, Mapping[str, Json]]:
    """Measure for the gates expectations, batch, leakage and drift.

    Args:
        champion: The bundle that serves; None only when the ledger shows that there never was one.
        reference_profile: `reference_profile.json` of the champion. None with a champion: the drift gate will say
            that it could not measure.
        docs: Folder for the pages of the suite's results.
        champion_rows: The snapshot that the champion was trained on; None: gone.
        champion_rows_gone: Why it is gone.
        history: Rows of the batches that landed before the newest one, oldest first.

    Returns:
        Each gate's measurements, by its name.
    """
    reference = Reference(champion=champion, profile=reference_profile, snapshot=champion_rows, gone=champion_rows_gone)
    then = drifting.reference_rows(store, spec, reference)
    reading = _Reading(store, spec, snapshot, reference, then)
    expectations = validator.validate(spec, reading, docs)
    reading.finish()
    rows = snapshot.rows.get("batch", 0)
    return {
        "expectations": expectations,
        "batch": {**reading.batch, "history": batches.measure_history(rows, history)},
        "leakage": leaks.joined(reading.leaks, reading.patterns, leaks.part_leaks(spec, reading.parts)),
        "drift": drifting.joined(reference, reading.moved("batch"), reading.moved("train"), then),
    }


class _Reading(Mapping[str, "pd.DataFrame"]):
    """The frames that the suite is run on, read when asked for; whatever is measured of one is measured then."""

    def __init__(
        self, store: DatasetStore, spec: ReleaseSpec, snapshot: Snapshot, reference: Reference, then: ReferenceRows
    ) -> None:
        self._store, self._spec, self._snapshot = store, spec, snapshot
        self._reference, self._then = reference, then
        self._moved: dict[str, Moved] = {}
        self._seen: set[str] = set()
        self.batch: dict[str, Json] = {}
        self.leaks: dict[str, Json] = {}
        self.patterns: dict[str, dict[str, Json]] = {}
        self.parts: dict[str, PartFacts] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Read a part, and measure it the first time."""
        if name not in _SUITED:
            raise KeyError(name)
        frame = self._store.part(self._snapshot, name)
        if name not in self._seen:
            self._seen.add(name)
            (self._measure_batch if name == "batch" else self._measure_train)(frame)
            if self._reference.champion is not None:
                self._moved[name] = drifting.moved(self._spec, frame, self._reference)
        return frame

    def __iter__(self) -> Iterator[str]:
        """Yield the parts that the suite is run on."""
        return iter(_SUITED)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(_SUITED)

    def finish(self) -> None:
        """Measure what is left: parts that the suite did not ask for, and those it is not run on."""
        for name in _SUITED:
            if name not in self._seen:
                _ = self[name]
        entity, columns = self._spec.data.entity, columns_of(self._spec)
        if entity is not None and self.parts["train"].entities is not None:
            columns = tuple(dict.fromkeys((*columns, entity)))
        for name in ("validation", "holdout"):
            rows = self._store.part(self._snapshot, name, columns)
            self.parts[name] = facts_of(self._spec, rows)
        self.batch |= batches.measure_parts(self.parts, self._reference)

    def moved(self, name: str) -> dict[str, Json] | None:
        """Return how far a part is from the champion's reference; None where there is no champion."""
        now = self._moved.get(name)
        return None if now is None else drifting.compared(self._spec, now, self._then)

    def _measure_batch(self, batch: pd.DataFrame) -> None:
        self.batch |= batches.measure_newest(self._spec, self._snapshot, batch)
        self.patterns = leaks.batch_patterns(self._spec, batch)

    def _measure_train(self, train: pd.DataFrame) -> None:
        label = train[self._spec.data.label]
        shift = None
        if self._reference.champion is not None:
            shift = drifting.label_shift(self._spec, label, self._then)
        self.batch |= {"label": batches.measure_label(self._spec, label), "label_shift": shift}
        self.leaks = leaks.train_leaks(self._spec, train)
        self.parts["train"] = facts_of(self._spec, train)
