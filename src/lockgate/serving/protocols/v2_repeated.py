"""The JSON in front of binary tensors, read once: callers send the same one over and over with other values behind it.

Sizes are held against the body each time, see `BinaryData`; what the JSON itself says cannot have changed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from lockgate.serving.http.json_body import parse_json
from lockgate.serving.model.columns import Values
from lockgate.serving.protocols.v2_binary import BinaryData, split
from lockgate.serving.protocols.v2_request import InferRequest, parse_infer

REMEMBERED: Final = 64  # ours: forms of requests
LONGEST_REMEMBERED: Final = 8 << 10  # bytes of one: a tensor a column, for about eighty


class _Form(NamedTuple):
    """What a request asks for, and its tensors: name, datatype, elements and size of each."""

    asked: InferRequest
    tensors: tuple[tuple[str, str, int, object], ...]


_FORMS: Final[dict[bytes, _Form]] = {}


class _Recorder:
    """Gives the values of tensors, and keeps what was asked of it."""

    def __init__(self, binary: BinaryData) -> None:
        self._binary = binary
        self.tensors: list[tuple[str, str, int, object]] = []

    def __call__(self, name: str, datatype: str, elements: int, size: object) -> Values:
        self.tensors.append((name, datatype, elements, size))
        return self._binary(name, datatype, elements, size)


def read_binary(body: bytes, header: bytes) -> InferRequest:
    """Return what a request with binary tensors asks for.

    Args:
        body: JSON, and what follows it.
        header: How many bytes are JSON.

    Raises:
        RequestRefused: It is not of the protocol's form; names the tensor.
    """
    said, binary = split(body, header)
    form = _FORMS.get(said)
    asked = _new(said, binary) if form is None else _again(form, binary)
    binary.end()
    return asked


def _again(form: _Form, binary: BinaryData) -> InferRequest:
    asked = form.asked
    columns = {name: binary(name, datatype, elements, size) for name, datatype, elements, size in form.tensors}
    return InferRequest(
        columns, asked.datatypes, asked.widths, asked.outputs, asked.binary_output, asked.id, asked.explain
    )


def _new(said: bytes, binary: BinaryData) -> InferRequest:
    recorder = _Recorder(binary)
    asked = parse_infer(parse_json(said), recorder)
    # an id is not said twice; values within the JSON are lists that somebody might change
    if asked.id is None and len(recorder.tensors) == len(asked.columns) and len(said) <= LONGEST_REMEMBERED:
        if len(_FORMS) >= REMEMBERED:
            _FORMS.clear()
        _FORMS[said] = _Form(msgspec.structs.replace(asked, columns={}), tuple(recorder.tensors))
    return asked
