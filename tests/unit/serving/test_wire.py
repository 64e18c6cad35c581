"""The two request forms, read without a server, and what the server says about itself."""

import contextlib
import gc
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.serving.http.admin import asked_renewal, asked_routing
from lockgate.serving.http.app import DATA_ROUTES
from lockgate.serving.http.handling import Dispatch, Request, caller_request_id, caller_trace
from lockgate.serving.http.json_body import LARGE_BYTES, nans_of, parse_json, with_nulls
from lockgate.serving.model.columns import CodedStrings, InputEncoder
from lockgate.serving.protocols.column_bound import MOST_COLUMNS
from lockgate.serving.protocols.invocation_request import Invocation, parse_invocation, read_csv, typed
from lockgate.serving.protocols.openapi import SCHEMAS, document
from lockgate.serving.protocols.v2_binary import no_binary
from lockgate.serving.protocols.v2_model import BundleForm
from lockgate.serving.protocols.v2_request import InferRequest, parse_infer, read_infer
from lockgate.serving.refusals import Reason, RequestRefused
from tests.bundles import contract


def tensor(**change: Any) -> dict[str, Any]:
    return {"name": "age", "shape": [2], "datatype": "FP32", "data": [1, 2]} | change


@pytest.mark.parametrize(
    "given", [tensor(), tensor(shape=[2, 1]), tensor(shape=[2, 1], data=[[1], [2]]), tensor(datatype="INT64")]
)
def test_a_column_may_be_flat_or_nested(given: dict[str, Any]) -> None:
    columns = parse_infer({"inputs": [given]}, no_binary).columns
    assert columns == {"age": [1, 2]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "an infer request is an object with 'inputs'"),
        ({"inputs": {}}, "an infer request is an object with 'inputs'"),
        ({"inputs": []}, "an infer request is an object with 'inputs'"),
        ({"inputs": [1]}, r"inputs\[0\] must be an object with a 'name'"),
        ({"inputs": [tensor(), tensor()]}, "input 'age' is sent twice"),
        ({"inputs": [tensor(datatype="BOOL")]}, "input 'age': datatype 'BOOL'"),
        ({"inputs": [tensor(datatype=None)]}, "input 'age': datatype None"),
        ({"inputs": [tensor(data="1,2")]}, "input 'age': 'data' must be an array"),
        ({"inputs": [tensor(shape=[3])]}, r"input 'age': shape \[3\] but 2 values"),
        ({"inputs": [tensor(shape=[True, 1])]}, "input 'age': 'shape' must be an array of sizes"),
        ({"inputs": [tensor(shape=2)]}, "input 'age': 'shape' must be an array of sizes"),
        ({"inputs": [tensor(shape=[True], data=[1])]}, "input 'age': 'shape' must be an array of sizes"),
        ({"inputs": [tensor(shape=[1, 2])]}, "one tensor is one column"),
        ({"inputs": [tensor(shape=[])]}, "one tensor is one column"),
    ],
)
def test_a_malformed_infer_request_names_the_tensor(body: Any, said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        parse_infer(body, no_binary)


NAMES = st.sampled_from(["age", "amount", "numbers", "strings"])
CELLS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
SHAPES = st.sampled_from([[1], [1, 1], [1, 2], [2], [2, 1], [2, 2], [0], [], [1, 1, 1], ["1"], 1, None])
HINTS = st.none() | st.fixed_dictionaries({}, optional={"content_type": st.sampled_from(["np", "str", "pd", "x", 1])})
TENSORS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "shape": SHAPES,
        "datatype": st.sampled_from(["FP32", "FP64", "BYTES", "INT64", "UINT8", "BOOL", "FP8"]),
        "data": st.lists(CELLS | st.booleans() | st.lists(CELLS, max_size=2), max_size=2),
    },
    optional={"parameters": HINTS},
)
FLAGS_ASKED = st.none() | st.fixed_dictionaries(
    {},
    optional={"explain": st.sampled_from([True, False, None, 1]), "binary_data_output": st.booleans(), "other": CELLS},
)
OUTPUTS_ASKED = st.none() | st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["label", "probability", 1])},
        optional={"parameters": st.none() | st.fixed_dictionaries({}, optional={"binary_data": st.booleans()})},
    ),
    max_size=2,
)
BODIES = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=2)},
    optional={"id": st.none() | st.text() | st.integers(0, 9), "parameters": FLAGS_ASKED, "outputs": OUTPUTS_ASKED},
)


