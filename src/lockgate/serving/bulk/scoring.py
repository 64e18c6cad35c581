"""Scores a whole file by one bundle: the server's own encoder, contract and graph, at the speed of all cores.

    read a piece -> [workers: encode and check, run the graph, name the outputs] -> write, in the order of the rows

One thread reads and writes, the workers score; the pieces on the way are bounded, and so is memory, however long the
file. Nothing is kept when a row is refused: a file of answers is whole or not there.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lockgate.errors import BadInput
from lockgate.serving.bulk.piece import Scorer
from lockgate.serving.bulk.reading import check_columns, opened, regrouped
from lockgate.serving.bulk.writing import place_of, written_whole
from lockgate.serving.cores import usable_cores
from lockgate.serving.model.bundle import VerifiedBundle
from lockgate.serving.model.column_values import Flags
from lockgate.serving.refusals import RequestRefused, refuse

if TYPE_CHECKING:
    from pyarrow import RecordBatch  # type: ignore[import-untyped]  # no stubs published

PIECE_ROWS: Final = 65_536
"""Ours: enough for `core.row_order` to find like rows (twice as many gain 3 %), 15 MB of 24 columns."""

Progress = Callable[[int, int | None], None]
"""Told after each piece how many rows are written, and of how many; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """How a file is scored.

    Attributes:
        keep: Columns of the input that the output carries over.
        flags: Whether the output says of each row what did not keep to the contract.
        limit: Only so many rows, from the first; None: all.
        workers: How many pieces are scored at once; None: one a core.
        piece_rows: Rows of a piece, at most.
    """

    keep: tuple[str, ...] = ()
    flags: bool = False
    limit: int | None = None
    workers: int | None = None
    piece_rows: int = PIECE_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """What was done.

    Attributes:
        rows: Rows scored and written.
        seconds: From the opening of the input to the renaming of the output.
        flagged: How many rows had a flag, by flag and column.
    """

    rows: int
    seconds: float
    flagged: Mapping[str, Mapping[str, int]]


def score_file(
    bundle: VerifiedBundle, source: Path, target: Path, options: BulkOptions, progress: Progress
) -> BulkResult:
    """Score the rows of a file into a Parquet file of as many rows, in the same order.

    The output has the kept columns, then those of the model's task: `probability` and `label`; `value`; or one
    `probability_<class>` a class and `label`; then `flags` where asked for. Its metadata names model and bundle.

    Args:
        bundle: What answers.
        source: `.parquet`, `.arrow`, `.feather` or `.csv`.
        target: Where to write, or a link to there; what stands there is replaced when all rows are scored.
        options: See `BulkOptions`.
        progress: Called in this thread.

    Raises:
        BadInput: A file cannot be used, a column is missing or of the wrong type, or the contract refuses a row; says
            which and what to do.
        IntegrityError: The bundle does not load, or its answers are not the golden ones.
        ModelFailed: The graph failed.
        OSError: The disk did not take the output.
    """
    began = time.monotonic()
    place = place_of(target)
    if place.exists() and source.exists() and place.samefile(source):
        raise BadInput(f"{target} is the input itself; name another file for the answers")
    contract = bundle.contract
    flagged: Counter[tuple[str, str]] = Counter()
    rows = 0
    with opened(source, contract) as file:
        inputs = check_columns(file, source, contract, options.keep)
        scorer = Scorer(bundle, options.keep, flags=options.flags)
        schema = scorer.schema(file.schema)
        columns = list(dict.fromkeys((*inputs, *options.keep)))
        pieces = regrouped(_first(file.batches(columns, options.piece_rows), options.limit), options.piece_rows)
        score = partial(scorer.score, inputs=inputs, schema=schema)
        total = file.rows if options.limit is None or file.rows is None else min(file.rows, options.limit)
        facts = {"lockgate.model": contract.model, "lockgate.bundle": bundle.digest}
        with written_whole(place, schema, facts) as writer:
            for scored, flags in _in_order(pieces, score, options.workers or usable_cores(), source):
                writer.write_batch(scored)
                flagged.update({(flag.flag, flag.column): len(flag.rows) for flag in flags})
                rows += scored.num_rows
                progress(rows, total)
    return BulkResult(rows=rows, seconds=time.monotonic() - began, flagged=_by_flag(flagged))


def _first(batches: Iterator[RecordBatch], limit: int | None) -> Iterator[RecordBatch]:
    left = limit
    for batch in batches:
        if left is None:
            yield batch
        elif left > 0:
            yield batch.slice(0, left)
            left -= batch.num_rows
        else:
            return


def _in_order(
    pieces: Iterator[RecordBatch],
    score: Callable[..., tuple[RecordBatch, Flags]],
    workers: int,
    source: Path,
) -> Iterator[tuple[RecordBatch, Flags]]:
    """Score pieces side by side and yield them in their order, never more on the way than one a worker and two."""
    waiting: deque[Future[tuple[RecordBatch, Flags]]] = deque()
    first = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="score") as pool:
        try:
            for piece in pieces:
                if piece.num_rows:
                    waiting.append(pool.submit(score, piece, first=first))
                first += piece.num_rows
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except RequestRefused as refused:
            raise refuse(refused.reason, f"{source}: {refused.message}; nothing was written") from refused
        finally:
            for each in waiting:
                each.cancel()


def _by_flag(flagged: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    told: dict[str, dict[str, int]] = {}
    for (flag, column), rows in sorted(flagged.items()):
        told.setdefault(flag, {})[column] = rows
    return told
