"""Fairness: rates by group of every declared column, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.adapters.dossier_blocks import Figure, Section, figure, not_measured, table
from lockgate.adapters.dossier_cells import count_cell, estimate_cell, number_cell
from lockgate.adapters.dossier_charts import Line, Words, forest
from lockgate.adapters.dossier_words import metric_name
from lockgate.core.estimates import count, items, read_estimate, within
from lockgate.core.ids import Json

ID, TITLE = "fairness", "Groups of people"
_MOST_GAPS = 12


def fairness(measured: Json) -> Section:
    """Return the section of the fairness gate's measurements."""
    columns = [each for each in items(within(measured, "columns")) if isinstance(within(each, "column"), str)]
    if not columns:
        declared = items(within(measured, "declared"))
        why = "the spec names no sensitive column (sensitive)." if not declared else "no rate by group can be read."
        return not_measured(ID, TITLE, why)
    n, blocks = count(within(measured, "n")), count(within(measured, "blocks"))
    on = "" if n is None or blocks is None else f", on {n:,} rows in {blocks} blocks"
    named = ", ".join(str(within(each, "column")) for each in columns)
    lead = [f"Compared by {named}{on}. A gap is the highest group's rate minus the lowest's."]
    lead += [line for line in map(_unlisted, columns) if line]
    rows = [row for each in columns for row in _gaps(each)]
    caption = "Gaps between groups; a ratio is the lowest rate over the highest (four fifths: 0.8)"
    heads = ("column", "rate", "lowest", "highest", "gap [95 %]", "ratio", "least seen", "n")
    drawn = tuple(each for at, column in enumerate(columns) for each in _excess(at, column))
    return Section(id=ID, title=TITLE, lead=tuple(lead), blocks=(*drawn, *table(caption, heads, rows, words=(1, 2, 3))))


def _unlisted(column: Json) -> str:
    left = count(within(within(column, "unlisted"), "groups"))
    return f"{left} more groups of {within(column, 'column')} were only counted: there are too many." if left else ""


def _gaps(column: Json) -> list[tuple[str, ...]]:
    gaps = within(column, "gaps")
    listed = list(gaps.items())[:_MOST_GAPS] if isinstance(gaps, Mapping) else []
    return [_gap(str(within(column, "column")), str(name), each) for name, each in listed if isinstance(each, Mapping)]


def _gap(column: str, name: str, gap: Json) -> tuple[str, ...]:
    return (
        column,
        metric_name(name),
        _group(within(gap, "lowest")),
        _group(within(gap, "highest")),
        estimate_cell(within(gap, "difference")) or "not enough groups",
        number_cell(within(within(gap, "ratio"), "estimate")),
        number_cell(within(gap, "detectable")),
        count_cell(within(gap, "n")),
    )


def _group(given: Json) -> str:
    return given if isinstance(given, str) else str(within(given, "group") or "")


def _excess(at: int, column: Json) -> tuple[Figure, ...]:
    """Draw by how much each group's loss exceeds what it is compared with."""
    lines = []
    for each in items(within(column, "groups")):
        found = read_estimate(within(each, "excess"))
        if found is not None:
            name = f"{within(each, 'group')}  (n {count(within(each, 'n')) or 0:,})"
            bad = found["low"] > 0
            lines.append(Line(name=name, low=found["low"], value=found["estimate"], high=found["high"], bad=bad))
    ranked = sorted(lines, key=lambda line: -line.low)
    words = Words(
        name=f"groups-{at}",
        title=f"Excess loss by {within(column, 'column')}",
        description="Excess loss of each group, with its interval, worst first.",
        x="excess loss (left is better)",
    )
    note = "Red: the whole interval lies above zero, which is not yet beyond the gate's bound."
    return figure(f"Excess loss by {within(column, 'column')}", forest(words, ranked), note)