def outcome(read: Any, body: Any) -> InferRequest | str:
    try:
        asked: InferRequest = read(body)
    except RequestRefused as refused:
        return refused.message
    return asked


@settings(max_examples=150, deadline=None)
@given(BODIES)
def test_the_quick_way_and_the_thorough_one_read_the_same(body: Any) -> None:
    raw = orjson.dumps(body)
    assert outcome(read_infer, raw) == outcome(lambda each: parse_infer(orjson.loads(each), no_binary), raw)


def test_the_quick_way_is_taken_by_one_row_of_either_form() -> None:
    columns = read_infer(b'{"inputs": [{"name": "age", "shape": [1], "datatype": "INT64", "data": [41]}]}')
    assert (columns.columns, columns.datatypes, columns.widths) == ({"age": [41]}, ["INT64"], {})
    row = read_infer(b'{"inputs": [{"name": "numbers", "shape": [1, 2], "datatype": "FP32", "data": [1.5, null]}]}')
    assert (row.columns, row.widths) == ({"numbers": [1.5, None]}, {"numbers": 2})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (tensor(datatype="INT64", data=[1, 2.5]), "input 'age', row 1: not an integer"),
        (tensor(datatype="BOOL", data=[True, 1]), "datatype 'BOOL' takes true, false and null; value 1"),
        (tensor(datatype="BYTES", data=["a", "b"], parameters={"content_type": "base64"}), "base64 is not taken"),
        (
            tensor(datatype="BYTES", data=["a", "b"], parameters={"content_type": "pd_json"}),
            "not every value is a JSON",
        ),
        (tensor(datatype="BYTES", data=[1, 2], parameters={"content_type": "pd_json"}), "not every value is a JSON"),
        (tensor(parameters=7), "'parameters' must be an object"),
        (tensor(name="numbers", shape=[2, 3]), r"shape \[2, 3\] but 2 values"),
        (tensor(name="numbers", shape=[2, 2], data=[[1, 2], [3]]), r"shape \[2, 2\] but 2 values"),
        (tensor(name="numbers", shape=[1, 2, 1]), "one tensor is one column"),
    ],
)
def test_data_that_is_not_what_its_tensor_says_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        parse_infer({"inputs": [given]}, no_binary)


