"""Arrow streams, read and written without a server."""

import random
import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockgate.serving.model.columns import CodedStrings, Values
from lockgate.serving.protocols.arrow import read_stream
from lockgate.serving.protocols.arrow_columns import columns_of
from lockgate.serving.protocols.arrow_stream import _KNOWN, REMEMBERED, Bounds, Table
from lockgate.serving.refusals import Reason, RequestRefused

PREFIX, HEADER_TYPE = 8, 1  # bytes before a message's metadata; field of Message
BOUNDS = Bounds(rows=10_000, decoded_bytes=64 << 20)


def stream(*batches: pa.RecordBatch, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def file_of(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def plain(values: Values) -> list[Any]:
    """Return a column as JSON would have it: None for null."""
    if isinstance(values, CodedStrings):
        return [None if code < 0 else values.values[code] for code in values.codes.tolist()]
    return [None if value != value else value for value in list(values)]  # noqa: PLR0124 - NaN alone is not itself


BATCH = pa.record_batch(
    {
        "amount": pa.array([1.5, None, 3.0]),
        "age": pa.array([41, 30, 7], pa.int16()),
        "colour": pa.array(["red", None, "blue"]).dictionary_encode(),
        "shape": pa.array(["disc", "cube", "é"]),
    }
)
WANTED: Mapping[str, list[Any]] = {
    "amount": [1.5, None, 3.0],
    "age": [41, 30, 7],
    "colour": ["red", None, "blue"],
    "shape": ["disc", "cube", "é"],
}


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (pa.array([1, None, 3]), [1, None, 3]),
        (pa.array([1, 2**63], pa.uint64()), [1, 2**63]),
        (pa.array([2**53 + 1]), [2**53]),
        (pa.array([1.5, None], pa.float32()), [1.5, None]),
        (pa.array([1.5, float("nan")]), [1.5, None]),
        (pa.array([0.5, None], pa.float16()), [0.5, None]),
        (pa.array([True, None, False]), [1, None, 0]),
        (pa.array([None, Decimal("7.25")], pa.decimal128(9, 2)), [None, 7.25]),
        (pa.array([2, 3, 2]).dictionary_encode(), [2, 3, 2]),
        (pa.array(["a", None, "b", "a"]), ["a", None, "b", "a"]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
        (pa.array(["a", "a string of more than twelve bytes"], pa.string_view()), None),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (
            pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None], pa.uint8()), ["a", None, "b"]),
            ["a", None, "b", None],
        ),
        (pa.DictionaryArray.from_arrays(pa.array([3, None, 3]), ["a", "b", "c", None, "d"]), [None, None, None]),
        (pa.DictionaryArray.from_arrays(pa.array([4, None]), ["a", "b", "c", None, "d"]), ["d", None]),
        (pa.array([], pa.string()), []),
        (pa.nulls(2), [None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_every_type_a_model_takes_keeps_its_values_and_nulls(array: pa.Array, wanted: list[Any] | None) -> None:
    found = columns_of(pa.record_batch({"x": array}))["x"]
    assert plain(found) == (array.to_pylist() if wanted is None else wanted)
    sliced = columns_of(pa.record_batch({"x": array}).slice(1))["x"]
    assert plain(sliced) == plain(found)[1:]


def test_floats_are_not_copied() -> None:
    numbers = np.arange(1000.0)
    found = columns_of(pa.record_batch({"x": numbers}))["x"]
    assert isinstance(found, np.ndarray)
    assert np.shares_memory(found, numbers)


def test_of_a_large_dictionary_only_what_rows_use_is_kept() -> None:
    names = [f"value {number}" for number in range(100_000)]
    batch = pa.record_batch({"x": pa.DictionaryArray.from_arrays(pa.array([7, None, 99_999, 7]), names)})
    found = columns_of(batch)["x"]
    assert isinstance(found, CodedStrings)
    assert (plain(found), found.values) == ([names[7], None, names[-1], names[7]], (names[7], names[-1]))


def test_what_pandas_adds_for_its_index_is_left_out() -> None:
    table = pa.table({"x": [1.0], "__index_level_0__": [3]})
    assert list(columns_of(table.to_batches()[0])) == ["x"]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.array([b"a"]),
        pa.array([1], pa.timestamp("s")),
        pa.array([1], pa.date64()),
        pa.RunEndEncodedArray.from_arrays(pa.array([5], pa.int32()), pa.array([1.0])),
        pa.array([b"a"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_a_type_no_model_takes_is_refused_by_name(array: pa.Array) -> None:
    batch = pa.record_batch({"odd": array})
    for read in (lambda: columns_of(batch), lambda: read_stream(stream(batch), BOUNDS)):
        with pytest.raises(RequestRefused, match="column 'odd' is of Arrow type") as refused:
            read()
        assert refused.value.reason is Reason.WRONG_TYPE


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_a_stream_of_several_batches_is_one_request(compression: str | None) -> None:
    columns = read_stream(stream(BATCH, BATCH.slice(1, 1), compression=compression), BOUNDS)
    assert {name: plain(values) for name, values in columns.items()} == {
        name: [*values, values[1]] for name, values in WANTED.items()
    }


def test_dictionaries_that_grow_or_change_between_batches_are_followed() -> None:
    batches = [pa.record_batch({"x": pa.array(values).dictionary_encode()}) for values in (["a"], ["a", "b"], ["c"])]
    for deltas in (True, False):
        columns = read_stream(stream(*batches, emit_dictionary_deltas=deltas), BOUNDS)
        assert plain(columns["x"]) == ["a", "a", "b", "c"]


def test_a_single_row_is_plain_values() -> None:
    columns = read_stream(stream(BATCH.slice(1, 1)), BOUNDS)
    assert columns["colour"] == [None]
    assert columns["age"] == [30]
    assert str(columns["amount"]) == "[nan]"


def test_whole_numbers_of_a_single_row_stay_whole_as_they_do_in_json() -> None:
    batch = pa.record_batch(
        {
            "key": pa.array([2**53 + 1]),
            "small": pa.array([7], pa.uint8()),
            "null": pa.array([None], pa.int32()),
            "coded": pa.array([12345]).dictionary_encode(),
            "real": pa.array([7.0]),
            "yes": pa.array([True]),
            "__index_level_0__": pa.array([3]),
        }
    )
    columns = read_stream(stream(batch), BOUNDS)  # an entity's key is its text: 12345, not 12345.0
    assert {name: repr(values) for name, values in columns.items()} == {
        "key": "[9007199254740993]", "small": "[7]", "null": "[None]", "coded": "[12345]", "real": "[7.0]",
        "yes": "[1.0]",
    }  # fmt: skip


def bomb() -> bytes:
    return stream(pa.record_batch({"x": np.zeros(2_000_000)}), compression="zstd")


def dictionary_bomb() -> bytes:
    names = pa.array(["x" * 1000] * 6_000)
    return stream(pa.record_batch({"x": pa.DictionaryArray.from_arrays(pa.array([0]), names)}), compression="zstd")


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        (b"", Reason.MALFORMED, "not an Arrow stream"),
        (b'{"inputs": []}', Reason.MALFORMED, "not an Arrow stream"),
        (stream(BATCH)[:-100], Reason.MALFORMED, "not an Arrow stream"),
        (stream(BATCH)[:700], Reason.MALFORMED, "not an Arrow stream"),
        (stream(BATCH)[8:], Reason.MALFORMED, "not an Arrow stream"),
        (stream(BATCH) + b"xyz", Reason.MALFORMED, "3 bytes follow the end of the Arrow stream"),
        (stream(BATCH) + stream(BATCH), Reason.MALFORMED, f"{len(stream(BATCH))} bytes follow the end of the Arrow"),
        (stream(BATCH)[:-8] + stream(BATCH), Reason.MALFORMED, "a message of type schema is in it"),
        (file_of(BATCH), Reason.MALFORMED, "Arrow's file form; send its stream form"),
        (stream(pa.record_batch({"x": pa.nulls(1 << 24)})), Reason.TOO_MANY_ROWS, "16777216 rows, at most 10000"),
        (stream(*[BATCH] * 1025), Reason.TOO_MANY_ROWS, "more than 1024 parts"),
        (stream(*[BATCH.slice(0, 3)] * 1000, BATCH), Reason.TOO_MANY_ROWS, "at most 2000"),
        (stream(pa.record_batch({f"c{n}": [1.0] for n in range(10_001)})), Reason.BODY_TOO_LARGE, "10001 columns"),
        (stream(pa.record_batch({f"c{n}": pa.nulls(2000) for n in range(5000)})), Reason.BODY_TOO_LARGE, "unfolds to"),
        (stream(pa.RecordBatch.from_arrays([[1], [2]], names=["a", "a"])), Reason.MALFORMED, "'a' is sent twice"),
    ],
)  # fmt: skip
def test_a_stream_that_is_none_or_too_much_is_refused(body: bytes, reason: Reason, said: str) -> None:
    with pytest.raises(RequestRefused, match=said) as refused:
        read_stream(body, Bounds(rows=2000, decoded_bytes=64 << 20) if "2000" in said else BOUNDS)
    assert refused.value.reason is reason


@pytest.mark.parametrize("made", [bomb, dictionary_bomb])
def test_what_unfolds_beyond_the_bound_is_refused_before_it_does(made: Any) -> None:
    body = made()
    assert len(body) < 100_000
    before = pa.total_allocated_bytes()
    with pytest.raises(RequestRefused, match=r"unfolds to \d+ bytes, at most 4194304") as refused:
        read_stream(body, Bounds(rows=10_000_000, decoded_bytes=4 << 20))
    assert refused.value.reason is Reason.BODY_TOO_LARGE
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_what_unfolds_to_more_than_the_loop_may_read_is_left_to_a_thread() -> None:
    bounds = Bounds(rows=10_000_000, decoded_bytes=64 << 20)
    assert read_stream(bomb(), bounds, at_most=1 << 20) is None
    assert read_stream(stream(BATCH), bounds, at_most=1 << 20) is not None


def test_a_schema_that_was_seen_before_is_looked_at_as_if_it_were_new() -> None:
    odd = stream(pa.record_batch({"odd": pa.array([b"a"])}))
    for _ in range(2):
        with pytest.raises(RequestRefused, match="column 'odd' is of Arrow type"):
            read_stream(odd, BOUNDS)
        with pytest.raises(RequestRefused, match="the request holds 3 rows"):
            read_stream(stream(BATCH), Bounds(rows=2, decoded_bytes=1 << 20))


def test_the_memory_of_schemas_is_bounded() -> None:
    for number in range(200):
        read_stream(stream(pa.record_batch({f"x{number}": [1.0]})), BOUNDS)
    assert len(_KNOWN) <= REMEMBERED


def test_text_that_is_not_utf8_and_codes_that_point_nowhere_are_refused() -> None:
    offsets, raw = pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xff\xfe")
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, raw])
    codes = pa.DictionaryArray.from_arrays(pa.array([9]), ["a"], safe=False)
    for array in (broken, codes):
        with pytest.raises(RequestRefused, match="not an Arrow stream"):
            read_stream(stream(pa.RecordBatch.from_arrays([array], names=["x"])), BOUNDS)


