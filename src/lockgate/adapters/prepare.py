"""Run a spec's `data.prepare` on one landed file; called in a process of its own (`isolated.run_isolated`).

Not responsible for what the rows must look like: see `row_contract`.
"""

from __future__ import annotations

from pathlib import Path

from lockgate.core.ids import Json
from lockgate.errors import BadInput, ConfigError


def prepare_file(source: str, destination: str, prepare: str) -> Json:
    """Read landed rows, call the user's function on them, write what it returns.

    Args:
        source: A Parquet file.
        destination: Where to write Parquet.
        prepare: `package.module:function`, frame -> frame.

    Returns:
        `rows` in and out.

    Raises:
        BadInput: The file cannot be read, or the function returned no frame. What the function raises itself passes.
        ConfigError: The function cannot be imported, or imports what is not installed.
        TransientError: There is no room for the result.
    """
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published

    from lockgate.adapters.durable_files import room_for

    function = _load(prepare)
    try:
        landed = pd.read_parquet(source)
    except (pa.ArrowException, OSError) as broken:
        raise BadInput(f"it cannot be read as Parquet: {broken}") from broken
    try:
        rows = function(landed)
    except ImportError as missing:
        raise ConfigError(f"{prepare} needs {missing.name}, which is not installed: {missing}") from missing
    if not isinstance(rows, pd.DataFrame):
        raise ConfigError(f"{prepare} returned a {type(rows).__name__}; it must return a pandas DataFrame")
    with room_for("prepared rows", Path(destination).parent):
        rows.to_parquet(destination, index=False)
    return {"rows_in": len(landed), "rows_out": len(rows)}


def _load(prepare: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - what the user's module holds
    from lockgate.adapters.isolated import load_function

    try:
        return load_function(prepare)
    except BadInput as wrong:
        raise ConfigError(f"data.prepare: {wrong.message}") from wrong
    except Exception as broken:
        raise ConfigError(f"data.prepare: importing {prepare} failed: {type(broken).__name__}: {broken}") from broken