def test_hints_of_other_clients_change_nothing_but_what_they_must() -> None:
    data = ['"red"', "null"]
    plain = tensor(datatype="BYTES", data=data, parameters={"content_type": "str"})
    texts = tensor(datatype="BYTES", data=data, parameters={"content_type": "pd_json"})
    assert parse_infer({"inputs": [plain]}, no_binary).columns["age"] == data
    assert parse_infer({"inputs": [texts]}, no_binary).columns["age"] == ["red", None]
    truth = tensor(datatype="BOOL", data=[True, None])
    assert parse_infer({"inputs": [truth]}, no_binary).columns["age"] == [1, None]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("id", 7, "'id' must be a string"),
        ("parameters", [], "'parameters' must be an object"),
        ("parameters", {"explain": 1}, "parameters.explain must be true or false"),
        ("parameters", {"binary_data_output": "x"}, "parameters.binary_data_output must be true or false"),
        ("outputs", [{"name": "label", "parameters": {"binary_data": 1}}], "binary_data must be true or false"),
        ("outputs", {"name": "label"}, "'outputs' must be a list of objects with a 'name'"),
    ],
)
def test_a_malformed_field_beside_the_tensors_is_named(field: str, value: Any, said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        read_infer(orjson.dumps({"inputs": [tensor()], field: value}))


def test_what_an_output_says_of_its_form_goes_before_what_the_request_says() -> None:
    outputs = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probability"}]
    body = {"inputs": [tensor()], "outputs": outputs, "parameters": {"binary_data_output": True}}
    asked = read_infer(orjson.dumps(body))
    assert (asked.wants_binary("label"), asked.wants_binary("probability")) == (False, True)


def row_major(numbers: Any, strings: Any) -> InferRequest:
    inputs = [
        {"name": "numbers", "shape": [len(numbers), 2], "datatype": "FP32", "data": numbers},
        {"name": "strings", "shape": [len(strings), 2], "datatype": "BYTES", "data": strings},
    ]
    return read_infer(orjson.dumps({"inputs": inputs}))


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_become_columns_in_the_order_the_metadata_tells(rows: int) -> None:
    form = BundleForm(contract())
    order = orjson.loads(form.metadata(())["parameters"]["row_major"])  # type: ignore[index]  # an object
    assert order == {"numbers": ["amount", "age"], "strings": ["colour", "shape"]}
    asked = row_major([[12.5, 41], [None, 30]][:rows], [["red", "disc"], [None, "cube"]][:rows])
    form.check(asked)
    wanted = {"amount": [12.5, None], "age": [41, 30], "colour": ["red", None], "shape": ["disc", "cube"]}
    assert form.columns(asked) == {name: values[:rows] for name, values in wanted.items()}


def test_rows_of_arrays_become_columns_without_a_copy() -> None:
    numbers, codes = np.arange(6.0), np.arange(6, dtype=np.int32) % 3
    asked = InferRequest(
        {"numbers": numbers, "strings": CodedStrings(codes, ("red", "disc", "cube"))},
        ["FP64", "BYTES"], {"numbers": 2, "strings": 2}, None, False, None, False,
    )  # fmt: skip
    columns = BundleForm(contract()).columns(asked)
    assert np.array_equal(columns["age"], [1, 3, 5])  # type: ignore[arg-type]  # an array
    assert np.shares_memory(columns["age"], numbers)  # type: ignore[arg-type]  # an array
    colours = columns["colour"]
    assert isinstance(colours, CodedStrings)
    assert colours.codes.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"numbers": None}, "input 'numbers' holds 0 columns; this model takes 2 numbers a row, in this order: amount"),
        ({"strings": ([1, 3], ["a", "b", "c"])}, "input 'strings' holds 3 columns; this model takes 2"),
    ],
)
def test_rows_of_other_columns_than_the_models_are_refused(change: dict[str, Any], said: str) -> None:
    tensors = {"numbers": ([1, 2], [1, 2]), "strings": ([1, 2], ["red", "disc"])} | change
    inputs = [
        {"name": name, "shape": given[0], "datatype": "FP32" if name == "numbers" else "BYTES", "data": given[1]}
        for name, given in tensors.items()
        if given is not None
    ]
    with pytest.raises(RequestRefused, match=said):
        BundleForm(contract()).columns(read_infer(orjson.dumps({"inputs": inputs})))


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"a": [1, NaN]}', {"a": [1, None]}),
        (b'{"a": ["NaN", NaN, "x NaN, y"]}', {"a": ["NaN", None, "x NaN, y"]}),
        (b'{"a": [-Infinity, Infinity]}', {"a": [-math.inf, math.inf]}),
    ],
)
def test_what_pythons_clients_write_for_null_is_null(body: bytes, wanted: Any) -> None:
    assert parse_json(body) == wanted


