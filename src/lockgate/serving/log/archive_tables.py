"""A closed segment of the prediction log -> Parquet: one row an answered row, one file a date and bundle.

Columns: those of a line, `input_<name>`, `hashed_<name>` and `output_<name>`; `row` counts the rows of a request from
0, `rows` says how many it has, `flags` holds `<flag>:<column>` for what this very row did not keep to. A request
without an answer has its rows, too, with null for every output. A bundle's files all have the same columns, because its
contract says which.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

from lockgate.serving.disk import temporary
from lockgate.serving.log.logged_line import Kind, LoggedColumns, LoggedLine, read_columns, read_line
from lockgate.serving.log.packed_columns import LoggedValues, PackedColumn, listed
from lockgate.serving.log.segments import binary_file, lines

logger = logging.getLogger(__name__)

SAID_LINES: Final = 3  # of one segment, by their number: one of garbage has millions
GROUP_ROWS: Final = 5_000  # put together in memory; merging makes larger groups of them
HIDDEN: Final = b"lockgate.hidden"
"""Metadata of a file: JSON list of the columns that are hashed or left out; without them no request can be repeated."""

_TYPES: Final[Mapping[Kind, pa.DataType]] = {
    "number": pa.float64(),
    "string": pa.string(),
    "numbers": pa.list_(pa.float32()),
}
FACTS: Final[Mapping[str, pa.DataType]] = {
    "time": pa.timestamp("us", "UTC"),
    "prediction_id": pa.string(),
    "row": pa.int32(),
    "rows": pa.int32(),
    "request_id": pa.string(),
    "digest": pa.string(),
    "arm": pa.string(),
    "chosen": pa.string(),
    "kind": pa.string(),
    "fallback": pa.bool_(),
    "propensity": pa.float64(),
    "entity": pa.string(),
    "flags": pa.list_(pa.string()),
    "latency_us": pa.int64(),
    "trace": pa.string(),
    "has_inputs": pa.bool_(),
}


class Converted(msgspec.Struct):
    """What a segment became.

    Attributes:
        files: Names the new files shall have; they lie at `temporary(name)`.
        requests: Lines that were read.
        rows: Rows of them.
        broken: Lines that could not be read.
    """

    files: list[Path] = msgspec.field(default_factory=list)
    requests: int = 0
    rows: int = 0
    broken: int = 0


def convert(segment: Path, archive: Path) -> Converted:
    """Write a segment's rows as Parquet, under hidden names.

    Args:
        segment: A closed segment in the folder of its model's log.
        archive: The model's folder in the archive.

    Raises:
        OSError: The disk does not take it.
    """
    done = Converted()
    tables: dict[tuple[str, str], _Table] = {}
    described: dict[str, LoggedColumns] = {}
    try:
        for read in _read(segment, done):
            if read.digest not in described:
                kept = read_columns(segment.parent, read.digest)
                described[read.digest] = kept or _guessed(segment, read.digest)
            key = f"{read.time.astimezone(UTC):%Y-%m-%d}", read.digest
            table = tables.get(key)
            if table is None:
                target = archive / f"date={key[0]}" / f"{segment.stem}-{key[1][:12]}.parquet"
                table = tables[key] = _Table(target, described[read.digest])
                done.files.append(target)
            table.add(read)
    finally:
        for table in tables.values():
            table.close()
    return done


def _read(segment: Path, done: Converted) -> Iterator[LoggedLine]:
    """Return the lines of a segment, counting those that are none; half a line at its end is one."""
    size, beside, lost = 0, binary_file(segment), 0
    for number, line in enumerate(lines(segment), 1):
        size += len(line)
        read = read_line(line, beside)
        if read is None:
            done.broken += 1
            if done.broken <= SAID_LINES:
                logger.error("%s, line %d is no line of the prediction log; it is left out", segment, number)
            continue
        lost += read.binary is not None and read.inputs is None
        done.requests += 1
        done.rows += read.rows
        yield read
    if done.broken:
        logger.error("%s held %d lines that are none of the prediction log", segment, done.broken)
    if lost:
        logger.error("%s does not hold the inputs of %d requests; they are archived without", beside, lost)
    if segment.stat().st_size > size:
        done.broken += 1
        logger.warning("%s ends in half a line, which its writer did not finish; it is left out", segment)


def _guessed(segment: Path, digest: str) -> LoggedColumns:
    """Return the columns of a bundle from what its lines hold, where nothing was kept of them."""
    inputs: dict[str, Kind] = {}
    outputs: dict[str, Kind] = {}
    hashed: set[str] = set()
    omitted: set[str] = set()
    for read in filter(None, (read_line(line, binary_file(segment)) for line in lines(segment))):
        if read.digest == digest:
            for types, columns in ((inputs, read.inputs or {}), (outputs, read.outputs)):
                for name, values in columns.items():
                    types[name] = _wider(types.get(name), values)
            hashed.update(read.hashed or ())
            omitted.update(read.omitted)
    return LoggedColumns(inputs, outputs, tuple(sorted(hashed)), tuple(sorted(omitted)))


def _wider(kind: Kind | None, column: LoggedValues) -> Kind:
    values = listed(column)
    if kind == "string" or any(isinstance(value, str) for value in values):
        return "string"
    return "numbers" if kind == "numbers" or any(isinstance(value, list) for value in values) else "number"


def metadata_of(path: Path) -> pq.FileMetaData | None:
    """Return a Parquet file's metadata; None, and said in the log, where somebody has broken or removed it."""
    try:
        return pq.read_metadata(path)
    except (OSError, ValueError) as broken:
        logger.error("%s cannot be read and is left as it is: %s", path, broken)  # noqa: TRY400 - said
        return None


