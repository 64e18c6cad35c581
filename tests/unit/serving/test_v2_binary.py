"""The binary tensor data extension, read and written without a server."""

import dataclasses
import struct
import time
import timeit
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core.contract import ColumnType, InputColumn
from lockgate.serving.http.handling import json_bytes
from lockgate.serving.http.json_body import parse_json
from lockgate.serving.model.columns import CodedStrings
from lockgate.serving.protocols.v2_binary import no_binary, raw_bytes, split
from lockgate.serving.protocols.v2_model import BundleForm
from lockgate.serving.protocols.v2_request import InferRequest, parse_infer
from lockgate.serving.refusals import RequestRefused
from tests.bundles import contract

DTYPES = {
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}


def sent(texts: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def tensor(data: bytes, datatype: str, shape: list[int], name: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(data)}, **more}


def read(tensors: list[dict[str, Any]], data: bytes, header: bytes | None = None) -> InferRequest:
    said = json_bytes({"inputs": tensors})
    json_part, binary = split(said + data, b"%d" % len(said) if header is None else header)
    asked = parse_infer(parse_json(json_part), binary)
    binary.end()
    return asked


def texts_of(column: Any) -> list[str]:
    if isinstance(column, CodedStrings):
        assert column.codes.dtype == np.int32
        return [column.values[code] for code in column.codes.tolist()]
    assert all(type(text) is str for text in column)
    return list(column)


@pytest.mark.parametrize(("datatype", "dtype"), DTYPES.items())
@pytest.mark.parametrize("times", [1, 16, 17, 1000])
def test_numbers_are_their_raw_little_endian_bytes(datatype: str, dtype: str, times: int) -> None:
    numbers = np.array([1, 0, 100, 7] * times, dtype)
    column = read([tensor(numbers.tobytes(), datatype, [4 * times, 1])], numbers.tobytes()).columns["x"]
    assert isinstance(column, list if times <= 16 else np.ndarray)
    assert list(column) == numbers.tolist()
    assert isinstance(column, list) or column.dtype == numbers.dtype  # type: ignore[union-attr]  # an array


def test_true_and_false_are_one_and_zero() -> None:
    for times in (1, 100):
        truth = b"\1\0" * times
        assert list(read([tensor(truth, "BOOL", [2 * times])], truth).columns["x"]) == [1, 0] * times


def test_tensors_lie_in_the_order_of_the_inputs_and_json_ones_beside_them() -> None:
    numbers, texts = np.array([1.5, 2.5], "<f4").tobytes(), sent([b"red", b"green"])
    asked = read(
        [
            tensor(numbers, "FP32", [2], "a"),
            {"name": "b", "shape": [2], "datatype": "INT64", "data": [1, None]},
            tensor(texts, "BYTES", [2], "c"),
        ],
        numbers + texts,
    )
    assert np.array_equal(asked.columns["a"], [1.5, 2.5])  # type: ignore[arg-type]  # an array
    assert asked.columns["b"] == [1, None]
    assert texts_of(asked.columns["c"]) == ["red", "green"]


def test_a_row_major_tensor_keeps_its_width() -> None:
    numbers = np.arange(6, dtype="<f4").tobytes()
    asked = read([tensor(numbers, "FP32", [2, 3], "numbers")], numbers)
    assert asked.widths == {"numbers": 3}
    assert np.array_equal(asked.columns["numbers"], np.arange(6))  # type: ignore[arg-type]  # an array


@pytest.mark.parametrize(
    "texts",
    [
        ["UA", "DL", "UA"],
        ["a", "bcd", "ef"],
        ["", "", ""],
        ["", "x"],
        ["x", ""],
        ["\0\0\0", "\0"],
        ["a\0\0\0b", "c"],
        ["é" * 200, "short"],
        ["y" * 256, "z" * 70_000],
        [],
    ],
)
@pytest.mark.parametrize("times", [1, 100])
def test_strings_of_any_length_are_found(texts: list[str], times: int) -> None:
    texts = texts * times
    data = sent([text.encode() for text in texts])
    assert texts_of(read([tensor(data, "BYTES", [len(texts)])], data).columns["x"]) == texts


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), st.sampled_from([1, 70]))
def test_whatever_strings_are_sent_are_read(texts: list[str], times: int) -> None:
    texts = texts * times
    data = sent([text.encode() for text in texts])
    assert texts_of(read([tensor(data, "BYTES", [len(texts)])], data).columns["x"]) == texts


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 12))
def test_bytes_that_are_no_strings_are_refused_or_read_to_the_last_one(data: bytes, elements: int) -> None:
    try:
        column = read([tensor(data, "BYTES", [elements])], data).columns["x"]
    except RequestRefused:
        return
    assert sent([text.encode() for text in texts_of(column)]) == data


def test_equal_strings_are_decoded_once() -> None:
    data = sent([b"red", b"blue"] * 500)
    column = read([tensor(data, "BYTES", [1000])], data).columns["x"]
    assert isinstance(column, CodedStrings)
    assert column.values == ("red", "blue")