PIECES = st.lists(
    st.sampled_from([*(c.encode() for c in '"\\,:[]{}Nan1 é'), b"NaN", b'"NaN"', b"[NaN]", b'"\\\\"', b'"\\""'])
)
VALUES = st.recursive(
    st.none() | st.just(math.nan) | st.integers(-9, 9) | st.text('N"\\aé\n') | st.just("NaN"),
    lambda each: st.lists(each) | st.dictionaries(st.sampled_from(["NaN", "a", '"', "\\"]), each),
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_a_large_body_is_read_as_a_small_one(value: Any) -> None:
    small = json.dumps(value, ensure_ascii=False).encode()
    assert parse_json(small + b" " * LARGE_BYTES) == parse_json(small)


@settings(max_examples=200, deadline=None)
@given(PIECES)
def test_what_is_no_json_becomes_none_by_its_nulls(pieces: list[bytes]) -> None:
    body = b"".join(pieces)

    def read(body: bytes) -> Any:
        try:
            return json.loads(body.decode(), parse_constant=lambda _: None)
        except ValueError:
            return "no JSON"

    try:
        found = orjson.loads(with_nulls(body, nans_of(body)))
    except orjson.JSONDecodeError:
        found = "no JSON"
    assert found == read(body)


@pytest.mark.parametrize("fill", ["", "é", "NaN, "])
def test_a_large_body_that_is_no_json_is_told_where_the_caller_sees_it(fill: str) -> None:
    body = f'["{fill}", NaN, NaN, \n NaN, x]' + " " * LARGE_BYTES
    with pytest.raises(RequestRefused, match=rf"line 2 column 7 \(char {body.index('x')}\)"):
        parse_json(body.encode())


def test_garbage_is_looked_for_again_after_a_large_body() -> None:
    for body in (b"[NaN]", b"[x]"):
        with contextlib.suppress(RequestRefused):
            parse_json(body + b" " * LARGE_BYTES)
        assert gc.isenabled()


@pytest.mark.parametrize(
    "body", [b"NaN" * 9, b"\xffNaN", b"[" * 3000 + b"NaN", b"[nan]", b"Infinity", b"-NaN" + b"9" * 5000]
)
def test_what_is_near_json_is_not_json(body: bytes) -> None:
    if body == b"Infinity":
        assert parse_json(body) == math.inf
        return
    with pytest.raises(RequestRefused, match="not JSON"):
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, None]]}},
        {"dataframe_split": {"columns": ["a", "b"], "index": [7, 8], "data": [[1, "x"], [2, None]]}},
        {"dataframe_records": [{"a": 1, "b": "x"}, {"b": None, "a": 2}]},
        {"instances": [{"a": 1, "b": "x"}, {"a": 2, "b": None}]},
        {"inputs": {"a": [1, 2], "b": ["x", None]}},
        {"inputs": [{"a": 1, "b": "x"}, {"a": 2, "b": None}], "params": {}},
    ],
)
def test_mlflows_forms_all_give_the_same_columns(body: Any) -> None:
    assert parse_invocation(body).columns == {"a": [1, 2], "b": ["x", None]}


def test_one_row_may_be_sent_as_plain_values() -> None:
    assert parse_invocation({"inputs": {"a": 1, "b": "x"}}).columns == {"a": [1], "b": ["x"]}


def test_params_that_mean_nothing_are_named_and_an_explanation_is_asked_for() -> None:
    asked = parse_invocation({"inputs": {"a": [1]}, "params": {"explain": True, "top_k": 3, "beam": 2}})
    assert (asked.explain, asked.ignored) == (True, ("beam", "top_k"))


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        (7, Reason.MALFORMED, "the body must be an object"),
        ({}, Reason.MALFORMED, "exactly one of"),
        ({"inputs": {"a": [1]}, "instances": []}, Reason.MALFORMED, "exactly one of"),
        ({"inputs": {"a": [1]}, "parms": 1}, Reason.MALFORMED, "'parms' means nothing"),
        ({"inputs": {"a": [1]}, "params": [1]}, Reason.MALFORMED, "params must be an object"),
        ({"inputs": {"a": [1]}, "params": {"explain": 1}}, Reason.MALFORMED, "params.explain must be true or false"),
        ({"inputs": {"a": [1], "b": 2}}, Reason.UNEQUAL_LENGTHS, "column 'b' is one value"),
        ({"dataframe_split": []}, Reason.MALFORMED, "dataframe_split must be an object"),
        ({"dataframe_split": {"columns": ["a", 1], "data": []}}, Reason.MALFORMED, "array of names"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, Reason.MALFORMED, "names a column twice"),
        ({"dataframe_split": {"columns": ["a"]}}, Reason.MALFORMED, "data must be an array of rows"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}}, Reason.UNEQUAL_LENGTHS, r"data\[1\]"),
        ({"dataframe_records": {"a": 1}}, Reason.MALFORMED, "an array of objects"),
        ({"dataframe_records": []}, Reason.NO_ROWS, "no rows"),
        ({"instances": [[1, 2]]}, Reason.MALFORMED, r"instances\[0\] must be an object"),
        ({"instances": [{"a": 1}, {}]}, Reason.MISSING_COLUMN, r"instances\[1\] lacks column 'a'"),
        ({"instances": [{"a": 1}, {"a": 1, "b": 2}]}, Reason.UNKNOWN_COLUMN, r"instances\[1\] has column 'b'"),
    ],
)
def test_a_malformed_invocation_names_the_field(body: Any, reason: Reason, said: str) -> None:
    with pytest.raises(RequestRefused, match=said) as refused:
        parse_invocation(body)
    assert refused.value.reason is reason