class _Table:
    """The rows of one file; a group of them is in memory."""

    def __init__(self, target: Path, columns: LoggedColumns) -> None:
        self._target, self._columns = target, columns
        fields = [pa.field(name, kind) for name, kind in FACTS.items()]
        fields += [pa.field(f"input_{name}", _TYPES[kind]) for name, kind in columns.inputs.items()]
        fields += [pa.field(f"hashed_{name}", pa.string()) for name in columns.hashed]
        fields += [
            pa.field(f"output_{name}", pa.float32() if kind == "number" else _TYPES[kind])
            for name, kind in columns.outputs.items()
        ]
        hidden = msgspec.json.encode(sorted((*columns.hashed, *columns.omitted)))
        self._schema = pa.schema(fields, metadata={HIDDEN: hidden})
        self._values = {field.name: _Values(field.type) for field in self._schema}
        self._rows = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, read: LoggedLine) -> None:
        rows, values = read.rows, self._values
        self._rows += rows
        flags: list[list[str]] = [[] for _ in range(rows)]
        for flag in read.flags:
            for row in flag.rows:
                if row < rows:
                    flags[row].append(f"{flag.flag}:{flag.column}")
        values["row"].add(list(range(rows)))
        values["flags"].add(flags)
        values["has_inputs"].add([read.inputs is not None] * rows)
        for name in _COPIED:
            values[name].add([getattr(read, name)] * rows)
        hashed: Mapping[str, LoggedValues] = dict(read.hashed or {})
        for prefix, types, columns in (
            ("input_", self._columns.inputs, read.inputs or {}),
            ("output_", self._columns.outputs, read.outputs),
            ("hashed_", dict.fromkeys(self._columns.hashed, "string"), hashed),
        ):
            for name, kind in types.items():
                given = columns.get(name)
                values[f"{prefix}{name}"].add([None] * rows if given is None else _typed(kind, given))
        if self._rows >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        table = pa.table([self._values[name].take() for name in self._schema.names], schema=self._schema)
        if self._writer is None:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(temporary(self._target), self._schema, compression="zstd")
        self._writer.write_table(table, row_group_size=max(1, len(table)))  # a request lies in one group
        self._rows = 0

    def close(self) -> None:
        if self._rows:
            self._flush()
        if self._writer is not None:
            self._writer.close()


class _Values:
    """The values of one column: those of small requests in a list, those of large ones in arrays of their own."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._arrays: list[pa.Array] = []
        self._listed: list[Any] = []

    def add(self, values: list[Any] | pa.Array) -> None:
        if isinstance(values, list):
            self._listed += values
        else:
            self._close_list()
            self._arrays.append(values.cast(self._kind))

    def take(self) -> pa.ChunkedArray:
        """Return all of them; none are left."""
        self._close_list()
        arrays, self._arrays = self._arrays, []
        return pa.chunked_array(arrays, self._kind)

    def _close_list(self) -> None:
        if self._listed:
            self._arrays.append(pa.array(self._listed, self._kind))
            self._listed = []


_COPIED: Final = tuple(name for name in FACTS if name not in {"row", "flags", "has_inputs"})


def _typed(kind: str, column: LoggedValues) -> list[Any] | pa.Array:
    """Return values as the column's type takes them; what it cannot hold is null."""
    if isinstance(column, PackedColumn):
        array = _array(kind, column)
        if array is not None:
            return array
    values = listed(column)
    if kind == "number":
        return [float(value) if isinstance(value, int | float) else None for value in values]
    if kind == "string":
        return [value if value is None or isinstance(value, str) else str(value) for value in values]
    return [value if isinstance(value, list) else None for value in values]


def _array(kind: str, column: PackedColumn) -> pa.Array | None:
    """Return a packed column of its kind without a look at each value; None where there is no such way."""
    packed = column.array()
    if kind == "string" and column.values is not None:
        codes = pa.array(packed, mask=packed < 0)
        return pa.DictionaryArray.from_arrays(codes, pa.array(column.values, pa.string())).dictionary_decode()
    if kind == "number" and column.values is None and packed.ndim == 1:
        whole = packed.dtype.kind != "f"
        return pa.array(packed.astype(np.float64)) if whole else pa.array(column.tolist(), pa.float64())
    return None
