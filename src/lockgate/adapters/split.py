"""Divide rows into train, validation and holdout: by time, by group or by key.

A time split cuts at midnights UTC, so that no day (the unit that comparisons resample) stands in two parts. Group and
random splits hash, so that a row stays in its part when others land.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.core.learning.windows import within_incidents
from lockgate.core.spec import ReleaseSpec, SplitMethod
from lockgate.errors import BadInput

PARTS = ("train", "validation", "holdout")
LEARNT = ("train", "validation")


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows go where.

    Attributes:
        as_of: The newest time of a labelled row: the release's time.
        rows: Labelled rows, by part: masks of shape (n,).
        unlabelled: Rows of the same windows (or groups) without a label, by part: counts.
        quarantined: Rows in the time of an incident, by part: counts. Those of train and validation are in no part.
    """

    as_of: datetime
    rows: dict[str, NDArray[np.bool_]]
    unlabelled: dict[str, int]
    quarantined: dict[str, int] = field(default_factory=dict)


def split(frame: pd.DataFrame, spec: ReleaseSpec) -> Split:
    """Divide rows.

    Only rows whose label was known at `as_of` (`data.time` + `data.label_delay_s`, at the latest `as_of`) are in a
    part: a release must not be judged on labels that nobody had.

    Rows in the time of an incident (`retraining.quarantine`) leave train and validation: neither the fit nor what is
    chosen by it learns from them. They stay in the holdout, because naming a day must not take it out of the exam.

    Args:
        frame: The spec's time, label, key and group columns.

    Raises:
        BadInput: No row has a label, or there is too little for the split; says what is there and what is needed.
    """
    labelled = frame[spec.data.label].notna().to_numpy()
    times = frame[spec.data.time]
    if not labelled.any():
        raise BadInput(f"no row of {spec.name} has a label in {spec.data.label!r}; land labelled rows")
    as_of = times[labelled].max()
    known = (times + pd.Timedelta(seconds=spec.data.label_delay_s) <= as_of).to_numpy()
    usable = labelled & known
    by_time = spec.split.method is SplitMethod.TIME
    member = _by_time(times, usable, spec) if by_time else _by_hash(frame, spec)
    rows = {part: mask & usable for part, mask in member.items()}
    incident = within_incidents(_seconds(times), spec.retraining.quarantine)
    quarantined = {part: int((mask & incident).sum()) for part, mask in rows.items()}
    rows |= {part: rows[part] & ~incident for part in LEARNT}
    _refuse_short(rows, times[labelled], spec)
    unlabelled = {part: int((mask & ~labelled).sum()) for part, mask in member.items()}
    counted = quarantined if spec.retraining.quarantine else {}
    return Split(as_of=as_of.to_pydatetime(), rows=rows, unlabelled=unlabelled, quarantined=counted)


def _seconds(times: pd.Series) -> NDArray[np.float64]:
    return np.asarray((times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=np.float64)


def _by_time(times: pd.Series, usable: NDArray[np.bool_], spec: ReleaseSpec) -> dict[str, NDArray[np.bool_]]:
    """Cut at midnights: the holdout's `holdout_days` end with the newest usable row's day."""
    if not usable.any():
        return dict.fromkeys(PARTS, usable)
    section = spec.split
    window_days = section.train_window_days or spec.retraining.window_days
    days = times.dt.floor("D")
    newest = days[usable].max()
    holdout = newest - pd.Timedelta(days=section.holdout_days - 1)
    validation = holdout - pd.Timedelta(days=section.validation_days)
    train = days < validation
    if window_days is not None:
        train &= days >= validation - pd.Timedelta(days=window_days)
    return {
        "train": train.to_numpy(),
        "validation": ((days >= validation) & (days < holdout)).to_numpy(),
        "holdout": ((days >= holdout) & (days <= newest)).to_numpy(),
    }


def _by_hash(frame: pd.DataFrame, spec: ReleaseSpec) -> dict[str, NDArray[np.bool_]]:
    names = [spec.split.group] if spec.split.method is SplitMethod.GROUP and spec.split.group else list(spec.data.key)
    texts = frame[names].astype(str).agg("\x1f".join, axis=1) if len(names) > 1 else frame[names[0]].astype(str)
    places = texts.map({text: _place(text) for text in texts.unique()}).to_numpy(dtype=np.float64)
    holdout = places < spec.split.holdout_fraction
    validation = ~holdout & (places < spec.split.holdout_fraction + spec.split.validation_fraction)
    return {"train": ~holdout & ~validation, "validation": validation, "holdout": holdout}


def _place(text: str) -> float:
    """Return a text's place in [0, 1), the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56


def _refuse_short(rows: dict[str, NDArray[np.bool_]], times: pd.Series, spec: ReleaseSpec) -> None:
    empty = [part for part in PARTS if not rows[part].any()]
    if not empty:
        return
    first, last = times.min(), times.max()
    there = f"{len(times)} labelled rows from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    section = spec.split
    if section.method is SplitMethod.TIME:
        days = section.validation_days + section.holdout_days + 1
        needed = (
            f"{section.validation_days} days for validation, {section.holdout_days} for the holdout and at least one "
            f"to train on: {days} days; land more, or lower split.validation_days and split.holdout_days"
        )
    else:
        needed = "more rows or groups for split.validation_fraction and split.holdout_fraction to leave some in each"
    if spec.retraining.quarantine:
        needed += ", beside the rows in retraining.quarantine, which are in neither train nor validation"
    raise BadInput(
        f"the data of {spec.name} is too short for its split: there are {there}, and the split needs {needed}. "
        f"Empty: {', '.join(empty)}",
        empty=empty,
        labelled=len(times),
    )
