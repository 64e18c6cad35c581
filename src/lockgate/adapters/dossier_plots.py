"""The dossier's plots: matplotlib drawings as SVG text that takes its colours and fonts from the page.

Colours are drawn as sentinels and replaced by CSS variables, so that one drawing serves light and dark. Nothing in the
text depends on the time, the process or the machine: ids are salted by the plot's name, and no metadata is written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lockgate.core.estimates import number, within
from lockgate.core.ids import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _GRID, _OURS, _THEIRS, _BAD = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    _OURS: "var(--ours)",
    _THEIRS: "var(--theirs)",
    _BAD: "var(--fail)",
}
_STYLE: dict[str, Any] = {
    "text.parse_math": False,  # a slice may be called "$"
    "svg.fonttype": "none",  # text stays text: readable aloud, searchable, in the page's font
    "font.size": 10.0,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "text.color": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
Size = tuple[float, float]


def roc_plot(curves: Json) -> str | None:
    """Draw the ROC curves of challenger and champion; for several classes, the challenger's of each class."""
    ours, theirs = within(within(curves, "challenger"), "roc"), within(within(curves, "champion"), "roc")
    if not isinstance(ours, Mapping) or not any(ours.values()):
        return None

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.8, linestyle=":")
        if len(ours) == 1 and isinstance(theirs, Mapping):
            for points in theirs.values():
                axes.plot(*_xy(points), color=_THEIRS, linestyle="--", label="champion")
        for name, points in ours.items():
            label = "challenger" if len(ours) == 1 else name
            axes.plot(*_xy(points), color=_OURS, label=label, alpha=1.0 if len(ours) == 1 else 0.8)
        axes.set(
            xlim=(0, 1), ylim=(0, 1.005), xlabel="false alarms, share of negatives", ylabel="caught, share of positives"
        )
        axes.legend(loc="lower right")

    return _svg("roc", draw, (4.4, 3.9), "ROC curve", "Share caught against share of false alarms, at every threshold.")


def reliability_plot(curves: Json) -> str | None:
    """Draw what happened against what was answered, with intervals, and both models where there are two."""
    sides = [(side, within(within(curves, side), "reliability")) for side in ("champion", "challenger")]
    drawn = [(side, bins) for side, bins in sides if isinstance(bins, Sequence) and bins]
    if not drawn:
        return None

    def draw(axes: Axes) -> None:
        most = 0.05
        for side, bins in drawn:
            points = [_numbers(each, "answered", "happened", "low", "high") for each in bins]
            kept = [each for each in points if each is not None]
            color, mark = (_OURS, "o") if side == "challenger" else (_THEIRS, "s")
            for answered, _, low, high in kept:
                axes.plot([answered, answered], [low, high], color=color, linewidth=1.0, alpha=0.7)
            axes.plot([p[0] for p in kept], [p[1] for p in kept], mark, color=color, markersize=4.5, label=side)
            most = max([most, *(value for p in kept for value in (p[0], p[3]))])
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.8, linestyle=":")
        limit = min(1.0, most * 1.06)
        axes.set(xlim=(0, limit), ylim=(0, limit), xlabel="answered probability", ylabel="share that happened")
        axes.legend(loc="upper left")

    title = "Calibration"
    return _svg(
        "calibration", draw, (4.4, 3.9), title, "Points on the dotted line: probabilities can be taken at their word."
    )


