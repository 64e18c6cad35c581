"""The dossier's plots of what was answered: ROC and calibration, errors of a regression, slices as a forest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lockgate.adapters.dossier_svg import MUTED, OURS, THEIRS, numbers, points, svg
from lockgate.core.estimates import number, within
from lockgate.core.ids import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def roc_plot(curves: Json) -> str | None:
    """Draw the ROC curves of challenger and champion; for several classes, the challenger's of each class."""
    ours, theirs = within(within(curves, "challenger"), "roc"), within(within(curves, "champion"), "roc")
    if not isinstance(ours, Mapping) or not any(ours.values()):
        return None

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        if len(ours) == 1 and isinstance(theirs, Mapping):
            for curve in theirs.values():
                axes.plot(*points(curve), color=THEIRS, linestyle="--", label="champion")
        for name, curve in ours.items():
            label = "challenger" if len(ours) == 1 else name
            axes.plot(*points(curve), color=OURS, label=label, alpha=1.0 if len(ours) == 1 else 0.8)
        axes.set(
            xlim=(0, 1), ylim=(0, 1.005), xlabel="false alarms, share of negatives", ylabel="caught, share of positives"
        )
        axes.legend(loc="lower right")

    return svg("roc", draw, (4.4, 3.9), "ROC curve", "Share caught against share of false alarms, at every threshold.")


def reliability_plot(curves: Json) -> str | None:
    """Draw what happened against what was answered, with intervals, and both models where there are two."""
    sides = [(side, within(within(curves, side), "reliability")) for side in ("champion", "challenger")]
    drawn = [(side, bins) for side, bins in sides if isinstance(bins, Sequence) and bins]
    if not drawn:
        return None

    def draw(axes: Axes) -> None:
        most = 0.05
        for side, bins in drawn:
            read = [numbers(each, "answered", "happened", "low", "high") for each in bins]
            kept = [each for each in read if each is not None]
            color, mark = (OURS, "o") if side == "challenger" else (THEIRS, "s")
            for answered, _, low, high in kept:
                axes.plot([answered, answered], [low, high], color=color, linewidth=1.0, alpha=0.7)
            axes.plot([p[0] for p in kept], [p[1] for p in kept], mark, color=color, markersize=4.5, label=side)
            most = max([most, *(value for p in kept for value in (p[0], p[3]))])
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        limit = min(1.0, most * 1.06)
        axes.set(xlim=(0, limit), ylim=(0, limit), xlabel="answered probability", ylabel="share that happened")
        axes.legend(loc="upper left")

    title = "Calibration"
    return svg(
        "calibration", draw, (4.4, 3.9), title, "Points on the dotted line: probabilities can be taken at their word."
    )


def residual_plot(curves: Json) -> str | None:
    """Draw the error along the answered value: median and the middle four fifths."""
    along = within(within(within(curves, "challenger"), "residuals"), "along")
    if not isinstance(along, Sequence) or not along:
        return None
    read = [each for each in (numbers(bin_, "answered", "p10", "p50", "p90") for bin_ in along) if each is not None]
    if not read:
        return None

    def draw(axes: Axes) -> None:
        x, p10, p50, p90 = (list(each) for each in zip(*read, strict=True))
        axes.fill_between(x, p10, p90, color=OURS, alpha=0.22, linewidth=0, label="8 of 10 rows")
        axes.plot(x, p50, color=OURS, marker="o", markersize=3.5, label="median")
        axes.axhline(0.0, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(xlabel="answered value", ylabel="error (answer - truth)")
        axes.legend(loc="upper left")

    return svg(
        "residuals", draw, (4.4, 3.9), "Errors along the answer", "Median error, and the band that holds 8 of 10."
    )


def residual_histogram(curves: Json) -> str | None:
    """Draw how errors are spread, over their central 98 %."""
    given = within(within(within(curves, "challenger"), "residuals"), "histogram")
    low, high, counts = number(within(given, "low")), number(within(given, "high")), within(given, "counts")
    if low is None or high is None or not isinstance(counts, Sequence) or not counts:
        return None
    heights = [number(each) or 0.0 for each in counts]

    def draw(axes: Axes) -> None:
        width = (high - low) / len(heights)
        axes.bar([low + width * (k + 0.5) for k in range(len(heights))], heights, width * 0.92, color=OURS)
        axes.axvline(0.0, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(xlabel="error (answer - truth)", ylabel="rows")

    return svg("errors", draw, (4.4, 3.9), "Spread of errors", "How many rows were off by how much.")
