"""What pictures of pages in the Prefect UI share: colours, type sizes, and how drawings become one `data:` address."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, OURS, THEIRS, BAD = "#1b1f24", "#6b7280", "#0b6a88", "#a35a00", "#b42318"
STYLE: dict[str, Any] = {
    "text.parse_math": False,  # a class may be called "$"
    "font.size": 9.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 10.0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
PANEL_INCHES, DPI = (3.9, 3.2), 100
_COLOURS = 64  # ours: seven lines with their softened edges keep their colours
Draw = Callable[["Axes"], None]


def picture(draws: Sequence[Draw]) -> str | None:
    """Run the drawings side by side and return them as the address of one picture."""
    if not draws:
        return None
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = PANEL_INCHES
    style: Any = STYLE  # the stubs want each key as a literal
    with mpl.rc_context(style):
        figure = Figure(figsize=(width * len(draws), height), dpi=DPI, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        for draw, axes in zip(draws, figure.subplots(1, len(draws), squeeze=False)[0], strict=True):
            draw(axes)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
    return "data:image/png;base64," + base64.b64encode(_few_colours(drawn)).decode()


def _few_colours(drawn: io.BytesIO) -> bytes:
    """Return a picture with a palette: nobody sees the difference in a plot, and it takes a quarter of the bytes."""
    from PIL import Image  # matplotlib's own way to PNG, and there with it

    out = io.BytesIO()
    with Image.open(drawn) as whole:
        # by what is covered, not by how much of it: a thin line keeps its colour beside a large ground
        few = whole.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(out, format="png", optimize=True)
    return out.getvalue()
