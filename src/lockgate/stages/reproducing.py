"""Stage train_model, second half: train again in a clean process and see whether the same model comes out.

Measurements of gate `reproducibility`:

    reloaded            {rows, differing, largest, digests}: the saved model asked in another process
    refit               the same, with {graphs, same_graph}: the second fit; null when the spec gave it up
    refit_beyond_time   seconds the second fit was given, when it did not end in them
    cause               "threads" or "randomness", when the two differ and it was found out
    search              what became of the search in the second fit; null when there was none
    seconds             what all of this took
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from lockgate.core.gates.reproducibility import Refit, Thresholds
from lockgate.core.ids import Json
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import MeasurementError
from lockgate.ports import Fit, Snapshot

REUSED = "not repeated: the second fit took the parameters that the search had chosen"


class Refitter(Protocol):
    """Asks a fit again, and fits again."""

    def fit(self, spec: ReleaseSpec, snapshot: Snapshot, out: Path) -> Fit:
        """Fit into a folder; a fit that is there already is returned as it is."""
        ...

    def ask_again(self, spec: ReleaseSpec, snapshot: Snapshot, fit: Fit) -> Mapping[str, Json]:
        """Ask the saved model the validation rows in another process."""
        ...

    def fit_again(
        self, spec: ReleaseSpec, snapshot: Snapshot, fit: Fit, out: Path, time_limit_s: float
    ) -> Mapping[str, Json]:
        """Do the same, then fit once more into another folder and compare the two: `reloaded` and `refit`."""
        ...


def measure_reproducibility(
    refitter: Refitter, spec: ReleaseSpec, snapshot: Snapshot, fit: Fit, release_folder: Path
) -> dict[str, Json]:
    """Measure whether the same training gives the same model; the second fit goes to `<release_folder>/refit`.

    When it does not, the training is run twice more in one thread: if those two are the same, the order in which
    threads end is the cause.

    Raises:
        BadInput: The second fit is refused where the first was not.
        MeasurementError: Another limit than the time of the second fit was hit, or a process died.
    """
    asked: Thresholds = spec.gates.get("reproducibility", Thresholds())
    plain = without_search(spec, fit.facts)
    began = time.monotonic()
    measured: dict[str, Json] = {"refit": None, "search": None if spec.training.search is None else REUSED}
    if asked.refit is Refit.ALWAYS:
        limit_s = spec.training.time_limit_s if asked.time_limit_s is None else asked.time_limit_s
        measured |= _refitted(refitter, plain, snapshot, fit, release_folder, limit_s)
    if "reloaded" not in measured:
        measured["reloaded"] = refitter.ask_again(plain, snapshot, fit)
    return {**measured, "seconds": time.monotonic() - began}


def without_search(spec: ReleaseSpec, facts: Mapping[str, Json]) -> ReleaseSpec:
    """Return the spec that fits the same model without searching for its parameters: they are in the facts of a fit."""
    if spec.training.search is None:
        return spec
    chosen: Any = facts["parameters"]
    return replace(spec, training=replace(spec.training, search=None, parameters=dict(chosen)))


def _refitted(  # noqa: PLR0913, PLR0917 - what is fitted, and where
    refitter: Refitter, spec: ReleaseSpec, snapshot: Snapshot, fit: Fit, folder: Path, limit_s: float
) -> dict[str, Json]:
    try:
        again = refitter.fit_again(spec, snapshot, fit, folder / "refit", limit_s)
    except MeasurementError as ended:
        if ended.data.get("limit") != "time":
            raise
        return {"refit_beyond_time": limit_s}
    if _same(again):
        return dict(again)
    return {**again, "cause": _cause(refitter, spec, snapshot, folder, limit_s)}


def _same(again: Mapping[str, Json]) -> bool:
    refit: Any = again["refit"]
    return bool(refit["differing"] == 0 and refit["same_graph"])


def _cause(refitter: Refitter, spec: ReleaseSpec, snapshot: Snapshot, folder: Path, limit_s: float) -> Json:
    """Find out whether threads are why: twice in one thread; None when that could not be done in the time."""
    if spec.training.threads == 1:
        return "randomness"
    alone = replace(spec, training=replace(spec.training, threads=1, time_limit_s=limit_s))
    try:
        first = refitter.fit(alone, snapshot, folder / "refit-one-thread")
        again = refitter.fit_again(alone, snapshot, first, folder / "refit-one-thread-again", limit_s)
    except MeasurementError:
        return None
    return "threads" if _same(again) else "randomness"