@pytest.mark.parametrize(
    ("tensors", "data", "header", "said"),
    [
        ([tensor(b"", "FP32", [0])], b"", b"", "Inference-Header-Content-Length ''"),
        ([tensor(b"", "FP32", [0])], b"", b"-1", "Inference-Header-Content-Length '-1'"),
        ([tensor(b"", "FP32", [0])], b"", b"9" * 5000, "Inference-Header-Content-Length '9999"),
        ([tensor(b"", "FP32", [0])], b"", b"100000", "but the body is"),
        ([tensor(b"", "FP32", [0])], b"", b"10", "not JSON"),
        ([tensor(b"1234", "FP32", [2])], b"1234", None, "needs 8 bytes of FP32, binary_data_size is 4"),
        ([tensor(b"12345", "FP64", [1])], b"12345", None, "needs 8 bytes of FP64, binary_data_size is 5"),
        ([tensor(b"1234", "FP32", [10**18, 1])], b"1234", None, "its shape needs 4000000000000000000 bytes"),
        ([tensor(b"1234", "FP32", [1])], b"123", None, "binary_data_size 4, but 3 bytes are left"),
        ([tensor(b"1234", "FP32", [1])], b"12345", None, "1 bytes follow the last tensor"),
        ([tensor(b"\2", "BOOL", [1])], b"\2", None, "a BOOL is one byte, 0 or 1"),
        ([tensor(b"\1\2" * 99, "BOOL", [198])], b"\1\2" * 99, None, "a BOOL is one byte, 0 or 1"),
        ([tensor(b"\1\0\0\0\xff" * 99, "BYTES", [99])], b"\1\0\0\0\xff" * 99, None, "not UTF-8"),
        ([tensor(b"\1\0\0\0a" * 99, "BYTES", [98])], b"\1\0\0\0a" * 99, None, "not 98 lengths and strings"),
        ([tensor(b"\2\0\0\0a" * 99, "BYTES", [99])], b"\2\0\0\0a" * 99, None, "not 99 lengths and strings"),
        ([tensor(b"\1\0\0\0\xff", "BYTES", [1])], b"\1\0\0\0\xff", None, "not UTF-8"),
        ([tensor(b"\5\0\0\0a", "BYTES", [1])], b"\5\0\0\0a", None, "not 1 lengths and strings"),
        ([tensor(b"\1\0\0\0a", "BYTES", [2])], b"\1\0\0\0a", None, "not 2 lengths and strings"),
        ([tensor(b"\1\0\0\0a", "BYTES", [0])], b"\1\0\0\0a", None, "not 0 lengths and strings"),
        ([tensor(b"\xff\xff\xff\xff", "BYTES", [1])], b"\xff\xff\xff\xff", None, "not 1 lengths and strings"),
        ([tensor(b"1", "BF16", [1])], b"1", None, "datatype 'BF16'; known are"),
        ([tensor(b"1", "UINT8", [1], parameters={"binary_data_size": "1"})], b"1", None, "binary_data_size '1',"),
        ([tensor(b"1", "UINT8", [1], parameters={"binary_data_size": -1})], b"1", None, "binary_data_size -1"),
        ([tensor(b"1", "UINT8", [1], parameters={"binary_data_size": True})], b"1", None, "binary_data_size True"),
        ([tensor(b"1", "UINT8", [1], parameters=[])], b"1", None, "'data' must be an array"),
        ([tensor(b"1", "UINT8", [1], parameters=[1])], b"1", None, "'parameters' must be an object"),
    ],
)
def test_sizes_that_do_not_agree_are_refused(
    tensors: list[dict[str, Any]], data: bytes, header: bytes | None, said: str
) -> None:
    with pytest.raises(RequestRefused, match=said):
        read(tensors, data, header)


def test_a_binary_tensor_needs_the_header_that_tells_where_json_ends() -> None:
    with pytest.raises(RequestRefused, match="no header Inference-Header-Content-Length"):
        parse_infer({"inputs": [tensor(b"1234", "FP32", [1])]}, no_binary)


def of_columns(*kinds: ColumnType) -> BundleForm:
    """Return the form of a model with such columns."""
    inputs = tuple(InputColumn(name=f"c{at}", type=kind) for at, kind in enumerate(kinds))
    return BundleForm(dataclasses.replace(contract(), inputs=inputs))


def test_the_raw_bytes_of_a_models_only_input_need_no_json_in_front() -> None:
    asked = of_columns(ColumnType.NUMBER).raw(struct.pack("<3f", 1.5, -2, 7))
    assert {name: list(values) for name, values in asked.columns.items()} == {"c0": [1.5, -2, 7]}
    assert (asked.datatypes, asked.outputs, asked.binary_output) == (["FP32"], None, True)


@pytest.mark.parametrize(
    ("kinds", "body", "said"),
    [
        ((ColumnType.NUMBER,), b"123", "3 bytes are no FP32"),
        ((ColumnType.STRING,), b"abcd", "a model of one input, a number's; this one's are c0 BYTES"),
        ((ColumnType.NUMBER,) * 2, b"12345678", "a model of one input, a number's; this one's are c0 FP32, c1 FP32"),
    ],
)
def test_raw_bytes_that_do_not_tell_what_they_are_are_refused(
    kinds: tuple[ColumnType, ...], body: bytes, said: str
) -> None:
    with pytest.raises(RequestRefused, match=said):
        of_columns(*kinds).raw(body)


def test_outputs_are_written_as_they_are_read() -> None:
    numbers, labels = np.array([[0.25, 0.75], [1, 0]], np.float32), ["ja", "ünï", "ja"]
    assert raw_bytes(numbers) == struct.pack("<4f", 0.25, 0.75, 1, 0)
    assert raw_bytes(numbers[:, 0]) == struct.pack("<2f", 0.25, 1)
    assert raw_bytes(labels) == sent([label.encode() for label in labels])


def test_ten_thousand_strings_take_milliseconds() -> None:
    data = sent([b"carrier-%d" % (number % 30) for number in range(10_000)])
    tensors = [tensor(data, "BYTES", [10_000])]
    cpu_s = timeit.repeat(lambda: read(tensors, data), number=1, repeat=5, timer=time.process_time)
    assert min(cpu_s) < 0.05  # measured: 2 ms
