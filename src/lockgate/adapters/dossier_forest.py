"""The forest of declared slices: which are drawn, against which bound, and what the horizontal axis means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.adapters.dossier_charts import Line, Words, forest
from lockgate.core.estimates import read_estimate

if TYPE_CHECKING:
    from lockgate.adapters.dossier_view import Slices


def slice_forest(slices: Slices) -> str | None:
    """Draw slices: excess loss with its interval, one line a slice, worst on top."""
    read = [(str(each["slice"]), read_estimate(each["excess"]), bool(each["bad"])) for each in slices.drawn]
    lines = [
        Line(name=name, low=found["low"], value=found["estimate"], high=found["high"], bad=bad)
        for name, found, bad in read
        if found is not None
    ]
    named = "excess loss" if slices.unit == "1" else f"excess loss, {slices.unit}"
    words = Words(
        name="slices",
        title="Slices",
        description="Excess loss of each slice, with its interval.",
        x=f"{named} (left is better)",
    )
    return forest(words, lines, slices.bound)
