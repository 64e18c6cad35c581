"""A model's example data: batches that the spec's own function writes, and their rows as requests ask about them."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.config import Settings
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

_ID_LENGTH = 128  # what the server takes as a caller's own id


def write_sample(settings: Settings, spec: ReleaseSpec, batch: str, path: Path) -> None:
    """Let the spec's own function write one batch.

    Raises:
        BadInput: The spec has no such function or no such batch.
    """
    from lockgate.adapters.isolated import load_function

    if spec.data.sample is None:
        raise BadInput(f"the spec of {spec.name} names no data.sample; land files of your own: lockgate land FILE")
    if batch not in spec.data.sample_batches:
        raise BadInput(f"{spec.name} has no batch {batch!r}; batches: {', '.join(spec.data.sample_batches)}")
    see_project(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    load_function(spec.data.sample)(batch, path)


def see_project(settings: Settings) -> None:
    """Let the checkout's own modules be imported: the functions that a spec names."""
    if str(settings.project) not in sys.path:
        sys.path.insert(0, str(settings.project))


def prepared_batch(settings: Settings, spec: ReleaseSpec, batch: str) -> pd.DataFrame:
    """Let the spec's own functions write and prepare a batch, and return its rows as a model is trained on them.

    Raises:
        BadInput: The spec has no such function or no such batch.
    """
    import pandas as pd

    from lockgate.adapters.isolated import load_function

    see_project(settings)
    with tempfile.TemporaryDirectory(prefix="lockgate-sample-") as folder:
        path = Path(folder) / f"{spec.name}.parquet"
        write_sample(settings, spec, batch, path)
        landed = pd.read_parquet(path)
    prepared: pd.DataFrame = load_function(spec.data.prepare)(landed) if spec.data.prepare else landed
    return prepared


def request_rows(frame: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Json]]:
    """Return rows as a request asks about them: plain values by column, null for missing."""
    values = [plain_column(frame, name) for name in columns]
    return [dict(zip(columns, each, strict=True)) for each in zip(*values, strict=True)]


def request_labels(frame: pd.DataFrame, spec: ReleaseSpec) -> list[Json]:
    """Return what happened, as a server is told it; None where nobody knows."""
    values = plain_column(frame, spec.data.label)
    regression = spec.task.kind is TaskKind.REGRESSION
    return [value if value is None or regression else str(value) for value in values]


def request_keys(frame: pd.DataFrame, spec: ReleaseSpec) -> list[str]:
    """Return what names each row, as a request says it; empty where it cannot be said in a header."""
    return [_key(each) for each in zip(*(frame[name] for name in spec.data.key), strict=True)]


def plain_column(frame: pd.DataFrame, name: str) -> list[Json]:
    """Return a column as JSON has it."""
    column = frame[name]
    missing = column.isna().tolist()
    return [None if gone else plain(value) for value, gone in zip(column.tolist(), missing, strict=True)]


def plain(value: object) -> Json:
    """Return a value as JSON has it: a plain number, a truth value, or text; what is not finite is null."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def _key(parts: Sequence[object]) -> str:
    text = "|".join(str(each) for each in parts)
    return text if len(text) <= _ID_LENGTH and text.isascii() and text.isprintable() else ""
