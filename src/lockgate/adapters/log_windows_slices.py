"""The slices of a spec as SQL: for each section the expression that names the slice a row is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lockgate.adapters import log_windows_sql as sql
from lockgate.core.monitoring.summary_bins import FrozenBins
from lockgate.core.slice_codes import MISSING
from lockgate.core.spec import SliceColumn, SliceSection

WHOLE_BELOW: Final = 1e15  # a double holds it exactly, and it is written with its digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A column of the log under our name.

    Attributes:
        ours: Our name.
        is_number: Whether it holds numbers, else strings.
    """

    ours: str
    is_number: bool


def slice_names(
    sections: Sequence[SliceSection], bins: FrozenBins, find: Callable[[str], Named | None]
) -> tuple[str, ...]:
    """Return an expression a section, for `column=value` or `a=x & b=y`; NULL where a row is in no slice.

    Args:
        sections: The spec's.
        bins: For sections that are cut into ranges of about as many rows: at the frozen edges.
        find: Gives a column of the log; None where it is not logged, and the section is left out.
    """
    found = []
    for section in sections:
        parts = [_named(part, bins, find) for part in (section, section.across) if part is not None]
        if None not in parts:
            found.append(" || ' & ' || ".join(part for part in parts if part is not None))
    return tuple(found)


def _named(part: SliceColumn, bins: FrozenBins, find: Callable[[str], Named | None]) -> str | None:
    column = find(part.column)
    if column is None:
        return None
    edges = part.edges
    if edges is None and part.bins is not None:
        frozen = bins.edges.get(part.column, ())
        edges = tuple(sorted({frozen[at * len(frozen) // part.bins] for at in range(1, part.bins)})) if frozen else None
    if edges is not None:
        label = sql.range_label(column.ours, edges, MISSING) if column.is_number else None
    else:
        label = _value(column)
    if label is None:
        return None
    only = part.values
    if only is not None:
        label = f"CASE WHEN {label} IN ({', '.join(map(sql.text, only))}) THEN {label} END"
    return f"{sql.text(part.column)} || '=' || ({label})"


def _value(column: Named) -> str:
    ours = column.ours
    if not column.is_number:
        return f"coalesce({ours}, {sql.text(MISSING)})"
    whole = f"{ours} = trunc({ours}) AND abs({ours}) < {sql.number(WHOLE_BELOW)}"
    return (
        f"CASE WHEN NOT {sql.is_number(ours)} THEN {sql.text(MISSING)} "
        f"WHEN {whole} THEN TRY_CAST(TRY_CAST({ours} AS BIGINT) AS VARCHAR) ELSE format('{{:.6g}}', {ours}) END"
    )
