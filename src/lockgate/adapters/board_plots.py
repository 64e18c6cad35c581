"""The board's plots: curves over days as inline SVG that takes its colours from the page and its width from the screen.

Each is an outer drawing in pixels, for words, and an inner one that is stretched, for curves; so that words keep their
size on a phone. Drawn by hand and in whole steps, because ten models with a year of days must stay a small page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

from lockgate.core.board_course import Curve

HEIGHT: Final = 148
_TOP: Final = 16  # above it stand the names of releases
_FOOT: Final = 18  # below it stand the days
_GUTTER: Final = 40  # beside it stand the numbers
_ACROSS: Final = 1000  # steps of the inner drawing
_DOWN: Final = 200
_APART: Final = 7.0  # per cent of the width that a release's name needs on a phone
_FAR: Final = 3.0
"""A limit this many times above all values is only told: drawn, it would press the curves flat."""
_TICKS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve.

    Attributes:
        look: `ours`, `theirs` (dashed), `area` (filled) or `bad` (a bar a day).
        values: One a day; None leaves a gap.
    """

    look: str
    values: Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A release or rollback.

    Attributes:
        day: When.
        label: Two to four characters.
        back: Whether something was taken back.
    """

    day: date
    label: str
    back: bool


def plot(  # noqa: PLR0913 - a drawing has this many facts; those after the data are keywords
    days: Sequence[str], lines: Sequence[Line], flags: Sequence[Flag], *, title: str, limit: float | None, zero: bool
) -> str:
    """Return a drawing; empty where no line has a value.

    Args:
        days: `YYYY-MM-DD`, one after the other.
        lines: As long as `days` each.
        flags: Drawn as vertical lines.
        title: What it shows, for who cannot see it.
        limit: Drawn as a horizontal line, where it is near.
        zero: Whether the scale begins at 0.
    """
    known = [value for line in lines for value in line.values if value is not None]
    if not known:
        return ""
    limit = limit if limit is not None and limit <= _FAR * max(known) else None
    low, high = _scale([*known, *([limit] if limit is not None else [])], zero=zero)
    inner = "".join(_path(line, low, high) for line in lines)
    if limit is not None:
        inner = f'<path class="limit" d="M0 {_y(limit, low, high)}h{_ACROSS}"/>{inner}'
    plane = HEIGHT - _TOP - _FOOT
    (lines_across, numbers), (flown, names) = _grid(low, high, plane), _flags(days, flags)
    return (
        f'<svg class="plot scale" aria-hidden="true" width="{_GUTTER}" height="{HEIGHT}">{numbers}</svg>'
        f'<svg class="plot" role="img" width="100%" height="{HEIGHT}"><title>{html.escape(title)}</title>'
        f"{lines_across}{_months(days)}"
        f'<svg y="{_TOP}" width="100%" height="{plane}" viewBox="0 0 {_ACROSS} {_DOWN}" preserveAspectRatio="none">'
        f"{flown}{inner}</svg>{names}</svg>"
    )


def _scale(values: Sequence[float], *, zero: bool) -> tuple[float, float]:
    low, high = (0.0 if zero else min(values)), max(values)
    if high <= low:
        return (low, low + 1.0) if zero else (low - 0.5 * abs(low or 1.0), low + 0.5 * abs(low or 1.0))
    room = 0.06 * (high - low)
    return (low if zero else low - room), high + room


def _y(value: float, low: float, high: float) -> int:
    return round(_DOWN * (1.0 - (value - low) / (high - low)))


def _x(at: int, n: int) -> int:
    return round(_ACROSS * (at + 0.5) / n)


def _path(line: Line, low: float, high: float) -> str:
    n = len(line.values)
    if line.look == "bad":
        bars = [(_x(at, n), value) for at, value in enumerate(line.values) if value]
        drawn = "".join(f"M{x} {_DOWN}V{min(_y(value, low, high), _DOWN - 6)}" for x, value in bars)
        return f'<path class="bad" d="{drawn}"/>' if drawn else ""
    if line.look == "area":
        return "".join(f'<path class="area" d="{_run(run, floor=True)}"/>' for run in _runs(line.values, low, high))
    drawn = "".join(_run(run, floor=False) for run in _runs(line.values, low, high))
    return f'<path class="{line.look}" d="{drawn}"/>'


def _runs(values: Curve, low: float, high: float) -> Iterable[list[tuple[int, int]]]:
    """Yield the stretches without a gap, as points."""
    run: list[tuple[int, int]] = []
    for at, value in enumerate(values):
        if value is not None:
            run.append((_x(at, len(values)), _y(value, low, high)))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _run(points: Sequence[tuple[int, int]], *, floor: bool) -> str:
    """Return one stretch as a path, each point relative to the one before; a lone point is a dash."""
    (x, y), *_ = points
    steps = "".join(f"{x2 - x1} {y2 - y1} " for (x1, y1), (x2, y2) in pairwise(points)).replace(" -", "-").rstrip()
    drawn = f"l{steps}" if steps else "h3"
    return f"M{x} {_DOWN}V{y}{drawn}V{_DOWN}z" if floor else f"M{x} {y}{drawn}"


def _grid(low: float, high: float, plane: int) -> tuple[str, str]:
    """Return the lines of round values, and their numbers for the drawing beside it."""
    places = [(value, _TOP + plane * (1.0 - (value - low) / (high - low))) for value in _ticks(low, high)]
    lines = "".join(f'<line class="grid" x1="0" x2="100%" y1="{y:.0f}" y2="{y:.0f}"/>' for _, y in places)
    numbers = "".join(f'<text class="end" x="{_GUTTER - 6}" y="{y + 4:.0f}">{_short(value)}</text>'
                      for value, y in places)  # fmt: skip
    return lines, numbers


def _short(value: float) -> str:
    """Return a number of at most five characters.

    >>> _short(0.14), _short(20_000.0), _short(1.5e6)
    ('0.14', '20k', '1.5M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / min(size, 1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


def _ticks(low: float, high: float) -> list[float]:
    """Return two or three round values within a scale."""
    rough = (high - low) / 2.5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next((size * each for each in (1.0, 2.0, 5.0, 10.0) if size * each >= rough), rough)
    first = math.ceil(low / step)
    found = [step * at for at in range(first, first + 4) if step * at <= high]
    return [float(f"{each:.6g}") for each in found]


def _months(days: Sequence[str]) -> str:
    """Return a few days under the plot: firsts of months where there are several, else the first and the last."""
    n = len(days)
    firsts = [(at, date.fromisoformat(day)) for at, day in enumerate(days) if day.endswith("-01")]
    if len(firsts) < 3:
        ends = [("0", "start", days[0]), *([("100%", "end", days[-1])] if n > 1 else [])]
        return "".join(f'<text class="day {side}" x="{x}" y="{HEIGHT - 4}">{day}</text>' for x, side, day in ends)
    kept = [each for each in firsts if 0.02 * n < each[0] < 0.94 * n][:: math.ceil(len(firsts) / _TICKS)]
    return "".join(
        f'<text class="day" x="{100 * (at + 0.5) / n:.1f}%" y="{HEIGHT - 4}">{day:%b}{_year(day)}</text>'
        for at, day in kept
    )


def _year(day: date) -> str:
    return f" {day:%Y}" if day.month == 1 else ""


def _flags(days: Sequence[str], flags: Sequence[Flag]) -> tuple[str, str]:
    """Return the lines, for the drawing that is stretched, and the names above them, those that have room.

    Of several on one day, the last that was taken back is named; where none was, the last.
    """
    first, n = date.fromisoformat(days[0]).toordinal(), len(days)
    lines: dict[str, list[str]] = {"flag": [], "flag back": []}
    chosen: dict[int, Flag] = {}
    for flag in flags:
        at = flag.day.toordinal() - first
        if 0 <= at < n:
            lines["flag back" if flag.back else "flag"].append(f"M{_x(at, n)} 0v{_DOWN}")
            if flag.back or at not in chosen or not chosen[at].back:
                chosen[at] = flag
    names, named = [], -math.inf
    for at, flag in chosen.items():
        look, x = "flag back" if flag.back else "flag", 100.0 * (at + 0.5) / n
        if x - named >= _APART:
            named = x
            side = " end" if x > 100.0 - _APART else " start" if x < _APART else ""
            names.append(f'<text class="{look}{side}" x="{x:.1f}%" y="11">{html.escape(flag.label)}</text>')
    drawn = "".join(f'<path class="{look}" d="{"".join(each)}"/>' for look, each in lines.items() if each)
    return drawn, "".join(names)