def residual_plot(curves: Json) -> str | None:
    """Draw the error along the answered value: median and the middle four fifths."""
    along = within(within(within(curves, "challenger"), "residuals"), "along")
    if not isinstance(along, Sequence) or not along:
        return None
    points = [each for each in (_numbers(bin_, "answered", "p10", "p50", "p90") for bin_ in along) if each is not None]

    def draw(axes: Axes) -> None:
        x, p10, p50, p90 = (list(each) for each in zip(*points, strict=True))
        axes.fill_between(x, p10, p90, color=_OURS, alpha=0.22, linewidth=0, label="8 of 10 rows")
        axes.plot(x, p50, color=_OURS, marker="o", markersize=3.5, label="median")
        axes.axhline(0.0, color=_MUTED, linewidth=0.8, linestyle=":")
        axes.set(xlabel="answered value", ylabel="error (answer - truth)")
        axes.legend(loc="upper left")

    return _svg(
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
        axes.bar([low + width * (k + 0.5) for k in range(len(heights))], heights, width * 0.92, color=_OURS)
        axes.axvline(0.0, color=_MUTED, linewidth=0.8, linestyle=":")
        axes.set(xlabel="error (answer - truth)", ylabel="rows")

    return _svg("errors", draw, (4.4, 3.9), "Spread of errors", "How many rows were off by how much.")


def slice_plot(rows: Sequence[Mapping[str, Json]], unit: str, bound: float | None) -> str | None:
    """Draw slices as a forest plot: excess loss with its interval, one line a slice, worst on top.

    Args:
        rows: Each `slice`, `excess` (estimate, low, high), `bad`.
        unit: Of the excess.
        bound: The most excess allowed; None: not drawn.
    """
    read = [
        (str(each["slice"]), _numbers(each.get("excess"), "low", "estimate", "high"), each.get("bad")) for each in rows
    ]
    points = [(name, each, bad) for name, each, bad in read if each is not None]
    if not points:
        return None

    def draw(axes: Axes) -> None:
        for at, (_, (low, value, high), bad) in enumerate(reversed(points)):
            color = _BAD if bad else _OURS
            axes.plot([low, high], [at, at], color=color, linewidth=1.4)
            axes.plot([value], [at], "D" if bad else "o", color=color, markersize=5)
        axes.axvline(0.0, color=_MUTED, linewidth=0.8, linestyle=":")
        if bound is not None:
            axes.axvline(bound, color=_BAD, linewidth=1.0, linestyle="--")
            axes.annotate(
                "bound", (bound, len(points) - 0.4), color=_BAD, ha="center", va="bottom", annotation_clip=False
            )
        axes.set_yticks(range(len(points)), [name for name, _, _ in reversed(points)])
        named = "excess loss" if unit == "1" else f"excess loss, {unit}"
        axes.set(xlabel=f"{named} (left is better)", ylim=(-0.6, len(points) - 0.4))
        axes.grid(visible=False, axis="y")

    height = 1.1 + 0.27 * len(points)
    return _svg("slices", draw, (9.0, height), "Slices", "Excess loss of each slice, with its interval.")


def _xy(points: Json) -> tuple[list[float], list[float]]:
    pairs = points if isinstance(points, Sequence) and not isinstance(points, str) else []
    read = [
        (float(x), float(y))
        for pair in pairs
        if isinstance(pair, Sequence) and len(pair) == 2
        for x, y in [(number(pair[0]), number(pair[1]))]
        if x is not None and y is not None
    ]
    return [x for x, _ in read], [y for _, y in read]


def _numbers(given: Json, *names: str) -> tuple[float, ...] | None:
    found = [number(within(given, name)) for name in names]
    kept = tuple(each for each in found if each is not None)
    return kept if len(kept) == len(names) else None


def _svg(name: str, draw: Callable[[Axes], None], size: Size, title: str, description: str) -> str:
    """Run one drawing and return it as an SVG element for the page."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "svg.hashsalt": name}  # the stubs want each key as a literal
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.patch.set_visible(False)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata=_NO_METADATA)
    return _for_page(out.getvalue(), name, title, description)


def _for_page(svg: str, name: str, title: str, description: str) -> str:
    """Make matplotlib's file an element of the page: named, labelled, coloured by it, and without outside names."""
    body = svg[svg.index("<svg") :]
    opening, rest = body.split(">", 1)
    box = re.search(r'viewBox="([^"]+)"', opening)
    view = box.group(1) if box else "0 0 320 280"
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    rest = re.sub(r'\bid="', f'id="{name}-', rest)
    rest = re.sub(r"url\(#", f"url(#{name}-", rest)
    rest = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', rest)
    rest = re.sub(r"<style.*?</style>", "", rest, count=1, flags=re.DOTALL)  # it would style the whole page
    rest = re.sub(r" font-family: [^;\"]+;", "", rest)
    for sentinel, variable in _VARIABLES.items():
        rest = rest.replace(sentinel, variable)
    label = f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>'
    head = f'<svg viewBox="{view}" role="img" aria-labelledby="{name}-title {name}-desc" class="plot plot-{name}">'
    return head + label + rest.strip()
