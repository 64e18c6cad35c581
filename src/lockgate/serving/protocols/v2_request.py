"""An infer request of the Open Inference Protocol: JSON -> columns.

    one row of plain values    decoded and checked by a typed decoder in one go: the hot path
    anything else              decoded to plain values and looked at tensor by tensor, which also finds the words for
                               what is wrong

What tensors are, see `v2_tensors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from lockgate.serving.http.json_body import LARGE_BYTES, parse_json
from lockgate.serving.model.columns import Values
from lockgate.serving.protocols.column_bound import check_columns
from lockgate.serving.protocols.v2_binary import BinaryTensors, no_binary
from lockgate.serving.protocols.v2_tensors import INTEGER_KINDS, read_tensors
from lockgate.serving.refusals import Reason, refuse

UNCHECKED: Final = frozenset(("FP16", "FP32", "FP64", "BYTES"))


class InferRequest(msgspec.Struct, frozen=True, gc=False):
    """What a request asks for.

    Attributes:
        columns: Values by tensor name; those of the row-major form are flat, row by row.
        datatypes: The tensors' datatypes, in the order of `columns`.
        widths: Columns in a row of the tensors of the row-major form, where that is not one.
        outputs: The outputs that are asked for, and whether each is wanted as binary data, None where the request does
            not say; None: all of them.
        binary_output: Whether outputs of which `outputs` says nothing are wanted as binary data.
        id: The caller's id, to be answered.
        explain: Whether the answer is to be explained.
    """

    columns: dict[str, Values]
    datatypes: Sequence[str]
    widths: Mapping[str, int]
    outputs: Mapping[str, bool | None] | None
    binary_output: bool
    id: str | None
    explain: bool

    def wants_binary(self, output: str) -> bool:
        """Tell whether an output is wanted as binary data; what `outputs` says of it goes first."""
        wanted = None if self.outputs is None else self.outputs.get(output)
        return self.binary_output if wanted is None else wanted


EVERYTHING: Final = InferRequest({}, (), {}, None, False, None, False)
"""Asks for every output, as JSON: what a request means that came in another form than the protocol's own."""

Datatype: TypeAlias = Literal[
    "FP32", "FP64", "BYTES", "INT64", "INT32", "FP16", "INT8", "INT16", "UINT8", "UINT16", "UINT32", "UINT64"
]
One: TypeAlias = Annotated[int, Meta(ge=1, le=1)]
Value: TypeAlias = int | float | str | None


class Hints(msgspec.Struct, gc=False):
    """Hints of other clients that change nothing of plain values."""

    content_type: Literal["np", "pd", "str"] | None = None


class _Column(msgspec.Struct, gc=False):
    name: str
    shape: Annotated[list[One], Meta(min_length=1, max_length=2)]
    datatype: Datatype
    data: Annotated[list[Value], Meta(min_length=1, max_length=1)]
    parameters: Hints | None = None


class _Row(msgspec.Struct, gc=False):
    name: Literal["numbers", "strings"]
    shape: tuple[One, int]
    datatype: Datatype
    data: Annotated[list[Value], Meta(min_length=1)]
    parameters: Hints | None = None


class _OutputParameters(msgspec.Struct, gc=False):
    binary_data: bool | None = None


class Output(msgspec.Struct, gc=False):
    """An output that is asked for."""

    name: str
    parameters: _OutputParameters | None = None


class Parameters(msgspec.Struct, gc=False):
    """Parameters of a request that mean something."""

    explain: bool = False
    binary_data_output: bool = False


class Wanted(msgspec.Struct, gc=False, kw_only=True):
    """What a request says beside its tensors; None where it does not."""

    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Output] | None = None


class _Columns(Wanted, gc=False, kw_only=True):
    inputs: Annotated[list[_Column], Meta(min_length=1)]


class _RowMajor(Wanted, gc=False, kw_only=True):
    inputs: Annotated[list[_Row], Meta(min_length=1)]


