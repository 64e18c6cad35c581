"""Small plots of distributions as inline SVG, for the status page; the colours are the page's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from lockgate.serving.watch.sketch import PROBABILITY

WIDTH: Final = 124
HEIGHT: Final = 34
_GAP: Final = 1


def bars(counts: Sequence[int], what: str) -> str:
    """Return counts as bars of equal width, the highest as high as the plot.

    Args:
        counts: From left to right; not empty.
        what: What the plot shows, for those who cannot see it.
    """
    highest, width = max(1, *counts), WIDTH / len(counts)
    drawn = []
    for at, count in enumerate(counts):
        height = max(count / highest * HEIGHT, 1.0 if count else 0.0)  # what is rare is still seen
        x, y = at * width, HEIGHT - height
        drawn.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width - _GAP, 0.5):.1f}" height="{height:.1f}"/>')
    label = escape(what)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(drawn)}</svg>"
    )


def filled(counts: Sequence[int]) -> tuple[int, int]:
    """Return the first and the last bin that hold anything; some must."""
    some = [at for at, count in enumerate(counts) if count]
    return some[0], some[-1]


def evenly(counts: Sequence[int]) -> list[int]:
    """Return the counts of `PROBABILITY`, whose bins differ in width, as 20 bins of 0.05."""
    even = [0] * 20
    for edge, count in zip((*PROBABILITY.edges, 1.0), counts, strict=True):
        even[math.ceil(round(edge * 20, 6)) - 1] += count
    return even
