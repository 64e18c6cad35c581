"""Plots of a model that is watched: realised loss by day beside what is allowed, and the evidence against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from lockgate.adapters.page_picture import BAD, INK, MUTED, OURS, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Day: TypeAlias = Mapping[str, float]


def loss_picture(days: Sequence[Day], level: float) -> str | None:
    """Draw the last days' loss and the detector; None without a day.

    Args:
        days: Each with `loss`, `allowed` and `evidence`, oldest first.
        level: Where the evidence becomes an alarm.
    """
    if not days:
        return None
    at = list(range(1 - len(days), 1))

    def loss(axes: Axes) -> None:
        axes.plot(at, [day["loss"] for day in days], color=OURS, marker="o", markersize=3, label="realised")
        axes.plot(at, [day["allowed"] for day in days], color=BAD, linestyle="--", linewidth=1.2, label="allowed")
        axes.set(title="Loss a row, by day", xlabel="days before the newest with labels")
        axes.legend(fontsize=8)

    def evidence(axes: Axes) -> None:
        axes.plot(at, [max(day["evidence"], 1e-3) for day in days], color=INK)
        axes.axhline(level, color=BAD, linewidth=1.2)
        axes.annotate("alarm from here on", (0.99, level), (0, 3), ("axes fraction", "data"), "offset points",
                      ha="right", color=BAD, fontsize=8)  # fmt: skip
        axes.set(title="Evidence that it became worse", xlabel="days before the newest with labels", yscale="log")
        axes.grid(visible=True, color=MUTED, alpha=0.2)

    return picture([loss, evidence])
