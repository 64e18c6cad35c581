"""Plots for a stage's page in the Prefect UI: small PNG pictures, written into the page itself.

The page cannot load a picture from a file, and it is shown dark or light by the reader's choice: so a picture is a
`data:` address, and has a ground of its own. The dossier's plots, which follow the page's colours, are
`dossier_plots.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lockgate.adapters.page_picture import MUTED, OURS, THEIRS, Draw, picture
from lockgate.core.estimates import items, number, within
from lockgate.core.ids import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def evaluation_picture(evaluation: Json) -> str | None:
    """Draw what `evaluation.json` holds: ROC and calibration, or for a regression the errors; None without curves."""
    curves = within(evaluation, "curves")
    return picture([each for each in (_roc(curves), _calibration(curves), _errors(curves)) if each is not None])


def stress_picture(measured: Json) -> str | None:
    """Draw what the load test measured: median latency along the offered rate, and the tail at the target rate."""
    return picture([each for each in (_knee(measured), _tail(measured)) if each is not None])


def _roc(curves: Json) -> Draw | None:
    sides = [(side, within(within(curves, side), "roc")) for side in ("champion", "challenger")]
    lines = [
        (side if len(by_class) == 1 else str(name), side, _points(points))
        for side, by_class in sides
        if isinstance(by_class, Mapping)
        for name, points in by_class.items()
        if side == "challenger" or len(by_class) == 1
    ]
    if not any(points for _, _, points in lines):
        return None

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        several = len([side for _, side, _ in lines if side == "challenger"]) > 1
        for label, side, points in lines:
            color = None if several and side == "challenger" else _color(side)
            axes.plot(*zip(*points, strict=True), color=color, label=label, linestyle=_dash(side))
        axes.set(title="ROC: up and left is better", xlabel="false alarms", ylabel="caught")
        axes.legend(loc="lower right")

    return draw


def _calibration(curves: Json) -> Draw | None:
    sides = [
        (side, _read(within(within(curves, side), "reliability"), "answered", "happened", "low", "high"))
        for side in ("champion", "challenger")
    ]
    if not any(bins for _, bins in sides):
        return None

    def draw(axes: Axes) -> None:
        most = max(value for _, bins in sides for each in bins for value in (each[0], each[3]))
        axes.plot([0, most], [0, most], color=MUTED, linewidth=0.8, linestyle=":")
        for side, bins in sides:
            for answered, _, low, high in bins:
                axes.plot([answered, answered], [low, high], color=_color(side), linewidth=1.0, alpha=0.6)
            axes.plot([b[0] for b in bins], [b[1] for b in bins], "o", color=_color(side), markersize=4)
        axes.set(title="Calibration: on the line is right", xlabel="answered probability", ylabel="share that happened")

    return draw


def _errors(curves: Json) -> Draw | None:
    points = _read(within(within(within(curves, "challenger"), "residuals"), "along"), "answered", "p10", "p50", "p90")
    if not points:
        return None

    def draw(axes: Axes) -> None:
        x, p10, p50, p90 = (list(each) for each in zip(*points, strict=True))
        axes.fill_between(x, p10, p90, color=OURS, alpha=0.2, linewidth=0, label="8 of 10 rows")
        axes.plot(x, p50, color=OURS, marker="o", markersize=3, label="median")
        axes.axhline(0.0, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(title="Errors along the answer", xlabel="answered value", ylabel="error (answer - truth)")
        axes.legend(loc="upper left")

    return draw


def _knee(measured: Json) -> Draw | None:
    steps = _read(within(within(measured, "knee"), "steps"), "offered_rps", "p50_ms")
    target = number(within(within(measured, "plan"), "target_rps"))
    if len(steps) < 2 or target is None:
        return None

    def draw(axes: Axes) -> None:
        axes.plot(*zip(*steps, strict=True), color=OURS, marker="o", markersize=4)
        axes.axvline(target, color=MUTED, linewidth=0.8, linestyle=":", label="target rate")
        axes.set(title="Median latency along the rate", xlabel="offered, requests/s", ylabel="ms")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right")

    return draw


def _tail(measured: Json) -> Draw | None:
    names = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    sides = [
        (side, [number(within(within(within(measured, side), "steady"), name)) for name in names])
        for side in ("champion", "challenger")
    ]
    drawn = [(side, [each or 0.0 for each in values]) for side, values in sides if None not in values]
    if not drawn:
        return None

    def draw(axes: Axes) -> None:
        width = 0.8 / len(drawn)
        for at, (side, values) in enumerate(drawn):
            places = [k + (at - (len(drawn) - 1) / 2) * width for k in range(len(names))]
            bars = axes.bar(places, values, width * 0.92, color=_color(side), label=side)
            axes.bar_label(bars, fmt="%.1f", fontsize=8)
        axes.set_xticks(range(len(names)), [name.removesuffix("_ms") for name in names])
        axes.set(title="Latency at the target rate", ylabel="ms")
        axes.legend(loc="upper left")
        axes.grid(visible=False, axis="x")

    return draw


def _color(side: str) -> str:
    return OURS if side == "challenger" else THEIRS


def _dash(side: str) -> str:
    return "-" if side == "challenger" else "--"


def _points(given: Json) -> list[tuple[float, float]]:
    read = [
        (number(each[0]), number(each[1])) for each in items(given) if isinstance(each, Sequence) and len(each) == 2
    ]
    return [(x, y) for x, y in read if x is not None and y is not None]


def _read(given: Json, *names: str) -> list[tuple[float, ...]]:
    """Return the named numbers of each item; an item that lacks one is left out."""
    read = [tuple(number(within(each, name)) for name in names) for each in items(given)]
    return [tuple(value for value in each if value is not None) for each in read if None not in each]
