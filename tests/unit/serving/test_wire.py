"""The two request forms, read without a server, and what the server says about itself."""

from typing import Any

import pytest

from lockgate.serving.app import DATA_ROUTES
from lockgate.serving.http import Dispatch
from lockgate.serving.http_invocations import parse_body
from lockgate.serving.http_v2 import parse_tensors
from lockgate.serving.openapi import SCHEMAS, document
from lockgate.serving.refusals import Reason, RequestRefused


def tensor(**change: Any) -> dict[str, Any]:
    return {"name": "age", "shape": [2], "datatype": "FP32", "data": [1, 2]} | change


@pytest.mark.parametrize(
    "given", [tensor(), tensor(shape=[2, 1]), tensor(shape=[2, 1], data=[[1], [2]]), tensor(datatype="INT64")]
)
def test_a_column_may_be_flat_or_nested(given: dict[str, Any]) -> None:
    columns, _ = parse_tensors({"inputs": [given]})
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
        ({"inputs": [tensor(shape=[1, 2])]}, "one tensor is one column"),
        ({"inputs": [tensor(shape=[])]}, "one tensor is one column"),
    ],
)
def test_a_malformed_infer_request_names_the_tensor(body: Any, said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        parse_tensors(body)


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
    assert {name: list(values) for name, values in parse_body(body).items()} == {"a": [1, 2], "b": ["x", None]}


def test_one_row_may_be_sent_as_plain_values() -> None:
    assert {k: list(v) for k, v in parse_body({"inputs": {"a": 1, "b": "x"}}).items()} == {"a": [1], "b": ["x"]}


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        (7, Reason.MALFORMED, "the body must be an object"),
        ({}, Reason.MALFORMED, "exactly one of"),
        ({"inputs": {"a": [1]}, "instances": []}, Reason.MALFORMED, "exactly one of"),
        ({"inputs": {"a": [1]}, "parms": 1}, Reason.MALFORMED, "'parms' means nothing"),
        ({"inputs": {"a": [1]}, "params": {"x": 1}}, Reason.MALFORMED, "'params' means nothing"),
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
        parse_body(body)
    assert refused.value.reason is reason


def test_a_path_is_found_with_its_named_segments() -> None:
    dispatch = Dispatch(DATA_ROUTES)
    route, params = dispatch.find("POST", "/v2/models/toy/versions/abc/infer")
    assert (route.path, params) == ("/v2/models/{model}/versions/{version}/infer", {"model": "toy", "version": "abc"})
    assert dispatch.find("GET", "/v2/health/ready")[0].path == "/v2/health/ready"


@pytest.mark.parametrize(
    "path", ["/", "", "/v2/", "/v2/models", "/v2/models//infer", "/v2/models/a/b/c", "/admin/routing"]
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
    assert named | {"Error"} == set(SCHEMAS)
