"""The tensors of an infer request that has been decoded -> values, or the words for what is wrong with them.

One tensor is one column, of shape [n] or [n, 1], null where a value is not known. Or the two tensors of the row-major
form stand for all columns: `numbers` [n, k] and `strings` [n, c], see `v2_model.py`. Of MLServer's `content_type` hints
only those are heeded that change what the data says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import orjson

from lockgate.serving.model.columns import Values
from lockgate.serving.protocols.column_bound import check_columns
from lockgate.serving.protocols.v2_binary import BinaryTensors
from lockgate.serving.refusals import Reason, RequestRefused, refuse

INTEGERS: Final = frozenset(f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64))
DATATYPES: Final = frozenset((*INTEGERS, "BOOL", "FP16", "FP32", "FP64", "BYTES"))
ROW_MAJOR: Final = ("numbers", "strings")
INTEGER_KINDS: Final = frozenset((int, type(None)))
_BOOLEANS: Final[Mapping[object, int | None]] = {True: 1, False: 0, None: None}
_NESTING: Final = ("[", "{")
_BOOLEAN_KINDS: Final = frozenset((bool, type(None)))


def read_tensors(body: object, binary: BinaryTensors) -> tuple[dict[str, Values], dict[str, str], dict[str, int]]:
    """Return values, datatypes and widths (how many stand in a row, where that is not one) by name.

    Args:
        body: The JSON part of a request.
        binary: Reads the tensors whose data follows it.

    Raises:
        RequestRefused: It is not of the protocol's form; names the tensor.
    """
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise refuse(Reason.MALFORMED, "an infer request is an object with 'inputs', a list of one tensor a column")
    check_columns(len(inputs))
    columns: dict[str, Values] = {}
    datatypes: dict[str, str] = {}
    widths: dict[str, int] = {}
    for index, tensor in enumerate(inputs):
        if not isinstance(tensor, dict) or not isinstance(name := tensor.get("name"), str):
            raise refuse(Reason.MALFORMED, f"inputs[{index}] must be an object with a 'name'")
        if name in columns:
            raise refuse(Reason.MALFORMED, f"input {name!r} is sent twice")
        columns[name], width = _values(name, tensor, binary)
        datatypes[name] = tensor["datatype"]
        if width != 1:
            widths[name] = width
    return columns, datatypes, widths


def _values(name: str, tensor: Mapping[str, Any], binary: BinaryTensors) -> tuple[Values, int]:
    """Return a tensor's values, flat, and how many stand in a row of it."""
    datatype, data = tensor.get("datatype"), tensor.get("data")
    parameters = tensor.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise refuse(Reason.MALFORMED, f"input {name!r}: 'parameters' must be an object")
    if "binary_data_size" in parameters and data is None:
        rows, width = _shape(name, tensor.get("shape"), None)
        return binary(name, _datatype(name, datatype), rows * width, parameters["binary_data_size"]), width
    if not isinstance(data, list):
        raise refuse(Reason.MALFORMED, f"input {name!r}: 'data' must be an array of its values")
    shape = tensor.get("shape")
    if shape == [len(data)] and type(shape[0]) is not bool:
        width = 1
    else:
        data, width = _shaped(name, shape, data)
    datatype = _datatype(name, datatype)
    hint = parameters.get("content_type")
    if isinstance(hint, str) and hint in _MEANINGFUL and datatype == "BYTES":
        data = _MEANINGFUL[hint](name, data)
    elif datatype == "BOOL":
        data = _booleans(name, data)
    elif datatype in INTEGERS and not INTEGER_KINDS.issuperset(map(type, data)):
        at = next(i for i, value in enumerate(data) if type(value) not in INTEGER_KINDS)
        raise refuse(
            Reason.WRONG_TYPE, f"input {name!r}, row {at // width}: not an integer, though its datatype is {datatype}"
        )
    return data, width


def _datatype(name: str, datatype: object) -> str:
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        said, known = repr(datatype)[:40], ", ".join(sorted(DATATYPES))
        raise refuse(Reason.WRONG_TYPE, f"input {name!r}: datatype {said}; known are {known}")
    return datatype


def _shape(name: str, shape: object, length: int | None) -> tuple[int, int]:
    """Return rows and columns of a shape."""
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        like = [1] if length is None else [length]
        raise refuse(Reason.MALFORMED, f"input {name!r}: 'shape' must be an array of sizes, like {like}")
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return shape[0], 1
    if len(shape) == 2 and shape[1] > 1 and name in ROW_MAJOR:
        return shape[0], shape[1]
    raise refuse(
        Reason.MALFORMED,
        f"input {name!r}: shape {str(shape)[:80]}; one tensor is one column, of shape [n] or [n, 1], but for "
        "'numbers' [n, k] and 'strings' [n, c], which hold all columns in the order of the model's metadata",
    )


def _shaped(name: str, shape: object, data: list[Any]) -> tuple[list[Any], int]:
    """Return the values flat, and how many stand in a row, after checking them against the shape."""
    rows, width = _shape(name, shape, len(data))
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(row, list) and len(row) == width for row in data):
        data = [value for row in data for value in row]
    if len(data) != rows * width:
        raise refuse(Reason.UNEQUAL_LENGTHS, f"input {name!r}: shape {str(shape)[:80]} but {len(data)} values")
    return data, width


def _booleans(name: str, data: list[Any]) -> list[int | None]:
    if not _BOOLEAN_KINDS.issuperset(map(type, data)):
        at = next(i for i, value in enumerate(data) if type(value) not in _BOOLEAN_KINDS)
        raise refuse(
            Reason.WRONG_TYPE, f"input {name!r}: datatype 'BOOL' takes true, false and null; value {at} is none of them"
        )
    return [_BOOLEANS[value] for value in data]


def _from_json(name: str, data: list[Any]) -> list[Any]:
    """Return the strings of a column that MLServer's client sends as JSON texts, which it does where one is null."""
    try:
        if all(value[:1] not in _NESTING for value in data):  # what nests is no value of a column, and may be large
            return [orjson.loads(value) for value in data]
    except (orjson.JSONDecodeError, TypeError) as broken:
        raise _no_text(name) from broken
    raise _no_text(name)


def _no_text(name: str) -> RequestRefused:
    return refuse(
        Reason.WRONG_TYPE, f"input {name!r}: its content_type is pd_json, but not every value is a JSON text of one"
    )


def _base64(name: str, data: list[Any]) -> NoReturn:
    del data
    raise refuse(Reason.WRONG_TYPE, f"input {name!r}: content_type base64 is not taken; send the text as it is")


_MEANINGFUL: Final[Mapping[str, Callable[[str, list[Any]], list[Any]]]] = {"pd_json": _from_json, "base64": _base64}
