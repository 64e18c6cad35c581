"""Plots of a rollout, for its page: how near each guardrail is to stopping it, who gets what, how far the plan is.

Each is a small PNG picture with a ground of its own, as an address that the page can hold; see `page_picture`.
None where there is nothing to draw. Times are seconds after the rollout's start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lockgate.adapters.page_picture import BAD, INK, MUTED, OURS, THEIRS, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

Points: TypeAlias = Sequence[tuple[float, float]]

_UNITS: Final = ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes"))
_LEAST: Final = -4.0  # decades below the line that are drawn: what is farther is as good as nothing
_MOST: Final = 2.0  # and above it
_DRAWN_POINTS: Final = 150  # a panel is 300 pixels wide
_SLICES: Final = 8
_PALETTE: Final = (OURS, THEIRS, "#5b7f1f", "#7a3e9d", "#946c00", "#1f6feb", MUTED)
_DASHES: Final = ("-", "--", "-.", ":")


def evidence_picture(evidence: Mapping[str, Points], thresholds: Mapping[str, float]) -> str | None:
    """Draw each guardrail's e-value against the one that stops the rollout.

    Args:
        evidence: By guardrail: time and log e-value; values that are NaN are left out.
        thresholds: By guardrail: the log e-value that stops.
    """
    lines = {
        name: [(at, _decades(log_e, thresholds[name])) for at, log_e in _thinned(points)]
        for name, points in evidence.items()
        if name in thresholds and any(not math.isnan(log_e) for _, log_e in points)
    }
    if not lines:
        return None

    def draw(axes: Axes) -> None:
        for index, (name, points) in enumerate(lines.items()):
            told = [(at, value) for at, value in points if not math.isnan(value)]
            color, dash = _PALETTE[index % len(_PALETTE)], _DASHES[index % len(_DASHES)]
            axes.plot(*zip(*told, strict=True), color=color, linestyle=dash, label=name)
            axes.plot(*told[-1], "o", color=BAD if told[-1][1] >= 0 else color, markersize=4)
        axes.axhline(0.0, color=BAD, linewidth=1.2)
        axes.annotate("stopped from here on", (0.99, 0.0), (0, 3), ("axes fraction", "data"), "offset points",
            ha="right", color=BAD, fontsize=8)  # fmt: skip
        lowest = min(value for points in lines.values() for _, value in points if not math.isnan(value))
        highest = max(value for points in lines.values() for _, value in points if not math.isnan(value))
        ticks = range(math.floor(min(lowest, -1.0)), math.ceil(max(highest, 0.5)) + 1)
        axes.set_yticks([float(each) for each in ticks], [_power(each) for each in ticks])
        axes.set(title="Evidence of harm, by guardrail", ylabel="e-value / the one that stops")
        axes.set_ylim(ticks[0], ticks[-1] + 0.15)
        _time_axis(axes, max(at for points in lines.values() for at, _ in points))
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncol=3, fontsize=8)

    return picture([draw])


def weight_picture(planned: Points, in_force: Points, *, until_s: float, shadow: Points = ()) -> str | None:
    """Draw the challenger's share over time: as the spec's steps plan it, and as it really was.

    Args:
        planned: Time and share of each step.
        in_force: Time and share of each change, as verified.
        until_s: Now, or the end.
        shadow: Time and share of requests that were copied, of each change.
    """
    if not planned and not shadow:
        return None

    def draw(axes: Axes) -> None:
        for points, color, dash, width, label in (
            (shadow, THEIRS, ":", 1.6, "copied (shadow)"),
            (planned, MUTED, "--", 1.2, "as planned"),
            (in_force, OURS, "-", 2.0, "in force"),
        ):
            if points:
                at, share = _staircase(points, until_s)
                axes.plot(at, share, color=color, linestyle=dash, linewidth=width, label=label)
        if in_force:
            at, share = _staircase(in_force, until_s)
            axes.fill_between(at, share, color=OURS, alpha=0.12, linewidth=0)
        axes.set(title="The challenger's share", ylabel="% of entities")
        axes.set_ylim(0, max(10.0, 108.0 * max(share for _, share in (*planned, *in_force, *shadow))))
        _time_axis(axes, until_s)
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncol=3, fontsize=8)

    return picture([draw])


def plan_picture(fractions: Sequence[float], upper: Sequence[float], seen: Points) -> str | None:
    """Draw the plan's statistic at its looks against the bound that promotes.

    Args:
        fractions: Information at each declared look over all of it.
        upper: The bound on z at each.
        seen: Information and z at each look so far.
    """
    if not fractions:
        return None

    def draw(axes: Axes) -> None:
        # an early bound may be at 5 or at 30; what is above 6 promotes nobody and would flatten the rest
        top = max([4.0, *(min(each, 6.0) for each in upper), *(min(z, 8.0) for _, z in seen if math.isfinite(z))])
        percent = [100.0 * each for each in fractions]
        axes.plot(percent, upper, color=INK, marker="_", markersize=10, linewidth=1.0, label="promoted from here on")
        axes.fill_between(percent, upper, top + 4.0, color=OURS, alpha=0.10, linewidth=0)
        told = [(100.0 * at, z) for at, z in seen if math.isfinite(z)]
        if told:
            axes.plot(*zip(*told, strict=True), color=OURS, marker="o", markersize=5, label="observed")
        axes.axhline(0.0, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(title="Not worse by the margin?", xlabel="% of the planned information", ylabel="z")
        axes.set_xlim(0, max([104.0, *(at + 4.0 for at, _ in told)]))
        axes.set_ylim(min([-1.0, *(max(z, -6.0) - 0.5 for _, z in told)]), top + 0.5)
        axes.legend(loc="lower right", fontsize=8)

    return picture([draw])


def latency_picture(quantiles_ms: Mapping[str, Mapping[str, float]]) -> str | None:
    """Draw latency quantiles side by side: by arm, then by the quantile's name, in milliseconds."""
    names = list(dict.fromkeys(name for by_name in quantiles_ms.values() for name in by_name))
    arms = [arm for arm, by_name in quantiles_ms.items() if by_name]
    if not names or not arms:
        return None

    def draw(axes: Axes) -> None:
        width = 0.8 / len(arms)
        for place, arm in enumerate(arms):
            at = [k + (place - (len(arms) - 1) / 2) * width for k in range(len(names))]
            heights = [quantiles_ms[arm].get(name, 0.0) for name in names]
            bars = axes.bar(at, heights, width * 0.92, color=OURS if arm == "challenger" else THEIRS, label=arm)
            axes.bar_label(bars, fmt="%.3g", fontsize=8, padding=1)
        axes.set_xticks(range(len(names)), names)
        axes.set(title="Latency by arm", ylabel="ms")
        axes.margins(y=0.18)
        axes.legend(loc="upper left", fontsize=8)
        axes.grid(visible=False, axis="x")

    return picture([draw])


