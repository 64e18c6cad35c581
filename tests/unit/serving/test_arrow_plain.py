"""The commonest Arrow stream, read as views of its bytes and answered without pyarrow: as pyarrow would have it."""

import contextlib
import random
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockgate.serving.model.column_values import Labels
from lockgate.serving.model.columns import CodedStrings, Columns
from lockgate.serving.protocols import arrow_plain
from lockgate.serving.protocols.arrow import _only_batch, read_stream
from lockgate.serving.protocols.arrow_answer import stream as answered
from lockgate.serving.protocols.arrow_columns import columns_of
from lockgate.serving.protocols.arrow_plain import REMEMBERED, read_plain
from lockgate.serving.protocols.arrow_stream import Bounds, open_checked
from lockgate.serving.refusals import RequestRefused
from tests.unit.serving.test_arrow import stream

BOUNDS = Bounds(rows=10_000, decoded_bytes=64 << 20)
SAID = {"model": "m", "release_digest": "d", "arm": "champion", "prediction_id": "18f-3"}


def batch(rows: int = 5, **more: Any) -> pa.RecordBatch:
    colours = ["red", "blué", None, "red", ""]
    return pa.record_batch({
        "amount": pa.array([1.5, 2.5, None, 4.0, float("nan")] * (rows // 5), pa.float32()),
        "colour": pa.array(colours * (rows // 5)).dictionary_encode(),
        "age": pa.array([41.0, 30.0, 7.0, 1e300, -0.0] * (rows // 5), pa.float64()),
        "shape": pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, 0, 1] * (rows // 5), pa.int8()), ["cube", "disc"]),
        **more,
    })  # fmt: skip


def listed(columns: Columns) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in columns.items():
        if isinstance(values, CodedStrings):
            found[name] = [None if code < 0 else values.values[code] for code in values.codes.tolist()]
        else:
            found[name] = [repr(float(value)) for value in values]  # type: ignore[arg-type]  # numbers, all of them
    return found


def by_pyarrow(body: bytes) -> dict[str, Any]:
    return listed(columns_of(_only_batch(open_checked(body, BOUNDS)[0])))


def test_a_stream_of_a_known_schema_is_read_as_pyarrow_reads_it() -> None:
    bodies = [stream(batch(rows)) for rows in (5, 100)]
    arrow_plain._SCHEMAS.clear()
    assert read_plain(bodies[0], BOUNDS) is None, "nothing is known of it yet"
    read_stream(bodies[0], BOUNDS)
    for body in bodies:
        columns = read_plain(body, BOUNDS)
        assert columns is not None
        assert listed(columns) == by_pyarrow(body)
        assert {type(values) for values in columns.values()} == {np.ndarray, CodedStrings}


def test_numbers_without_nulls_are_views_of_the_body() -> None:
    body = stream(pa.record_batch({"amount": pa.array(np.arange(50, dtype=np.float32))}))
    read_stream(body, BOUNDS)
    columns = read_plain(body, BOUNDS)
    assert columns is not None
    (amount,) = columns.values()
    assert isinstance(amount, np.ndarray)
    assert not amount.flags.owndata
    assert not amount.flags.writeable


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(stream(batch(), batch()), id="two batches"),
        pytest.param(stream(batch(), compression="zstd"), id="compressed"),
        pytest.param(stream(batch(count=pa.array([1, 2, 3, 4, 5]))), id="whole numbers"),
        pytest.param(stream(batch(name=pa.array(list("abcde")))), id="plain strings"),
        pytest.param(stream(batch().slice(0, 0)), id="no rows"),
        pytest.param(stream(batch(__index_level_0__=pa.array([1.0] * 5))), id="an index of pandas"),
        pytest.param(stream(batch()) + b"more", id="something behind its end"),
        pytest.param(stream(batch(), use_legacy_format=True), id="as it was written before 2019"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_of_another_form_is_left_to_pyarrow(body: bytes) -> None:
    read_stream(stream(batch()), BOUNDS)
    with contextlib.suppress(RequestRefused):
        read_stream(body, BOUNDS)
    assert read_plain(body, BOUNDS) is None


def test_more_rows_than_are_taken_are_left_to_be_refused() -> None:
    body = stream(batch(100))
    read_stream(body, BOUNDS)
    assert read_plain(body, Bounds(99, 1 << 20)) is None
    assert read_plain(body, Bounds(100, 100)) is None
    with pytest.raises(RequestRefused, match="the request holds 100 rows"):
        read_stream(body, Bounds(99, 1 << 20))


def test_codes_that_point_nowhere_and_text_that_is_not_utf8_are_left_to_be_refused() -> None:
    read_stream(stream(batch(100)), BOUNDS)
    body = stream(batch(100))
    for wrong in (body.replace(b"disc", b"\xff\xfes\xff"), body.replace(bytes([0, 1, 1, 0, 1] * 3), b"\x02" * 15)):
        assert wrong != body
        assert read_plain(wrong, BOUNDS) is None
        with pytest.raises(RequestRefused, match="not an Arrow stream"):
            read_stream(wrong, BOUNDS)
    negative = body.replace(bytes([0, 1, 1, 0, 1] * 3), b"\xff" * 15)
    assert read_plain(negative, BOUNDS) is None


@pytest.mark.parametrize("mutants", [500, pytest.param(50_000, marks=pytest.mark.soak)])
def test_whatever_is_read_of_broken_bytes_pyarrow_reads_alike(mutants: int) -> None:
    chance = random.Random(mutants)  # noqa: S311 - no secret
    body = stream(batch(10))
    read_stream(body, BOUNDS)
    read = refused = 0
    for _ in range(mutants):
        broken = bytearray(body)
        for _ in range(chance.choice([1, 2, 6])):
            broken[chance.randrange(len(body))] = chance.choice([0, 1, 2, 3, 8, 127, 255])
        columns = read_plain(bytes(broken), BOUNDS)
        if columns is None:
            refused += 1
            continue
        read += 1
        assert listed(columns) == by_pyarrow(bytes(broken)), broken.hex()
    assert min(read, refused) > mutants // 20


def test_cut_streams_are_never_read() -> None:
    body = stream(batch(10))
    read_stream(body, BOUNDS)
    whole = len(body) - 8  # the end's own message may be left out
    assert all(read_plain(body[:size], BOUNDS) is None for size in range(0, whole, 3))
    assert read_plain(body[:whole], BOUNDS) is not None


def test_many_dictionaries_are_not_walked_through() -> None:
    body = stream(batch(10))
    read_stream(body, BOUNDS)
    messages = list(pa.ipc.MessageReader.open_stream(body))
    first = 8 + messages[0].metadata.size
    second = first + 8 + messages[1].metadata.size + messages[1].body.size
    assert read_plain(body[:second] + body[first:second] + body[second:], BOUNDS) is None


def test_what_is_remembered_of_streams_is_bounded() -> None:
    for number in range(REMEMBERED + 50):
        body = stream(pa.record_batch({f"x{number}": pa.array([f"y{number}"] * 2).dictionary_encode()}))
        read_stream(body, BOUNDS)
        assert read_plain(body, BOUNDS) is not None
    for kept in (arrow_plain._SCHEMAS, arrow_plain._MESSAGES, arrow_plain._DICTIONARIES):
        assert 0 < len(kept) <= REMEMBERED


@pytest.mark.parametrize("rows", [1, 3, 65, 1_000])
@pytest.mark.parametrize("classes", [["no", "yes"], ["a", "longer", "é"], ["", "x"]])
def test_an_answer_is_what_pyarrow_reads_of_it(rows: int, classes: list[str]) -> None:
    chance = np.random.default_rng(rows)
    scores = chance.random((rows, 3), np.float32)
    labels = Labels(chance.integers(0, len(classes), rows), np.array(classes, object))
    forms: list[dict[str, Any]] = [
        {"probability": scores[:, 0], "label": labels},
        {"probabilities": scores, "label": labels.tolist()},
        {"value": scores[:, 1].copy()},
    ]
    for outputs in forms:
        reader = pa.ipc.open_stream(answered(outputs, SAID))
        (found,) = list(reader)
        found.validate(full=True)
        assert {name.decode(): value.decode() for name, value in found.schema.metadata.items()} == SAID
        for name, wanted in outputs.items():
            assert found[name].to_pylist() == (wanted if isinstance(wanted, list) else wanted.tolist())
        assert [str(kind) for kind in found.schema.types] == [
            "string" if name == "label" else "float" if data.ndim == 1 else "fixed_size_list<item: float>[3]"
            for name, data in outputs.items()
        ]


def test_each_answer_says_its_own_id_and_flags() -> None:
    for said in (SAID, {**SAID, "prediction_id": "18f-4"}, {**SAID, "flags": "[1]"}, {**SAID, "flags": "[2]"}):
        reader = pa.ipc.open_stream(answered({"value": np.zeros(2, np.float32)}, said))
        assert reader.schema.metadata == {name.encode(): value.encode() for name, value in said.items()}


def test_the_metadata_of_a_batch_is_aligned_as_the_format_asks() -> None:
    body = answered({"value": np.zeros(3, np.float32)}, SAID)
    at = 0
    while at < len(body):
        begins, size = struct.unpack_from("<Ii", body, at)
        assert (begins, size % 8, at % 8) == (0xFFFFFFFF, 0, 0)
        if at:
            break
        at += 8 + size
