"""Opens a file of rows for scoring in bulk: Parquet, Arrow or CSV, read piece by piece.

Only the columns that are asked for are read, and what cannot work (a missing column, a type no model takes) is said
before a row is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lockgate.core.contract import ColumnType, ModelContract, Policy
from lockgate.errors import BadInput
from lockgate.serving.protocols import arrow_columns

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch, Schema  # type: ignore[import-untyped]  # no stubs published

CHUNK_BYTES: Final = 1 << 20
CSV_BLOCK_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """An opened file.

    Attributes:
        schema: All its columns.
        rows: How many rows it holds; None where only reading it would tell.
        batches: Reads some of its columns, from the first row, in batches of at most so many rows. Strings may come as
            dictionaries.
    """

    schema: Schema
    rows: int | None
    batches: Callable[[Sequence[str], int], Iterator[RecordBatch]]


@contextmanager
def opened(path: Path, contract: ModelContract) -> Iterator[Source]:
    """Open a file; which kind it is, its name says: `.parquet`, `.arrow`, `.feather` or `.csv`.

    Raises:
        BadInput: It is not there, cannot be read, or is of another kind; also while its batches are read.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"{path}: a file of rows ends in {', '.join(_KINDS)}; convert it to one of these")
    if not path.is_file():
        raise BadInput(f"{path} is not there, or is no file")
    with ExitStack() as stack:
        with _readable(path):
            found = kind(path, contract, stack)
        yield replace(found, batches=lambda columns, rows: _guarded(path, found.batches(columns, rows)))


def _guarded(path: Path, batches: Iterator[RecordBatch]) -> Iterator[RecordBatch]:
    with _readable(path):
        yield from batches


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say of an error that it is the file's."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as broken:
        words = str(broken).partition(". Detail:")[0].strip()
        raise BadInput(f"{path} cannot be read: {words}; write it again, or give another file") from broken


def check_columns(source: Source, path: Path, contract: ModelContract, kept: Sequence[str]) -> list[str]:
    """Return the inputs that the file has, after looking that it can be scored.

    Raises:
        BadInput: A column is missing or of the wrong type; names it, and what to do.
    """
    names = source.schema.names
    for name in (*(column.name for column in contract.inputs), *kept):
        if names.count(name) > 1:
            raise BadInput(f"{path} has column {name!r} {names.count(name)} times; rename all but one", column=name)
    for name in kept:
        if name not in names:
            raise BadInput(f"{path} has no column {name!r} to keep; it has {', '.join(names) or 'none'}", column=name)
    there = [column for column in contract.inputs if column.name in names]
    lacking = [column.name for column in contract.inputs if column.name not in names]
    if lacking and (contract.requests.missing_column is Policy.REFUSE or not there):
        raise BadInput(
            f"{path} has no column {lacking[0]!r}, which model {contract.model!r} takes"
            + (f" (nor {', '.join(lacking[1:])})" if lacking[1:] else "")
            + f"; it has {', '.join(names) or 'none'}. Prepare the rows as for training, or add the column with nulls",
            column=lacking[0],
        )
    for column in there:
        problem = _type_problem(column.type, source.schema.field(column.name).type)
        if problem:
            raise BadInput(f"{path}, column {column.name!r}: {problem}; cast it", column=column.name)
    return [column.name for column in there]


def regrouped(batches: Iterator[RecordBatch], rows: int) -> Iterator[RecordBatch]:
    """Yield the same rows in order, small batches put together; `rows` is the most that any of them holds."""
    waiting: list[RecordBatch] = []
    for batch in batches:
        if waiting and sum(each.num_rows for each in waiting) + batch.num_rows > rows:
            yield _joined(waiting)
            waiting = []
        waiting.append(batch)
    if waiting:
        yield _joined(waiting)


def _joined(batches: Sequence[RecordBatch]) -> RecordBatch:
    import pyarrow as pa

    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _type_problem(wanted: ColumnType, found: DataType) -> str | None:
    """Return why an Arrow type does not fit, or None."""
    from pyarrow import types

    value = found.value_type if types.is_dictionary(found) else found
    if types.is_null(value):
        return None
    if not arrow_columns.is_taken(found):
        return f"a model takes numbers, booleans and strings, this is {found}"
    text = types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)
    if text != (wanted is ColumnType.STRING):
        return f"the model takes {'strings' if wanted is ColumnType.STRING else 'numbers'} here, this is {found}"
    return None


def _open_parquet(path: Path, contract: ModelContract, stack: ExitStack) -> Source:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

    schema = pq.read_schema(path)
    strings = {column.name for column in contract.inputs if column.type is ColumnType.STRING} & set(schema.names)
    # Strings come as the file keeps them, a dictionary and indices; columns are read page by page, so that a row group
    # may be larger than memory.
    file = stack.enter_context(
        pq.ParquetFile(path, read_dictionary=sorted(strings), buffer_size=CHUNK_BYTES, pre_buffer=False)
    )

    def batches(columns: Sequence[str], rows: int) -> Iterator[RecordBatch]:
        yield from file.iter_batches(rows, columns=list(columns), use_threads=True)

    return Source(schema, file.metadata.num_rows, batches)


def _open_arrow(path: Path, _contract: ModelContract, stack: ExitStack) -> Source:
    import pyarrow as pa

    mapped = stack.enter_context(pa.memory_map(str(path)))
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
    reader = stack.enter_context(pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped))

    def batches(columns: Sequence[str], rows: int) -> Iterator[RecordBatch]:
        parts = (reader.get_batch(at) for at in range(reader.num_record_batches)) if is_file else iter(reader)
        for part in parts:
            part.validate(full=True)
            taken = part.select(list(columns))
            yield from (taken.slice(at, rows) for at in range(0, taken.num_rows, rows))

    return Source(reader.schema, None, batches)


def _open_csv(path: Path, contract: ModelContract, stack: ExitStack) -> Source:
    from pyarrow import csv, float64, schema, string

    types = {column.name: float64() if column.type is ColumnType.NUMBER else string() for column in contract.inputs}
    # an empty cell is null, and nothing else is: "NA" may well be a category
    nulls: dict[str, Any] = {"null_values": ["", "nan", "NaN"], "strings_can_be_null": True}
    header = stack.enter_context(csv.open_csv(path, convert_options=csv.ConvertOptions(column_types=types, **nulls)))

    def batches(columns: Sequence[str], rows: int) -> Iterator[RecordBatch]:
        convert = csv.ConvertOptions(column_types=types, include_columns=list(columns), **nulls)
        read = csv.ReadOptions(block_size=CSV_BLOCK_BYTES)
        with csv.open_csv(path, read_options=read, convert_options=convert) as reader:
            for part in reader:
                yield from (part.slice(at, rows) for at in range(0, part.num_rows, rows))

    return Source(schema(header.schema), None, batches)


_KINDS: Final[dict[str, Callable[[Path, ModelContract, ExitStack], Source]]] = {
    ".parquet": _open_parquet,
    ".arrow": _open_arrow,
    ".feather": _open_arrow,
    ".csv": _open_csv,
}