_BEGINNING: Final = 256  # bytes; the first tensor's name stands in them but for odd ids
_decode_columns: Final = msgspec.json.Decoder(_Columns).decode
_decode_row_major: Final = msgspec.json.Decoder(_RowMajor).decode
BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_infer(body: bytes) -> InferRequest:
    """Read a request that is JSON as a whole.

    Raises:
        RequestRefused: It is not JSON, or not of the protocol's form; names the tensor.
    """
    # to decode what is large and not plain takes as long as what is, and lets nobody else run
    asked = _plain(body) if len(body) < LARGE_BYTES else None
    if asked is None:
        return parse_infer(parse_json(body), no_binary)
    widths: dict[str, int] = {}
    if isinstance(asked, _RowMajor):
        if any(tensor.shape[1] != len(tensor.data) for tensor in asked.inputs):
            return parse_infer(parse_json(body), no_binary)
        widths = {tensor.name: tensor.shape[1] for tensor in asked.inputs if tensor.shape[1] != 1}
    inputs: Sequence[_Column | _Row] = asked.inputs
    check_columns(len(inputs))
    columns: dict[str, Values] = {tensor.name: tensor.data for tensor in inputs}
    datatypes = [tensor.datatype for tensor in inputs]
    if len(columns) != len(inputs) or not (UNCHECKED.issuperset(datatypes) or _are_integers(inputs)):
        return parse_infer(parse_json(body), no_binary)
    parameters, outputs = asked.parameters, asked.outputs
    return InferRequest(
        columns,
        datatypes,
        widths,
        {each.name: each.parameters.binary_data if each.parameters else None for each in outputs} if outputs else None,
        parameters is not None and parameters.binary_data_output,
        asked.id,
        parameters is not None and parameters.explain,
    )


def looks_row_major(body: bytes) -> bool:
    """Tell whether a body begins like one of the row-major form; a guess, which saves decoding it twice."""
    return body.find(b'"numbers"', 0, _BEGINNING) >= 0 or body.find(b'"strings"', 0, _BEGINNING) >= 0


def _plain(body: bytes) -> _Columns | _RowMajor | None:
    """Return what one of the typed decoders reads, None where neither does."""
    decoders = (_decode_row_major, _decode_columns) if looks_row_major(body) else (_decode_columns, _decode_row_major)
    for decode in decoders:
        try:
            return decode(body)
        except BROKEN:
            continue
    return None


def _are_integers(inputs: Sequence[_Column | _Row]) -> bool:
    """Tell whether everything that is called an integer is one."""
    return all(tensor.datatype in UNCHECKED or INTEGER_KINDS.issuperset(map(type, tensor.data)) for tensor in inputs)


def parse_infer(body: object, binary: BinaryTensors) -> InferRequest:
    """Return what a request asks for that has been decoded.

    Args:
        body: The JSON part.
        binary: Reads the tensors whose data follows it.

    Raises:
        RequestRefused: It is not of the protocol's form; names the tensor.
    """
    columns, datatypes, widths = read_tensors(body, binary)
    asked: dict[str, Any] = body  # type: ignore[assignment]  # an object, or it would have no inputs
    caller_id = asked.get("id")
    if caller_id is not None and not isinstance(caller_id, str):
        raise refuse(Reason.MALFORMED, "'id' must be a string")
    parameters = asked.get("parameters")
    return InferRequest(
        columns,
        list(datatypes.values()),
        widths,
        _outputs(asked),
        bool(flag("parameters", parameters, "binary_data_output")),
        caller_id,
        bool(flag("parameters", parameters, "explain")),
    )


def flag(where: str, parameters: object, name: str) -> bool | None:
    """Return a parameter that is true or false, None where it is absent.

    Raises:
        RequestRefused: The parameters are no object, or this one is something else.
    """
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise refuse(Reason.MALFORMED, f"{where!r} must be an object")
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise refuse(Reason.MALFORMED, f"{where}.{name} must be true or false")
    return value


def _outputs(body: Mapping[str, Any]) -> Mapping[str, bool | None] | None:
    """Return the outputs that were asked for; None: all."""
    outputs = body.get("outputs")
    if outputs is None or outputs == []:
        return None
    if not isinstance(outputs, list) or not all(
        isinstance(o, dict) and isinstance(o.get("name"), str) for o in outputs
    ):
        raise refuse(Reason.MALFORMED, "'outputs' must be a list of objects with a 'name'")
    return {o["name"]: flag(f"output {o['name']}: parameters", o.get("parameters"), "binary_data") for o in outputs}
