"""The picture of windows compared: what each gains over the spec's own, and month by month."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lockgate.adapters.page_picture import BAD, MUTED, OURS, picture
from lockgate.core.estimates import items, number, read_estimate, within
from lockgate.core.ids import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (OURS, "#a35a00", "#5b3f8c", "#2f7d3b", BAD, MUTED)


def windows_picture(report: Mapping[str, Json]) -> str | None:
    """Draw a report of `stages.window_choice`; None where no window was held against another.

    Returns:
        The address of a PNG.
    """
    listed = items(report.get("windows"))
    gains = [(str(within(each, "name")), _ends(within(each, "gain"))) for each in listed[1:]]
    known = [(name, ends) for name, ends in gains if ends is not None]
    if not known:
        return None
    metric = next(iter(dict(report["metrics"]))) if isinstance(report.get("metrics"), Mapping) else "loss"  # type: ignore[arg-type]
    own = str(within(listed[0], "name"))

    def forest(axes: Axes) -> None:
        for at, (name, (low, value, high)) in enumerate(known):
            axes.plot([low, high], [at, at], color=_colour(at))
            axes.plot([value], [at], "o", color=_colour(at), markersize=5)
            axes.annotate(name, (value, at), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        axes.axvline(0.0, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set_yticks([])
        axes.set_ylim(-0.6, len(known) - 0.2)
        axes.set(title=f"Gain over {own}, right is better", xlabel=f"{metric} a row")

    def course(axes: Axes) -> None:
        months = items(report.get("periods"))
        days = [str(within(each, "since"))[2:] for each in months]
        for at, (name, _) in enumerate(known):
            gained = [_gained(each, own, name, metric) for each in months]
            axes.plot(range(len(days)), gained, color=_colour(at), marker="o", markersize=3, label=name)
        axes.axhline(0.0, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set_xticks(range(len(days)), days, rotation=60, fontsize=7)
        axes.set(title="The same, period by period")
        axes.legend(fontsize=7)

    return picture([forest, course])


def _ends(gain: Json) -> tuple[float, float, float] | None:
    """Return the gain between the lower of both intervals' lower ends and the higher of their upper ends."""
    found = [read_estimate(within(gain, by)) for by in ("by_block", "by_period")]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    return min(each["low"] for each in known), known[0]["estimate"], max(each["high"] for each in known)


def _gained(month: Json, own: str, name: str, metric: str) -> float:
    ours, theirs = (
        number(within(within(within(within(month, "windows"), each), "metrics"), metric)) for each in (own, name)
    )
    return float("nan") if ours is None or theirs is None else ours - theirs


def _colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]