def shadow_picture(agreement: float | None, flips: Sequence[tuple[str, float]]) -> str | None:
    """Draw on which slices shadow and champion decide differently.

    Args:
        agreement: Share of requests they agree on, 0 to 1; None where it is not known.
        flips: Slice and the share of its requests that they do not agree on, the costliest first.
    """
    if not flips:
        return None
    shown = list(flips)[:_SLICES]

    def draw(axes: Axes) -> None:
        places = range(len(shown) - 1, -1, -1)
        bars = axes.barh(list(places), [100.0 * share for _, share in shown], 0.7, color=OURS)
        axes.bar_label(bars, fmt="%.3g", fontsize=8, padding=2)
        axes.set_yticks(list(places), [name if len(name) <= 20 else f"{name[:19]}…" for name, _ in shown])
        whole = "" if agreement is None else f" ({agreement:.1%} agree)"
        axes.set(title=f"Flips by slice{whole}", xlabel="% of its requests")
        axes.margins(x=0.15)
        axes.set_ylim(len(shown) - 0.5 - max(len(shown), 4), len(shown) - 0.5)  # one bar is a bar, not a wall
        axes.grid(visible=False, axis="y")

    return picture([draw])


def _decades(log_e: float, threshold: float) -> float:
    """Return log10 of an e-value over the one that stops, within what is drawn."""
    return min(max((log_e - threshold) / math.log(10.0), _LEAST), _MOST) if not math.isnan(log_e) else math.nan


def _power(decade: int) -> str:
    mark = "<" if decade <= _LEAST else ">" if decade >= _MOST else ""
    return f"{mark}{10.0**decade:g}"


def _thinned(points: Points) -> Points:
    """Return at most so many points, the last one and the highest of each stretch among them."""
    size = math.ceil(len(points) / _DRAWN_POINTS)
    if size <= 1:
        return points
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    tops = [max(part, key=lambda each: each[1] if not math.isnan(each[1]) else -math.inf) for part in parts]
    return [*tops, points[-1]]


def _staircase(points: Points, until_s: float) -> tuple[list[float], list[float]]:
    """Return seconds and percent of a share that holds until it is changed."""
    at, share = [points[0][0]], [100.0 * points[0][1]]
    for time_s, value in points[1:]:
        at += [time_s] * 2
        share += [share[-1], 100.0 * value]
    return [*at, max(until_s, at[-1])], [*share, share[-1]]


def _time_axis(axes: Axes, until_s: float) -> None:
    """Tick the time since the start in the unit that a reader would say it in; data are in seconds."""
    size, unit = next(((size, unit) for size, unit in _UNITS if until_s >= 2.0 * size), (1.0, "seconds"))
    axes.xaxis.set_major_formatter(lambda at, _: f"{at / size:g}")
    axes.xaxis.set_major_locator(_locator(size))
    axes.set(xlabel=unit)
    axes.set_xlim(0.0, max(until_s, 1.0) * 1.01)


def _locator(size: float) -> Locator:
    """Return what puts ticks at round numbers of a unit of so many seconds."""
    from matplotlib.ticker import MaxNLocator

    class InUnits(MaxNLocator):
        def tick_values(self, vmin: float, vmax: float) -> Any:  # noqa: ANN401 - as its base
            return [each * size for each in super().tick_values(vmin / size, vmax / size)]

    return InUnits(nbins=7, steps=[1, 2, 5, 10])
