"""The text of DuckDB's queries over the logs: every name in it is ours, every value is written by `text` or `number`.

A Parquet file's columns are renamed by their *place* (`read_parquet(...) t(c0, c1, ...)`): a user's column may hold
quotes and spaces, or differ from another in case alone, which DuckDB would take for the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

LARGEST_FLOAT: Final = float(np.finfo(np.float32).max)
_BEYOND: Final = ((LARGEST_FLOAT, math.inf), (-LARGEST_FLOAT, -math.inf))
SEEN: Final = "(kind = 'live' OR kind = 'failed')"
OWN: Final = "(kind = 'live' AND NOT fell)"
"""Rows that the bundle itself answered."""


def text(value: str | Path) -> str:
    """Return a string as SQL.

    >>> text("it's")
    "'it''s'"
    """
    return "'" + str(value).replace("'", "''") + "'"


def number(value: float, kind: str = "DOUBLE") -> str:
    """Return a number as SQL, exactly; infinities and NaN included.

    >>> number(0.5), number(math.inf, "FLOAT")
    ("'0.5'::DOUBLE", "'inf'::FLOAT")
    """
    return f"'{value!r}'::{kind}"


def listed(values: Iterable[str]) -> str:
    """Return pieces of SQL as a list.

    >>> listed(["1", "2"])
    '[1, 2]'
    """
    return f"[{', '.join(values)}]"


def as_seen(column: str) -> str:
    """Return a DOUBLE as the float32 that a model sees of it (`core.drift.as_seen`); infinite where it has no room."""
    high, low = (f"{number(end)} THEN {number(inf, 'FLOAT')}" for end, inf in _BEYOND)
    return f"CASE WHEN {column} > {high} WHEN {column} < {low} ELSE TRY_CAST({column} AS FLOAT) END"


def is_number(column: str) -> str:
    """Return the condition that a DOUBLE holds a value."""
    return f"({column} IS NOT NULL AND NOT isnan({column}))"


def upper_ends(edges: Sequence[float]) -> tuple[list[float], list[int]]:
    """Return the upper ends, included, by which `histogram` counts what `core.drift.edge_bins` counts.

    Args:
        edges: Ascending float32 numbers.

    Returns:
        The ends, ascending, and the bin of 2 * len(edges) + 1 that ends there.

    >>> ends, bins = upper_ends([0.0])
    >>> ends[1:], ends[0] < 0.0, bins
    ([0.0, inf], True, [0, 1, 2])
    """
    ends: dict[float, int] = {}
    for place, edge in enumerate(edges):
        with np.errstate(over="ignore"):  # below the least float32 is -inf, and only an infinite value is there
            below = float(np.nextafter(np.float32(edge), np.float32(-np.inf)))
        if below < edge and below not in ends:  # else no float32 lies between this edge and the one before
            ends[below] = 2 * place
        ends[edge] = 2 * place + 1
    ends.setdefault(math.inf, 2 * len(edges))
    return list(ends), list(ends.values())


def edge_histogram(column: str, edges: Sequence[float], where: str) -> str:
    """Return the aggregate that counts a DOUBLE's values by the bins of some edges; read by `edge_counts`."""
    ends = listed(number(end, "FLOAT") for end in upper_ends(edges)[0])
    return f"histogram({as_seen(column)}, {ends}) FILTER ({where} AND {is_number(column)})"


def edge_counts(found: Mapping[float, int] | None, edges: Sequence[float]) -> tuple[int, ...]:
    """Return what an `edge_histogram` found, one number a bin."""
    counts = [0] * (2 * len(edges) + 1)
    by_end = {np.float32(end): rows for end, rows in (found or {}).items()}
    for end, place in zip(*upper_ends(edges), strict=True):
        counts[place] += by_end.get(np.float32(end), 0)
    return tuple(counts)


def bin_of(column: str, edges: Sequence[float], *, kind: str = "DOUBLE") -> str:
    """Return the expression for how many ascending edges a value has reached.

    >>> bin_of("x", [1.0])
    "CASE WHEN x < '1.0'::DOUBLE THEN 0 ELSE 1 END"
    """
    cases = " ".join(f"WHEN {column} < {number(edge, kind)} THEN {place}" for place, edge in enumerate(edges))
    return f"CASE {cases} ELSE {len(edges)} END" if cases else "0"


def edge_bin_of(column: str, edges: Sequence[float]) -> str:
    """Return the expression for a DOUBLE's bin, as `core.drift.edge_bins` has it."""
    seen, cases = as_seen(column), []
    for place, edge in enumerate(edges):
        end = number(edge, "FLOAT")
        cases.append(f"WHEN {seen} < {end} THEN {2 * place} WHEN {seen} = {end} THEN {2 * place + 1}")
    return f"CASE {' '.join(cases)} ELSE {2 * len(edges)} END" if cases else "0"


def range_label(column: str, edges: Sequence[float], missing: str) -> str:
    """Return the expression for a range's name, as `core.slice_codes.coded_ranges` has it."""
    shown = [f"{edge:.6g}" for edge in edges]
    names = [f"<{shown[0]}", *(f"[{low}, {high})" for low, high in pairwise(shown)), f">={shown[-1]}"]
    cases = " ".join(
        f"WHEN {column} < {number(edge)} THEN {text(name)}" for edge, name in zip(edges, names[:-1], strict=True)
    )
    return f"CASE WHEN NOT {is_number(column)} THEN {text(missing)} {cases} ELSE {text(names[-1])} END"


def source(paths: Sequence[Path], columns: Sequence[str], wanted: Mapping[str, tuple[str, str]]) -> str:
    """Return the rows of files with the same columns, under our names.

    Args:
        paths: The files.
        columns: Their columns in their order.
        wanted: By our name: the file's, and the type it shall have; NULL where the files have no such column.

    >>> source([Path("a.parquet")], ["x y"], {"x0": ("x y", "DOUBLE")})
    "SELECT TRY_CAST(c0 AS DOUBLE) AS x0 FROM read_parquet(['a.parquet'], hive_partitioning = false) AS t(c0)"
    """
    place = {name: at for at, name in enumerate(columns)}
    chosen = ", ".join(
        f"TRY_CAST(c{place[name]} AS {kind}) AS {ours}" if name in place else f"NULL::{kind} AS {ours}"
        for ours, (name, kind) in wanted.items()
    )
    names = ", ".join(f"c{at}" for at in range(len(columns)))
    files = listed(text(path) for path in paths)
    return f"SELECT {chosen} FROM read_parquet({files}, hive_partitioning = false) AS t({names})"