HEADER = b"shape,amount,age,colour\r\n"


def csv_columns(text: bytes) -> dict[str, Any]:
    return dict(typed(InputEncoder(contract()), read_csv(text, 3)))


def test_csv_is_read_as_pandas_writes_it() -> None:
    wanted = {"shape": ["disc", "NA"], "amount": [12.5, None], "age": [41.0, None], "colour": [None, "red"]}
    assert csv_columns(HEADER + b'disc,12.5,41,\r\n"NA",NaN,NA,red\r\n') == wanted
    assert csv_columns(b"\xef\xbb\xbf" + HEADER + b"disc,12.5,41,\n\nNA,,,red") == wanted
    with_index = b",shape,amount,age,colour\n0,disc,12.5,41,\n1,NA,null,<NA>,red\n"
    assert csv_columns(with_index) == wanted


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        (b"", Reason.MALFORMED, "it is empty"),
        (b"\xff", Reason.MALFORMED, "not CSV"),
        (b'a\n"b', Reason.MALFORMED, "not CSV"),
        (b"a,a\n1,2\n", Reason.MALFORMED, "names a column twice"),
        (b"a,b\n1\n", Reason.UNEQUAL_LENGTHS, r"csv.data\[0\]"),
        (HEADER + b"disc,x,41,red\n", Reason.WRONG_TYPE, "column 'amount', row 0: expected a number, got 'x'"),
        (HEADER + b"disc,1_0,41,red\n", Reason.WRONG_TYPE, "column 'amount', row 0: expected a number, got '1_0'"),
        (HEADER + "disc,١٢,41,red\n".encode(), Reason.WRONG_TYPE, "column 'amount', row 0: expected a number"),
        (HEADER + b"disc," + b"x" * 100 + b",41,red\n", Reason.WRONG_TYPE, r"got 'x{40}\.\.\.'"),
        (HEADER + b"disc,1,41,red\n" * 4, Reason.TOO_MANY_ROWS, "more than 3 rows"),
        (b"a" + b"\n" * 100_000, Reason.TOO_MANY_ROWS, "more than 3 rows"),
    ],
)
def test_csv_that_is_none_or_too_much_is_refused(text: bytes, reason: Reason, said: str) -> None:
    with pytest.raises(RequestRefused, match=said) as refused:
        csv_columns(text)
    assert refused.value.reason is reason


TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("value", "kept"),
    [(b"abc-1", True), (b"a b", True), (b"x" * 128, True), (b"x" * 129, False), (b"", False), (b" a", False)]
    + [(bad, False) for bad in (b"a\tb", b"\x7f", "é".encode(), b"a\r\nset-cookie: x")],
)
def test_a_callers_id_is_kept_when_it_is_short_and_printable(value: bytes, kept: bool) -> None:
    assert caller_request_id({b"x-request-id": value}) == (value.decode() if kept else None)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (TRACE, True),
        (b"cc" + TRACE[2:] + b"-what-comes-later", True),
        (TRACE.upper(), False),
        (b"ff" + TRACE[2:], False),
        (b"00-" + b"0" * 32 + TRACE[35:], False),
        (TRACE[:36] + b"0" * 16 + b"-01", False),
        (TRACE[:-1], False),
        (b"", False),
    ],
)
def test_a_trace_context_is_passed_on_when_it_is_one(value: bytes, kept: bool) -> None:
    assert caller_trace({b"traceparent": value}) == (value.decode() if kept else None)


