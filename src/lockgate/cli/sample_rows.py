"""Rows of a model's example data as requests ask about them: prepared by the spec's own function, as plain JSON."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockgate.cli.data_commands import see_project, write_sample
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.ledger import Event
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.core.spec import ReleaseSpec

ROWS_AT_MOST = 50_000  # ours: some 100 MB as plain values; a longer batch is replayed up to there
_ID_LENGTH = 128  # what the server takes as a caller's own id


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRows:
    """The rows of one batch, in the order of their time.

    Attributes:
        batch: Its name.
        rows: The features by column, null for missing.
        labels: What happened; None: nobody knows.
        keys: What names each row, as a request says it; empty where it cannot be said in a header.
        times_s: When an answer was needed, in seconds since the first.
    """

    batch: str
    rows: Sequence[dict[str, Json]]
    labels: Sequence[Json]
    keys: Sequence[str]
    times_s: Sequence[float]


def next_batch(services: Services, spec: ReleaseSpec) -> str:
    """Return the first example batch that was not taken in yet; the last one when all were.

    Raises:
        BadInput: The spec has none.
    """
    batches = spec.data.sample_batches
    if not batches:
        raise BadInput(f"the spec of {spec.name} lists no data.sample_batches, so there are no rows to ask about")
    taken = services.ledger.rows(spec.name, events=(Event.BATCH_INGESTED,))
    return batches[min(len(taken), len(batches) - 1)]


def sample_rows(services: Services, spec: ReleaseSpec, batch: str) -> SampleRows:
    """Let the spec's own functions write and prepare a batch, and return its rows.

    Raises:
        BadInput: The spec has no such function or batch, or the batch holds no row.
    """
    prepared = _prepared(services, spec, batch).sort_values(spec.data.time, kind="stable").head(ROWS_AT_MOST)
    if not len(prepared):
        raise BadInput(f"batch {batch} of {spec.name} holds no row to ask about")
    when = prepared[spec.data.time]
    return SampleRows(
        batch=batch,
        rows=_records(prepared, spec.data.features),
        labels=[_label(value, spec.task.kind) for value in _column(prepared, spec.data.label)],
        keys=[_key(each) for each in zip(*(prepared[name] for name in spec.data.key), strict=True)],
        times_s=(when - when.iloc[0]).dt.total_seconds().tolist(),
    )


def _prepared(services: Services, spec: ReleaseSpec, batch: str) -> Any:  # noqa: ANN401 - a frame; pandas comes late
    import pandas as pd

    from lockgate.adapters.isolated import load_function

    see_project(services.settings)
    with tempfile.TemporaryDirectory(prefix="lockgate-sample-") as folder:
        path = Path(folder) / f"{spec.name}.parquet"
        write_sample(services.settings, spec, batch, path)
        landed = pd.read_parquet(path)
    return load_function(spec.data.prepare)(landed) if spec.data.prepare else landed


def _records(frame: Any, columns: Sequence[str]) -> list[dict[str, Json]]:  # noqa: ANN401 - a frame
    values = [_column(frame, name) for name in columns]
    return [dict(zip(columns, each, strict=True)) for each in zip(*values, strict=True)]


def _column(frame: Any, name: str) -> list[Json]:  # noqa: ANN401 - a frame
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


def _label(value: Json, task: TaskKind) -> Json:
    return value if value is None or task is TaskKind.REGRESSION else str(value)


def _key(parts: Sequence[object]) -> str:
    text = "|".join(str(each) for each in parts)
    return text if len(text) <= _ID_LENGTH and text.isascii() and text.isprintable() else ""
