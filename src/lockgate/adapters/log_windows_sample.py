"""A bounded sample of a bundle's logged inputs, by day, from the archive: the same rows whenever it is asked again.

A row is taken by a hash of its prediction id, so each row of a day is as likely as any other and nothing is drawn.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lockgate.adapters.log_windows import AGAIN_S, TRIES, connected
from lockgate.adapters.log_windows_day import Day, DayFiles
from lockgate.adapters.log_windows_files import look
from lockgate.adapters.log_windows_sql import text
from lockgate.adapters.log_windows_state import SummaryStore
from lockgate.config import Settings
from lockgate.core.columns import MISSING_STRING
from lockgate.core.ids import Digest, ModelName
from lockgate.errors import IntegrityError, TransientError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

NUMBER: Final = "DOUBLE"
STRING: Final = "VARCHAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedSample:
    """Rows of the log.

    Attributes:
        days: By day (`YYYY-MM-DD`), its rows: the columns that every day has, under their own names.
        unlogged: Columns that were asked for and that some day does not hold in the clear.
    """

    days: Mapping[str, pd.DataFrame]
    unlogged: tuple[str, ...]


def sample_inputs(
    settings: Settings, model: ModelName, digest: Digest, takes: Mapping[str, int], columns: Mapping[str, str]
) -> LoggedSample:
    """Read a sample of what a bundle was asked in production.

    Args:
        settings: Where everything lies.
        model: Whose.
        digest: The bundle.
        takes: By day, how many rows at most; a day that the archive does not hold is left out.
        columns: By name, `NUMBER` or `STRING`.

    Raises:
        TransientError: The archive cannot be read now, or another run is at it.
        IntegrityError: A file of the archive is damaged.
    """
    import duckdb

    store = SummaryStore(settings.home / "monitoring" / model)
    with store.held():
        for left in reversed(range(TRIES)):
            try:
                with connected(store.scratch) as connection:
                    return _sampled(
                        connection, look(settings.serving("production"), model).rows, digest, takes, columns
                    )
            except (FileNotFoundError, duckdb.IOException) as replaced:
                if not left:
                    raise TransientError(f"the archive of {model} cannot be read now: {replaced}") from replaced
                time.sleep(AGAIN_S * (TRIES - left))
            except duckdb.OutOfMemoryException as full:
                raise TransientError(f"a sample of {model}'s log needs room under {store.scratch}: {full}") from full
            except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
                raise  # a query of ours is wrong, not what it reads
            except duckdb.Error as broken:
                raise IntegrityError(f"the archive of {model} holds a file that cannot be read: {broken}") from broken
    raise AssertionError


def _sampled(
    connection: duckdb.DuckDBPyConnection,
    archived: Mapping[str, Mapping[Path, int]],
    digest: Digest,
    takes: Mapping[str, int],
    columns: Mapping[str, str],
) -> LoggedSample:
    found: dict[str, pd.DataFrame] = {}
    gone: set[str] = set()
    for day, most in sorted(takes.items()):
        files = DayFiles(archived=[*archived.get(day, {})], fresh=(), labels=(), has_newest=False)
        there = Day(connection, files)
        if not there.columns:
            continue
        clear = {name: kind for name, kind in columns.items() if _is_clear(name, there.columns)}
        rows = _rows(connection, there, digest, most, clear)
        if len(rows):
            found[day] = rows
            gone |= columns.keys() - clear.keys()
    kept = [name for name in columns if name not in gone]
    return LoggedSample(
        days={day: rows[kept] for day, rows in found.items()},
        unlogged=tuple(name for name in columns if name in gone),
    )


def _is_clear(name: str, columns: AbstractSet[str]) -> bool:
    """Tell whether a day's files hold a column as it was asked, and in none of them its hash alone."""
    return f"input_{name}" in columns and f"hashed_{name}" not in columns


def _rows(
    connection: duckdb.DuckDBPyConnection, day: Day, digest: Digest, most: int, columns: Mapping[str, str]
) -> pd.DataFrame:
    wanted = {f"x{at}": (f"input_{name}", kind) for at, (name, kind) in enumerate(columns.items())}
    shown = _shown(wanted)
    found = connection.execute(
        f"SELECT {shown or '1'} FROM ({day.rows_of(digest, wanted)}) WHERE has_inputs "
        f"ORDER BY hash(pid, part), pid, part LIMIT {most:d}"
    ).df()
    return found.set_axis(list(columns) or ["1"], axis=1)


def _shown(wanted: Mapping[str, tuple[str, str]]) -> str:
    """Return the columns of a query; what a graph takes for a missing string is missing."""
    return ", ".join(
        f"nullif({ours}, {text(MISSING_STRING)}) AS {ours}" if kind == STRING else ours
        for ours, (_, kind) in wanted.items()
    )


def shares(rows: Mapping[str, int], most: int, days: Sequence[str]) -> dict[str, int]:
    """Return how many rows to take of each day, in proportion to what it has, so that each row is as likely.

    >>> shares({"a": 100, "b": 300, "c": 5}, 40, ["a", "b"])
    {'a': 10, 'b': 30}
    """
    whole = sum(rows[day] for day in days)
    part = min(1.0, most / whole) if whole else 0.0
    return {day: max(1, round(rows[day] * part)) for day in days if rows[day]}
