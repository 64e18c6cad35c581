"""Rows of a model's example data as requests ask about them: prepared by the spec's own function, as plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockgate.core.ids import Json
from lockgate.core.ledger import Event
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.core.spec import ReleaseSpec

ROWS_AT_MOST = 50_000  # ours: some 100 MB as plain values; a longer batch is replayed up to there


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
    from lockgate.adapters.sample_batches import prepared_batch, request_keys, request_labels, request_rows

    whole = prepared_batch(services.settings, spec, batch)
    prepared = whole.sort_values(spec.data.time, kind="stable").head(ROWS_AT_MOST)
    if not len(prepared):
        raise BadInput(f"batch {batch} of {spec.name} holds no row to ask about")
    when = prepared[spec.data.time]
    return SampleRows(
        batch=batch,
        rows=request_rows(prepared, spec.data.features),
        labels=request_labels(prepared, spec),
        keys=request_keys(prepared, spec),
        times_s=(when - when.iloc[0]).dt.total_seconds().tolist(),
    )
