"""Faults of the newest landed file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.spec import ReleaseSpec
from lockgate.core.verdict import Verdict
from lockgate.selftest import columns as take
from lockgate.selftest.entries import Landed
from lockgate.selftest.fault import By, Fault

if TYPE_CHECKING:
    import pandas as pd

_SENTINEL = -99_999.0
_TOLD_DATA = By("expectations")
_CHANGED = By("schema", ("unaccepted_changes",))


def _schema_break(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:
    return rows.drop(columns=take.some(spec.data.features, share))


def _text_for_numbers(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:
    return rows.assign(**{name: rows[name].astype(str) + " x" for name in take.some(spec.data.numeric, share)})


def _repeated(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:  # noqa: ARG001 - `Change`
    import pandas as pd

    return pd.concat([rows, rows[take.chosen(len(rows), share)]], ignore_index=True)


def _stale(rows: pd.DataFrame, spec: ReleaseSpec, days: float) -> pd.DataFrame:
    import pandas as pd

    times = pd.to_datetime(rows[spec.data.time], utc=True) - pd.Timedelta(days=round(days))
    return rows.assign(**{spec.data.time: times})


def _few(rows: pd.DataFrame, spec: ReleaseSpec, count: float) -> pd.DataFrame:  # noqa: ARG001 - `Change`
    return rows.tail(round(count))


def _unlabelled(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:
    # the newest labels are kept: a batch that has none at all is another matter than one that has few
    gone = take.chosen(len(rows), share)
    gone[-1] = False
    return rows.assign(**{spec.data.label: rows[spec.data.label].mask(gone)})


def _strange_labels(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:
    changed = take.chosen(len(rows), share)
    if take.is_regression(spec):
        label = rows[spec.data.label].astype(float).mask(changed, np.inf)
    else:
        label = rows[spec.data.label].astype(object).mask(changed, "recoded by the source")
    return rows.assign(**{spec.data.label: label})


def _broken_join(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:
    return rows.assign(**{name: np.full(len(rows), np.nan) for name in take.some(spec.data.numeric, share)})


def _unit_change(rows: pd.DataFrame, spec: ReleaseSpec, decades: float) -> pd.DataFrame:
    factor = 10.0**decades
    return rows.assign(**{name: rows[name].astype(float) * factor for name in spec.data.numeric[:1]})


def _sentinel(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:
    name = spec.data.numeric[0]
    return rows.assign(**{name: rows[name].astype(float).mask(take.chosen(len(rows), share), _SENTINEL)})


def _recoded(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:
    names = take.some(spec.data.categorical, share)
    return rows.assign(**{name: "new-" + rows[name].astype("str") for name in names})


def _shifted(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:
    """Move every number towards the top of its range, never out of it: no range of an expectation can tell."""
    moved = {}
    for name in spec.data.numeric:
        values = rows[name].astype(float)
        moved[name] = values + share * (values.max() - values)
    return rows.assign(**moved)


FAULTS = (
    Fault(
        name="schema_break",
        story="columns the spec needs are gone from the landed file",
        by=(By("schema"),),
        entry=Landed(_schema_break),
        amount=0.5,
        unit="share of the features lost",
    ),
    Fault(
        name="text_for_numbers",
        story="a numeric column arrives as text",
        by=(By("schema"),),
        entry=Landed(_text_for_numbers),
        amount=1.0,
        unit="share of the numeric columns",
        needs=take.numbers,
    ),
    Fault(
        name="duplicate_rows",
        story="rows stand twice in the landed file",
        by=(By("schema"),),
        entry=Landed(_repeated),
        amount=0.2,
        unit="share of the rows repeated",
        needs=take.refused_duplicates,
    ),
    Fault(
        name="strange_labels",
        story="the source writes labels that are none of the classes, or infinite",
        by=(By("schema"),),
        entry=Landed(_strange_labels),
        amount=0.1,
        unit="share of the rows",
    ),
    Fault(
        name="stale_data",
        story="an old file lands after newer ones",
        by=(By("batch", ("batch_age",)),),
        entry=Landed(_stale),
        amount=200.0,
        unit="days too old",
    ),
    Fault(
        name="half_a_file",
        story="the landed file was cut off and holds a handful of rows",
        by=(By("batch", ("batch_rows",)),),
        entry=Landed(_few),
        amount=20.0,
        unit="rows left",
        verdicts=(Verdict.FAIL, Verdict.INCONCLUSIVE),
        grows=False,
    ),
    Fault(
        name="missing_labels",
        story="labels stopped arriving for most of the newest rows",
        by=(By("batch", ("unlabelled_share", "label_lag")),),
        entry=Landed(_unlabelled),
        amount=0.8,
        unit="share of the rows without a label",
    ),
    Fault(
        name="broken_join",
        story="a join broke upstream and numeric columns arrive empty",
        by=(_CHANGED, By("drift"), _TOLD_DATA),
        entry=Landed(_broken_join),
        amount=1.0,
        unit="share of the numeric columns empty",
        needs=take.numbers,
    ),
    Fault(
        name="unit_change",
        story="one column arrives in another unit",
        by=(_CHANGED, _TOLD_DATA, By("drift")),
        entry=Landed(_unit_change),
        amount=3.0,
        unit="powers of ten",
        needs=take.numbers,
    ),
    Fault(
        name="sentinel_values",
        story="a few missing numbers are written as -99999: too few to change the column's form",
        by=(_TOLD_DATA, _CHANGED),
        entry=Landed(_sentinel),
        amount=0.04,
        unit="share of the rows",
        needs=take.numbers,
    ),
    Fault(
        name="recoded_strings",
        story="the source writes its categories in another way",
        by=(_CHANGED, _TOLD_DATA, By("drift")),
        entry=Landed(_recoded),
        amount=1.0,
        unit="share of the categorical columns",
        needs=take.strings,
    ),
    Fault(
        name="shifted_world",
        story="every number is nearer to the top of its range than it ever was",
        by=(By("drift"),),
        entry=Landed(_shifted),
        amount=0.9,
        unit="share of the way to the top of its range",
        needs=take.numbers,
    ),
)
