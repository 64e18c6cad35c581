"""The dossier's general drawings: a forest of intervals, bars side by side, and lines with bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockgate.adapters.dossier_svg import BAD, INK, MUTED, OURS, THEIRS, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 24
"""Ours: a forest or bar chart of more lines is not read."""
_FARTHEST = 1e12
"""Ours: a number so far out is a fault of what measured it, and an axis that reaches it shows nothing else."""
_NAME_LENGTH = 44  # characters beside an axis before the drawing is all names


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a drawing is called and how its axes are labelled.

    Attributes:
        name: Its id on the page.
        title: Its name for a reader who does not see it.
        description: What it shows, for the same reader.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
    """

    name: str
    title: str
    description: str
    x: str = ""
    y: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a forest.

    Attributes:
        name: Whose.
        low: Lower end of the interval.
        value: The estimate.
        high: Upper end.
        bad: Whether it breaks its bound.
    """

    name: str
    low: float
    value: float
    high: float
    bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line along an axis.

    Attributes:
        name: In the legend.
        points: x, y.
        band: x, low, high; empty: none.
        theirs: Drawn as the champion.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    theirs: bool = False


def forest(words: Words, lines: Sequence[Line], bound: float | None = None, origin: float = 0.0) -> str | None:
    """Draw estimates with intervals, one line each, the first on top; None without lines.

    Args:
        words: Its texts.
        lines: At most `MOST_LINES` of them are drawn.
        bound: What none may exceed; None: not drawn.
        origin: Where the dotted line of "no difference" stands.
    """
    known = [line for line in lines if _drawable(line.low, line.value, line.high)]
    shown = list(reversed(known[:MOST_LINES]))
    if not shown:
        return None

    def draw(axes: Axes) -> None:
        for at, line in enumerate(shown):
            color = BAD if line.bad else OURS
            axes.plot([line.low, line.high], [at, at], color=color, linewidth=1.4)
            axes.plot([line.value], [at], "D" if line.bad else "o", color=color, markersize=5)
        axes.axvline(origin, color=MUTED, linewidth=0.8, linestyle=":")
        if bound is not None and _drawable(bound):
            axes.axvline(bound, color=BAD, linewidth=1.0, linestyle="--")
            axes.annotate(
                "bound", (bound, len(shown) - 0.4), color=BAD, ha="center", va="bottom", annotation_clip=False
            )
        axes.set_yticks(range(len(shown)), [_short(line.name) for line in shown])
        axes.set(xlabel=words.x, ylim=(-0.6, len(shown) - 0.4))
        axes.grid(visible=False, axis="y")

    return svg(words.name, draw, (9.0, 1.1 + 0.27 * len(shown)), words.title, words.description)


def bars(
    words: Words,
    rows: Sequence[tuple[str, float]],
    beside: Sequence[float | None] = (),
    *,
    bound: float | None = None,
    names: tuple[str, str] = ("challenger", "champion"),
) -> str | None:
    """Draw horizontal bars, the first on top, and beside each a second one where there is one; None without rows.

    Args:
        words: Its texts.
        rows: Name and length; at most `MOST_LINES` of them are drawn.
        beside: The second bars, as many as rows; empty: none.
        bound: A line across; None: not drawn.
        names: Legend of the two, where there are two.
    """
    second = beside or [None] * len(rows)
    known = [(row, other) for row, other in zip(rows, second, strict=True) if _drawable(row[1], other or 0.0)]
    if not known:
        return None
    shown, pairs = [row for row, _ in known[:MOST_LINES]], [other for _, other in known[:MOST_LINES]]
    two = any(each is not None for each in pairs)

    def draw(axes: Axes) -> None:
        places = list(range(len(shown) - 1, -1, -1))
        height, lift = (0.38, 0.2) if two else (0.62, 0.0)
        axes.barh([at + lift for at in places], [value for _, value in shown], height, color=OURS, label=names[0])
        if two:
            lengths = [0.0 if each is None else each for each in pairs]
            axes.barh([at - lift for at in places], lengths, height, color=THEIRS, label=names[1])
            axes.legend(loc="lower right")
        if bound is not None:
            axes.axvline(bound, color=BAD, linewidth=1.0, linestyle="--")
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        axes.set_yticks(places, [_short(name) for name, _ in shown])
        axes.set(xlabel=words.x, ylim=(-0.7, len(shown) - 0.3))
        axes.grid(visible=False, axis="y")

    return svg(words.name, draw, (9.0, 1.1 + (0.34 if two else 0.26) * len(shown)), words.title, words.description)


def curves(
    words: Words, series: Sequence[Series], *, marked: tuple[float, str] | None = None, floor: float | None = None
) -> str | None:
    """Draw lines along one axis, each with its band; None without a point.

    Args:
        words: Its texts.
        series: What is drawn; one without points is left out.
        marked: Where a vertical line stands, and its legend; None: none.
        floor: Where the vertical axis begins; None: as the data has it.
    """
    shown = [each for each in series if each.points and _drawable(*(value for point in each.points for value in point))]
    if not shown:
        return None

    def draw(axes: Axes) -> None:
        for each in shown:
            color = THEIRS if each.theirs else OURS
            style = "--" if each.theirs else "-"
            if each.band and _drawable(*(value for point in each.band for value in point)):
                x, low, high = (list(column) for column in zip(*each.band, strict=True))
                axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
            x, y = (list(column) for column in zip(*each.points, strict=True))
            axes.plot(x, y, style, color=color, marker="s" if each.theirs else "o", markersize=4, label=each.name)
        if marked is not None and _drawable(marked[0]):
            axes.axvline(marked[0], color=INK, linewidth=0.9, linestyle=":", label=marked[1])
        axes.set(xlabel=words.x, ylabel=words.y)
        if floor is not None:
            axes.set_ylim(bottom=floor)
        if len(shown) > 1 or (marked is not None and _drawable(marked[0])):
            axes.legend(loc="best")

    return svg(words.name, draw, (9.0, 3.2), words.title, words.description)


def _drawable(*values: float) -> bool:
    return all(abs(value) <= _FARTHEST for value in values)


def _short(name: str) -> str:
    shown = "".join(each if each.isprintable() else " " for each in name)
    return shown if len(shown) <= _NAME_LENGTH else f"{shown[: _NAME_LENGTH - 1]}…"
