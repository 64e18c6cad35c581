"""The result of a replay in words: what a terminal and the report tell alike, from the result's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lockgate.core.estimates import items, number, within
from lockgate.core.ids import Json
from lockgate.core.learning.triggers import STARTERS, TriggerKind, kind_of
from lockgate.core.replay_comparison import CURVES, SERVED

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

    >>> figure(0.70123), figure(-0.00001), figure(None)
    ('0.7012', '0.0000', '-')
    """
    read = number(value)
    return "-" if read is None else f"{round(read, 4) + 0.0:.4f}"  # + 0.0 turns a negative zero


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


def aim_rows(policy: Mapping[str, Json]) -> list[tuple[str, str, str]]:
    """Return a row an aim: what is wanted, whether it was reached, and the figures."""
    return [(str(at(each, "aim")), str(at(each, "held")), str(at(each, "told"))) for each in items(policy.get("aims"))]


def alike_sentences(policy: Mapping[str, Json]) -> list[str]:
    """Return a sentence for each group of curves that took the same fit in every month; see `replay_comparison`."""
    groups = [[str(each) for each in items(group)] for group in items(policy.get("alike"))]
    return [f"{' and '.join(group)} took the same fit in every month: one line stands for them" for group in groups]


def cost_rows(policy: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Return what a policy cost, a row a kind: what, and how much."""
    cost = policy.get("cost")
    aside, asked, answered = (
        number(at(cost, *path)) or 0.0 for path in (("fits_aside",), ("requests", "asked"), ("requests", "answered"))
    )
    people, each = number(at(cost, "approvals", "people")), number(at(cost, "approvals", "people_each"))
    beside = f"; {aside:.0f} more were made aside for the monthly curve" if aside else ""
    decided = f"{people or 0.0:.0f} by people ({each or 0.0:.0f} a release, as the spec says; nobody was asked here)"
    turns = ", ".join(
        f"{curve} {at(cost, 'takeovers', curve)}" for curve in CURVES if at(cost, "takeovers", curve) is not None
    )
    return [
        ("fits", f"{number(at(cost, 'fits')) or 0.0:.0f}{beside}"),
        ("releases approved", f"{at(cost, 'approvals', 'releases')}; {decided}"),
        ("takeovers of production", turns),
        ("requests without an answer", f"{asked - answered:,.0f} of {asked:,.0f}"),
        ("machine, all releases", f"{number(at(cost, 'total_s')) or 0.0:,.0f} s"),
    ]


def stage_rows(policy: Mapping[str, Json]) -> list[tuple[str, str, str]]:
    """Return a row a stage: its name, its seconds over all releases, and its share of them."""
    spent = at(policy, "cost", "stages_s")
    told = {name: number(each) or 0.0 for name, each in spent.items()} if isinstance(spent, Mapping) else {}
    total = sum(told.values()) or 1.0
    return [(name.replace("_", " "), f"{value:,.0f} s", f"{100 * value / total:.0f} %") for name, value in told.items()]


def month_rows(policy: Mapping[str, Json]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return a table with a row a month: who served, how well, and what came of its data."""
    measure = measures_of(policy)[0]
    head = ("month", "served", *(f"{NAMES[measure]} {curve}" for curve in CURVES), "its data", "why", "alarm")
    rows = []
    judged = zip(items(policy.get("months")), items(policy.get("by_month")), strict=True)
    alarms = items(at(policy, "alarms", "months"))
    for (month, scores), alarm in zip(judged, alarms, strict=True):
        curves = [figure(at(scores, "curves", curve, measure)) for curve in CURVES]
        told = _came_of(within(month, "ended"))
        kind = _ALARMS.get(str(within(alarm, "kind")), "")
        rows.append((str(within(month, "month")), str(within(month, "champion")), *curves, *told, kind))
        rows += [_by_harm(month, each) for each in items(within(month, "harm"))]
    return head, rows


def _by_harm(month: Json, ended: Json) -> tuple[str, ...]:
    """Return the row of a release that harm started in a month, before its data landed."""
    came, why = _came_of(ended)
    told = " - ".join(each for each in (why, str(within(ended, "why"))) if each)
    return (f"{within(month, 'month')}, by harm", "", *("" for _ in CURVES), came, told, "")


def failed_fits(policy: Mapping[str, Json]) -> list[str]:
    """Return a sentence a month of whose data no fit could be made aside."""
    return [
        f"no fit of {within(each, 'month')}'s data for the monthly curve, which keeps {within(each, 'monthly')}: {why}"
        for each in items(policy.get("months"))
        if (why := within(each, "monthly_failed"))
    ]


def _came_of(ended: Json) -> tuple[str, str]:
    release = within(ended, "release")
    if release is None:
        return "held back", str(within(ended, "why"))
    gate = within(ended, "gate")
    by = f" by {gate}" if gate else ""
    came = f"{release} {str(within(ended, 'outcome')).replace('_', ' ')}{by}"
    if kind_of(str(within(ended, "why")), STARTERS[TriggerKind.DEGRADATION]) is TriggerKind.DEGRADATION:
        came += ", started by harm"
    return came, str(within(ended, "reason"))


def means_rows(policy: Mapping[str, Json]) -> list[tuple[str, ...]]:
    """Return a row a curve: its mean of every measure, and by how much what served was better."""
    rows = []
    for curve in CURVES:
        means = [spread(at(policy, "means", curve, each)) for each in measures_of(policy)]
        gained = [at(policy, "gained_over", curve, each) for each in measures_of(policy)]
        rows.append((curve, *means, *("" if each is None else spread(each) for each in gained)))
    return rows
