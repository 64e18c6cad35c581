"""Rows of a model's table by when they landed: those after one version, up to another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.adapters.delta_append import BATCH, answering, open_table
from lockgate.adapters.table_reading import whole_files
from lockgate.errors import BadInput, LockgateError, TransientError

if TYPE_CHECKING:
    import pandas as pd


def landed_between(path: Path, after: int | None, until: int | None, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows that were taken in after a version of a table, in no order.

    Args:
        path: Where the table lies.
        after: The version that holds what is left out; None: nothing is.
        until: The version that holds the last rows; None: the newest.
        columns: Those read.

    Raises:
        BadInput: There is no table, or a column or version of it is gone.
        IntegrityError: A file of the table is missing, unreadable or broken.
        TransientError: The table did not answer.
    """
    import pyarrow.compute as pc  # type: ignore[import-untyped]  # no stubs published

    table = open_table(path)
    if table is None:
        raise BadInput(f"there is no table in {path}; nothing was ingested yet")
    first, last = _last_batch(path, after), None if until is None else _last_batch(path, until)
    there = {field.name for field in table.schema().fields}
    missing = [name for name in columns if name not in there]
    if missing:
        raise BadInput(f"the table has no column {missing[0]!r}; it has {', '.join(sorted(there - {BATCH}))}")
    wanted = pc.field(BATCH) > first
    if last is not None:
        wanted &= pc.field(BATCH) <= last
    with answering(path):
        source = table.to_pyarrow_dataset()
    with whole_files(source):
        rows = source.to_table(columns=[*dict.fromkeys(columns)], filter=wanted)
    frame: pd.DataFrame = rows.to_pandas()
    return frame


def _last_batch(path: Path, version: int | None) -> int:
    """Return the ordinal of the newest batch that a version holds; 0 for none."""
    import pyarrow as pa
    from deltalake import DeltaTable

    if version is None:
        return 0
    try:
        with answering(path):
            ordinals = DeltaTable(path, version=version).to_pyarrow_table(columns=[BATCH])[BATCH].to_numpy()
    except (TransientError, OSError, pa.ArrowException) as gone:
        why = gone.message if isinstance(gone, LockgateError) else " ".join(str(gone).split())
        raise BadInput(f"version {version} of the table in {path} is gone: {why}") from gone
    return int(ordinals.max()) if len(ordinals) else 0
