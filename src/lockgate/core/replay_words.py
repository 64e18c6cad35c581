"""The result of a replay in words: what a terminal and the report tell alike, from the result's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lockgate.core.estimates import items, number, within
from lockgate.core.ids import Json
from lockgate.core.replay_comparison import ALWAYS, NEVER, ORACLE, SERVED

CURVES: Final = (SERVED, NEVER, ALWAYS, ORACLE)
NAMES: Final[Mapping[str, str]] = {
    "auc": "AUC",
    "macro_auc": "macro AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "rmse": "RMSE",
    "mae": "mean absolute error",
}
_ALARMS: Final[Mapping[str, str]] = {
    "true": "true",
    "false": "false",
    "missed": "missed",
    "quiet": "none, rightly",
    "not_monitored": "not monitored",
    "unknown": "nothing to hold it against",
}


def at(given: Json, *path: str) -> Json:
    """Return what stands at a path of names; None where there is nothing."""
    for name in path:
        given = within(given, name)
    return given


def figure(value: Json) -> str:
    """Return a number to four digits after the point; a dash where there is none.

    >>> figure(0.70123), figure(None)
    ('0.7012', '-')
    """
    read = number(value)
    return "-" if read is None else f"{read:.4f}"


def spread(estimate: Json) -> str:
    """Return an estimate with its interval.

    >>> spread({"estimate": 0.01, "low": -0.02, "high": 0.04})
    '0.0100 (-0.0200 to 0.0400)'
    """
    value, low, high = (figure(within(estimate, name)) for name in ("estimate", "low", "high"))
    return f"{value} ({low} to {high})"


def measures_of(policy: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the measures of a policy's result, the headline first."""
    return tuple(str(each) for each in items(policy.get("measures")))


def headline(policy: Mapping[str, Json]) -> str:
    """Return one sentence on what a policy was worth."""
    measure = measures_of(policy)[0]
    means = {curve: figure(at(policy, "means", curve, measure, "estimate")) for curve in CURVES}
    opened, promoted = at(policy, "releases", "opened"), at(policy, "releases", "outcomes", "promoted") or 0
    beside = ", ".join(f"{curve} {means[curve]}" for curve in CURVES[1:])
    return (
        f"mean {NAMES[measure]} of what served {means[SERVED]} ({beside}); {opened} releases, {promoted} promoted, "
        f"{len(worse(policy))} worse than the champion they replaced"
    )


def worse(policy: Mapping[str, Json]) -> list[str]:
    """Return the releases that were worse than the champion they replaced, at the bound of the interval."""
    taken = [each for each in items(policy.get("takeovers")) if isinstance(each, Mapping)]
    return [f"{each['release']} ({', '.join(map(str, items(each['worse'])))})" for each in taken if each.get("worse")]


def month_rows(policy: Mapping[str, Json]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return a table with a row a month: who served, how well, and what came of its data."""
    measure = measures_of(policy)[0]
    head = ("month", "served", *(f"{NAMES[measure]} {curve}" for curve in CURVES), "its data", "why", "alarm")
    rows = []
    judged = zip(items(policy.get("months")), items(policy.get("by_month")), strict=True)
    alarms = items(at(policy, "alarms", "months"))
    for (month, scores), alarm in zip(judged, alarms, strict=True):
        curves = [figure(at(scores, "curves", curve, measure)) for curve in CURVES]
        told = _came_of(month)
        kind = _ALARMS.get(str(within(alarm, "kind")), "")
        rows.append((str(within(month, "month")), str(within(month, "champion")), *curves, *told, kind))
    return head, rows


def _came_of(month: Json) -> tuple[str, str]:
    ended = within(month, "ended")
    release = within(ended, "release")
    if release is None:
        return "held back", str(within(ended, "why"))
    gate = within(ended, "gate")
    by = f" by {gate}" if gate else ""
    return f"{release} {str(within(ended, 'outcome')).replace('_', ' ')}{by}", str(within(ended, "reason"))


def means_rows(policy: Mapping[str, Json]) -> list[tuple[str, ...]]:
    """Return a row a curve: its mean of every measure, and by how much what served was better."""
    rows = []
    for curve in CURVES:
        means = [spread(at(policy, "means", curve, each)) for each in measures_of(policy)]
        gained = [at(policy, "gained_over", curve, each) for each in measures_of(policy)]
        rows.append((curve, *means, *("" if each is None else spread(each) for each in gained)))
    return rows
