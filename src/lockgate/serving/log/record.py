"""What one request leaves in the prediction log, and how it becomes a line of JSON: privacy first.

A line holds every field of `Record` but `contract` and `body_bytes`; `chosen` only where it is set. Of the inputs it
holds the columns the contract knows: those that `LogPolicy` hashes stand under `hashed` instead, those that it omits
are named under `omitted`; both keys are there only where the policy has such columns. Whatever else a caller sent is
not kept.

Arrays of a request with more than `PACKED_ROWS` rows are written as `packed_columns` has them, inputs of one with more
than `BINARY_ROWS` as `binary_columns` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from lockgate.core.contract import ModelContract
from lockgate.serving.log.binary_columns import BINARY_ROWS, BinaryColumns, Line, is_binary
from lockgate.serving.log.keyed_hash import KeyedHash
from lockgate.serving.log.packed_columns import PACKED_ROWS, PIECE_BYTES, is_packable, packed, packed_labels
from lockgate.serving.log.policy import Policy
from lockgate.serving.model.column_values import CodedStrings, Columns, Flag, Labels, MatrixColumns, RowColumns, Values

WHOLE_ROWS: Final = 256  # ours: a request with more is work enough for one go of the writer
PIECE_VALUES: Final = 2048  # about 0.1 ms
BREATH_BYTES: Final = PIECE_BYTES // 3 * 4  # of base64, after which others may have the interpreter: about 0.1 ms
_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 64) - 1  # orjson takes integers of 64 bits, with a sign or without
_TEXT_COST: Final = 8  # times what a byte of base64 costs, where a text is made of each number
_COLUMNS: Final = {name: b',"%b":' % name.encode() for name in ("inputs", "hashed", "outputs")}
_HASHES_AT_ONCE: Final = 128  # about 0.2 ms
_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS


class Record(msgspec.Struct, frozen=True, gc=False):
    """One request: answered, or failed.

    Attributes:
        time: Seconds since the epoch.
        prediction_id: The id its answer carried; of a failed one nobody was told it.
        model: Name of the model.
        digest: The bundle that answered, or failed to.
        arm: The arm it answered for, or failed to.
        entity: What keyed the routing, if anything did.
        rows: How many rows.
        inputs: The columns as they came; None where inputs are not logged.
        outputs: Arrays and lists by name, one value a row; none where there was no answer.
        flags: What did not keep to the contract.
        latency_us: From the request's headers to its answer being ready, or to its failure, whole microseconds.
        contract: The contract of the bundle: its `log` policy is applied before anything is written, and its columns
            give the archive their types. None: everything is written as it came.
        request_id: The caller's own id; None: it gave none.
        kind: `live`, `forced` (the caller chose the arm: never counted), `probe` (somebody looked whether callers are
            answered: never counted), `shadow` (nobody saw the answer), `failed` (neither the chosen arm nor what stands
            behind it had an answer) or `shadow_failed` (the shadow had none).
        fallback: Whether another arm than the chosen one answered, because that one failed.
        propensity: The probability with which the routing chose the arm, 0 to 1.
        trace: The caller's `traceparent` header.
        body_bytes: Size of the request's body, for the bound on memory; 0 where it is not known.
        chosen: The arm that the routing chose, where another one answered; None: it is `arm`.
    """

    time: float
    prediction_id: str
    model: str
    digest: str
    arm: str
    entity: str | None
    rows: int
    inputs: Columns | None
    outputs: Mapping[str, Any]
    flags: tuple[Flag, ...]
    latency_us: int
    contract: ModelContract | None = None
    request_id: str | None = None
    kind: str = "live"
    fallback: bool = False
    propensity: float = 1.0
    trace: str | None = None
    body_bytes: int = 0
    chosen: str | None = None


class LineEncoder:
    """Makes lines of records; used by one thread."""

    def __init__(self, keyed: KeyedHash, breathe: Callable[[], None]) -> None:
        """Take the hash for columns that are not to be read, and what to call between two pieces of a long line."""
        self._keyed, self._breathe = keyed, breathe
        self._policies: dict[str, Policy] = {}
        self._binary = BinaryColumns()

    def encode(self, record: Record) -> Line:
        """Return a record as one line of JSON, that of a large request in pieces.

        Raises:
            OSError: The key of hashed columns can neither be read nor made.
            TypeError: Something in the record has no JSON form.
        """
        fields = self._fields(record)
        try:
            return self._line(record.rows, fields)
        except TypeError:
            if fields["inputs"] is None:
                raise
            return self._line(record.rows, {**fields, "inputs": _within_64_bits(fields["inputs"])})

    def open_key(self) -> None:
        """Make sure that what is to be hashed can be.

        Raises:
            OSError: The key can neither be read nor made.
        """
        self._keyed.open()

    def needs_key(self, record: Record) -> bool:
        """Tell whether something of a record is written as a hash alone."""
        policy = self._policy(record)
        return policy is not None and policy.needs_key(
            entity=record.entity is not None, inputs=record.inputs is not None
        )

    def _line(self, rows: int, fields: Mapping[str, Any]) -> Line:
        if rows <= PACKED_ROWS:
            line = orjson.dumps(fields, default=_to_json, option=_OPTIONS | orjson.OPT_APPEND_NEWLINE)
            # orjson's bytes keep the 8 kB they were written into, for as long as the line waits for the disk
            return Line([memoryview(line).tobytes()])
        self._binary.take()  # what a line that failed has left
        pieces = [*self._pieces(fields)]
        blobs = self._binary.take()
        if not blobs:
            return Line([*pieces, b"}\n"])
        pieces.append(b',"binary":{"bytes":%d,"at":' % sum(blob.nbytes for blob in blobs))
        return Line([*pieces, b"", b"}}\n"], blobs, len(pieces))

    def _fields(self, record: Record) -> dict[str, Any]:
        policy = self._policy(record)
        inputs, entity, hashed = record.inputs, record.entity, None
        if policy is not None:
            if policy.hides_entity and entity is not None:
                entity = self._keyed(_as_number(entity) if policy.numeric_entity else entity)
            if not policy.inputs:
                inputs = None
            elif inputs is not None and tuple(inputs) != policy.seen_plain:
                if inputs.keys() <= policy.plain:
                    policy.seen_plain = tuple(inputs)
                else:
                    hashed = {name: self._hash(inputs[name]) for name in policy.hashed if name in inputs}
                    inputs = {name: values for name, values in inputs.items() if name in policy.plain}
        fields = {
            "time": datetime.fromtimestamp(record.time, UTC),
            "prediction_id": record.prediction_id,
            "request_id": record.request_id,
            "model": record.model,
            "digest": record.digest,
            "arm": record.arm,
            "kind": record.kind,
            "fallback": record.fallback,
            "propensity": record.propensity,
            "entity": entity,
            "rows": record.rows,
            "inputs": inputs,
            "outputs": record.outputs,
            "flags": record.flags,
            "latency_us": record.latency_us,
            "trace": record.trace,
        }
        if record.chosen is not None:
            fields["chosen"] = record.chosen
        if hashed:
            fields["hashed"] = hashed
        if policy is not None and policy.omitted:
            fields["omitted"] = policy.omitted
        return fields

    def _policy(self, record: Record) -> Policy | None:
        if record.contract is None:
            return None
        policy = self._policies.get(record.digest)
        if policy is None:
            if len(self._policies) > 100:  # bundles come and go
                self._policies.clear()
            policy = self._policies[record.digest] = Policy(record.contract)
        return policy

    def _hash(self, column: Values) -> list[str | None]:
        hashed: list[str | None] = []
        for values in _slices(column, _HASHES_AT_ONCE):
            hashed += map(self._keyed, _to_list(values))
            if len(column) > WHOLE_ROWS:
                self._breathe()
        return hashed

    def _pieces(self, fields: Mapping[str, Any]) -> Iterator[bytes]:
        """Return the line of a large request piece by piece, all but its end; its columns come last."""
        facts = {name: value for name, value in fields.items() if value is None or name not in _COLUMNS}
        yield orjson.dumps(facts, default=_to_json, option=_OPTIONS)[:-1]
        for name, key in _COLUMNS.items():
            columns = fields.get(name)
            if columns is not None:
                yield key
                yield from self._column_pieces(columns, binary=name == "inputs" and fields["rows"] > BINARY_ROWS)

    def _column_pieces(self, columns: Columns, *, binary: bool) -> Iterator[bytes]:
        together = (self._binary.matrix(columns) or self._binary.arrays(columns)) if binary else None
        if together is not None:
            yield together
            return
        start, unbroken = b"{", 0
        for name, column in (columns.contiguous() if isinstance(columns, MatrixColumns) else columns).items():
            yield start + orjson.dumps(name) + b":"
            start = b","
            for piece, cost in self._costed(column, binary=binary):
                yield piece
                unbroken += cost
                if unbroken >= BREATH_BYTES:
                    self._breathe()
                    unbroken = 0
        yield b"}" if columns else b"{}"

    def _costed(self, column: Values, *, binary: bool) -> Iterable[tuple[bytes, int]]:
        """Return the pieces of a column, each with what it costs, in bytes of base64."""
        if isinstance(column, Labels):
            return ((piece, len(piece)) for piece in packed_labels(column))
        if binary and is_binary(column):
            return (self._binary.column(column),)
        if is_packable(column):
            return ((piece, len(piece)) for piece in packed(column))
        return ((piece, _TEXT_COST * len(piece)) for piece in _text_pieces(column))


def _text_pieces(column: Values) -> Iterator[bytes]:
    """Return a column as a list, in pieces."""
    open_list = b"["
    for values in _slices(column, PIECE_VALUES):
        yield open_list + orjson.dumps(values, default=_to_json, option=_OPTIONS)[1:-1]
        open_list = b","
    yield b"]"


def _slices(column: Values, rows: int) -> Iterator[Values]:
    for start in range(0, len(column), rows):
        if isinstance(column, CodedStrings):
            yield CodedStrings(column.codes[start : start + rows], column.values)
        else:
            yield column[start : start + rows]


def _to_list(column: Values) -> Sequence[object]:
    if isinstance(column, CodedStrings):
        values: tuple[str | None, ...] = (*column.values, None)  # a null's code is -1
        return [values[code] for code in column.codes.tolist()]
    if isinstance(column, np.ndarray | Labels):
        listed: list[object] = list(column.tolist())
        return listed
    return column


def _to_json(value: object) -> object:
    """Return what orjson cannot write by itself as what it can."""
    if isinstance(value, RowColumns):
        return value.to_dict()
    if isinstance(value, MatrixColumns):
        return value.contiguous()
    if isinstance(value, np.ndarray) and not value.flags.c_contiguous:
        return np.ascontiguousarray(value)  # orjson then writes a float32 in its shortest form, as it does any other
    if isinstance(value, CodedStrings | Labels | np.ndarray):
        return _to_list(value)
    if isinstance(value, Flag):
        return {"flag": value.flag, "column": value.column, "rows": value.rows}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _within_64_bits(columns: Columns) -> Columns:
    """Return columns whose longer integers are floats: a model takes them as such, and JSON has no others here."""
    return {
        name: [float(each) if isinstance(each, int) and not _LEAST <= each <= _MOST else each for each in values]
        if isinstance(values, list | tuple)
        else values
        for name, values in columns.items()
    }


def _as_number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text