@pytest.mark.parametrize("kind", [0, 4, 6, 255])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_message_of_an_odd_type_is_refused_and_does_not_end_the_process(kind: int, number: int) -> None:
    body, at = bytearray(stream(BATCH)), 0
    for message in list(pa.ipc.MessageReader.open_stream(bytes(body)))[: number + 1]:
        start = at + PREFIX  # of its metadata, after which the body follows
        at = start + message.metadata.size + (0 if message.body is None else message.body.size)
    field = Table.root(message.metadata.to_pybytes())._field(HEADER_TYPE)
    assert field is not None
    body[start + field] = kind
    with pytest.raises(RequestRefused, match="not an Arrow stream"):
        read_stream(bytes(body), BOUNDS)


def test_a_decimal_of_an_absurd_scale_is_refused_and_does_not_end_the_process() -> None:
    for scale in (-(10**6), 39, 8_323_074):
        batch = pa.record_batch(
            {"x": pa.array([Decimal(0), None], pa.decimal128(38, 0)).view(pa.decimal128(38, scale))}
        )
        with pytest.raises(RequestRefused, match="column 'x' is of Arrow type decimal128"):
            read_stream(stream(batch), BOUNDS)


def test_flipped_and_missing_bytes_never_do_more_than_refuse() -> None:
    chance = random.Random(20)  # noqa: S311 - no secret
    bodies = [stream(BATCH), stream(BATCH, BATCH, compression="zstd"), stream(BATCH, compression="lz4")]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(300):
        body = bytearray(chance.choice(bodies))
        for _ in range(chance.choice([1, 3, 20])):
            body[chance.randrange(len(body))] = chance.choice([0, 1, 127, 255])
        try:
            read_stream(bytes(body[: chance.choice([len(body), chance.randrange(len(body))])]), BOUNDS)
            outcomes["read"] += 1
        except RequestRefused:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10