def test_without_headers_there_is_neither() -> None:
    assert (caller_request_id({}), caller_trace({})) == (None, None)


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        (None, True),
        (b"application/json", True),
        (b"Application/JSON; charset=UTF-8", True),
        (b'application/json; charset="utf-8"', True),
        (b"application/json; charset=latin-1", False),
        (b"application/jsonl", False),
        (b"text/plain", False),
    ],
)
def test_a_body_is_json_in_utf8_unless_it_says_otherwise(content_type: bytes | None, taken: bool) -> None:
    request = Request({}, b"", {} if content_type is None else {b"content-type": content_type}, b"[]", 0.0)
    if taken:
        assert request.json() == []
    else:
        with pytest.raises(RequestRefused) as refused:
            request.json()
        assert refused.value.reason is Reason.UNSUPPORTED_MEDIA


@pytest.mark.parametrize(("read", "field"), [(asked_routing, b'"timeout_ms"'), (asked_renewal, b'"sequence"')])
def test_a_limit_that_is_no_number_is_no_limit_left_out(read: Any, field: bytes) -> None:
    body = b'{"sequence": 1, "champion": "%s", %s: NaN}' % (b"0" * 64, field)
    with pytest.raises(RequestRefused, match="the body is not JSON"):
        read(Request({"model": "toy"}, b"", {}, body, 0.0))


def test_a_path_is_found_with_its_named_segments() -> None:
    dispatch = Dispatch(DATA_ROUTES)
    route, params = dispatch.find("POST", "/v2/models/toy/versions/abc/infer")
    assert (route.path, params) == ("/v2/models/{model}/versions/{version}/infer", {"model": "toy", "version": "abc"})
    assert dispatch.find("GET", "/v2/health/ready")[0].path == "/v2/health/ready"


@pytest.mark.parametrize(
    "path", ["//", "", "/v2/health/", "/v2/models", "/v2/models//infer", "/v2/models/a/b/c", "/admin/routing"]
)
def test_a_path_that_is_not_there_is_refused(path: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        Dispatch(DATA_ROUTES).find("GET", path)
    assert refused.value.reason is Reason.UNKNOWN_PATH


def test_the_api_document_lists_every_route_once_and_resolves_every_reference() -> None:
    page = document(DATA_ROUTES)
    listed = [(method.upper(), path) for path, methods in page["paths"].items() for method in methods]
    assert sorted(listed) == sorted((route.method, route.path) for route in DATA_ROUTES)
    ids = [operation["operationId"] for methods in page["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)
    named = {name for route in DATA_ROUTES for name in (route.body, route.returns) if name}
    assert named | {"Error"} == set(page["components"]["schemas"])
    assert named <= set(SCHEMAS)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["a"], "data": [[1], [2], None]}},
        {"dataframe_records": [{"a": 1}, {"a": 2}, None]},
        {"instances": [{"a": 1}, {"a": 2}, None]},
        {"inputs": {"b": [1], "a": [1, 2, None]}},
    ],
)
def test_more_rows_than_are_taken_are_not_looked_at(body: Any) -> None:
    with pytest.raises(RequestRefused, match="holds 3 rows, at most 2") as refused:
        parse_invocation(body, 2)
    assert refused.value.reason is Reason.TOO_MANY_ROWS


MANY = [f"k{number}" for number in range(MOST_COLUMNS + 1)]
TENSOR = {"shape": [1], "datatype": "FP32", "data": [1]}


@pytest.mark.parametrize(
    "read",
    [
        lambda names: parse_invocation({"dataframe_split": {"columns": names, "data": [[1] * len(names)]}}),
        lambda names: parse_invocation({"dataframe_records": [dict.fromkeys(names, 1)]}),
        lambda names: parse_invocation({"inputs": {name: [1] for name in names}}),
        lambda names: parse_infer({"inputs": [{"name": name, **TENSOR} for name in names]}, no_binary),
        lambda names: read_infer(orjson.dumps({"inputs": [{"name": name, **TENSOR} for name in names]})),
        lambda names: Invocation(read_csv(",".join(names).encode() + b"\n", 9)),
    ],
)
def test_more_columns_than_any_model_has_are_not_looked_at(
    read: Callable[[list[str]], Any],
) -> None:
    with pytest.raises(RequestRefused, match="the request names 65537 columns; no model takes over 65536"):
        read(MANY)
    assert len(read(MANY[1:]).columns) == MOST_COLUMNS
