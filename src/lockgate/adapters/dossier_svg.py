"""Drawings of the dossier: matplotlib figures as SVG text that takes its colours and fonts from the page.

Colours are drawn as sentinels and replaced by CSS variables, so that one drawing serves light and dark. Nothing in the
text depends on the time, the process or the machine: ids are salted by the plot's name, and no metadata is written.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lockgate.core.estimates import items, number, within
from lockgate.core.ids import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, OURS, THEIRS, BAD = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    OURS: "var(--ours)",
    THEIRS: "var(--theirs)",
    BAD: "var(--fail)",
}
_STYLE: dict[str, Any] = {
    "text.parse_math": False,  # a slice may be called "$"
    "svg.fonttype": "none",  # text stays text: readable aloud, searchable, in the page's font
    "font.size": 10.0,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
Size = tuple[float, float]


def points(given: Json) -> tuple[list[float], list[float]]:
    """Read pairs of numbers; what is not a pair of finite numbers is left out."""
    read = [
        (float(x), float(y))
        for pair in items(given)
        if isinstance(pair, Sequence) and len(pair) == 2
        for x, y in [(number(pair[0]), number(pair[1]))]
        if x is not None and y is not None
    ]
    return [x for x, _ in read], [y for _, y in read]


def numbers(given: Json, *names: str) -> tuple[float, ...] | None:
    """Read the named numbers; None when one of them is missing or not finite."""
    found = [number(within(given, name)) for name in names]
    kept = tuple(each for each in found if each is not None)
    return kept if len(kept) == len(names) else None


def svg(name: str, draw: Callable[[Axes], None], size: Size, title: str, description: str) -> str:
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
    label = (
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(description)}</desc>'
    )
    head = f'<svg viewBox="{view}" role="img" aria-labelledby="{name}-title {name}-desc" class="plot plot-{name}">'
    return head + label + rest.strip()
