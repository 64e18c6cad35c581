"""One row of plain JSON values, the commonest infer request -> columns and the graph's row, in the fewest steps.

    read    what the body holds, by typed decoders alone: no look at any value
    fit     whether it suits the bundle that was chosen; what was found for one order of tensors holds for every
            further request of that order, and the callers of a model mostly send one

Whatever is unusual, or wrong, gives None: `v2_request.read_infer` and `InputEncoder.encode` read it then, and find the
words for it. Both ways read the same, which tests compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.model.row import EncodedRow, RowOrder, taker
from lockgate.serving.protocols.v2_model import KINDS, form_of
from lockgate.serving.protocols.v2_request import (
    BROKEN,
    UNCHECKED,
    Datatype,
    Hints,
    One,
    Output,
    Parameters,
    Value,
    Wanted,
    looks_row_major,
)
from lockgate.serving.protocols.v2_tensors import INTEGER_KINDS

_Number: TypeAlias = int | float | None
_NumberType: TypeAlias = Literal[
    "FP32", "FP64", "INT64", "INT32", "FP16", "INT8", "INT16", "UINT8", "UINT16", "UINT32", "UINT64"
]


class _Numbers(msgspec.Struct, gc=False, tag_field="name", tag="numbers"):
    shape: tuple[One, int]
    datatype: _NumberType
    data: Annotated[list[_Number], Meta(min_length=1)]
    parameters: Hints | None = None


class _Strings(msgspec.Struct, gc=False, tag_field="name", tag="strings"):
    shape: tuple[One, int]
    datatype: Literal["BYTES"]
    data: Annotated[list[str | None], Meta(min_length=1)]
    parameters: Hints | None = None


class _Column(msgspec.Struct, gc=False):
    name: str
    shape: tuple[One]
    datatype: Datatype
    data: tuple[Value]  # a tuple of a plain value is nothing that Python's garbage collector goes on looking at
    parameters: Hints | None = None


class _Columns(Wanted, gc=False, kw_only=True):
    inputs: Annotated[list[_Column], Meta(min_length=1)]


class _RowMajor(Wanted, gc=False, kw_only=True):
    inputs: Annotated[list[_Numbers | _Strings], Meta(min_length=1, max_length=2)]


_decode_columns: Final = msgspec.json.Decoder(_Columns).decode
_decode_row_major: Final = msgspec.json.Decoder(_RowMajor).decode


class PlainRow(msgspec.Struct, frozen=True, gc=False):
    """One row of JSON values.

    Attributes:
        names: The columns, in the order of the values, all different where `RowFit` encodes it: one list for all
            requests of the same order.
        datatypes: Of the columns, likewise; empty for the row-major form, where they were checked.
        values: The row.
        id: The caller's own id.
        outputs: The outputs that are asked for; None: all of them.
        parameters: Further wishes, none of them an explanation.
    """

    names: Sequence[str]
    datatypes: Sequence[str]
    values: Sequence[Any]
    id: str | None
    outputs: list[Output] | None
    parameters: Parameters | None


class RowReader:
    """Reads rows for the models of one route, whose champion tells the order of the row-major form.

    Attributes:
        order: The columns of the row-major form; empty where there is no such form.
    """

    def __init__(self, champion: ServedModel) -> None:
        """Take the order of the row-major form."""
        order = form_of(champion).row_major
        self._lengths = [len(names) for names in order.values()]
        self.order: Final[Sequence[str]] = list(chain.from_iterable(order.values()))
        self._names: Sequence[str] = []
        self._datatypes: Sequence[str] = []

    def read(self, body: bytes) -> PlainRow | None:
        """Read a body; None where it is anything else than one row of plain values for such a model."""
        if self.order and looks_row_major(body):
            return self._row_major(body)
        try:
            asked: _Columns = _decode_columns(body)
        except BROKEN:
            return None
        if asked.parameters is not None and asked.parameters.explain:
            return None
        inputs = asked.inputs
        names = [tensor.name for tensor in inputs]
        datatypes = [tensor.datatype for tensor in inputs]
        if names == self._names and datatypes == self._datatypes:
            names, datatypes = self._names, self._datatypes  # their hashes are known
        else:
            self._names, self._datatypes = names, datatypes
        values = [value for (value,) in [tensor.data for tensor in inputs]]
        return PlainRow(names, datatypes, values, asked.id, asked.outputs, asked.parameters)

    def _row_major(self, body: bytes) -> PlainRow | None:
        try:
            asked: _RowMajor = _decode_row_major(body)
        except BROKEN:
            return None
        if asked.parameters is not None and asked.parameters.explain:
            return None
        values: list[Any] = []
        lengths = [0, 0]
        for tensor in sorted(asked.inputs, key=_place) if len(asked.inputs) > 1 else asked.inputs:
            if not _is_whole(tensor):
                return None
            lengths[_place(tensor)] = len(tensor.data)
            values += tensor.data
        if lengths != self._lengths or len(values) != len(self.order):  # of two tensors of one name, one was counted
            return None
        return PlainRow(self.order, (), values, asked.id, asked.outputs, asked.parameters)


def _place(tensor: _Numbers | _Strings) -> bool:
    """Return where a tensor's columns stand in the order of all: numbers first."""
    return type(tensor) is _Strings


def _is_whole(tensor: _Numbers | _Strings) -> bool:
    """Tell whether a tensor's shape and datatype are those of its data."""
    return tensor.shape[1] == len(tensor.data) and (
        tensor.datatype in UNCHECKED or INTEGER_KINDS.issuperset(map(type, tensor.data))
    )


class RowFit:
    """Brings rows into the form of one bundle's graph."""

    def __init__(self, model: ServedModel, reader: RowReader) -> None:
        """Take the bundle, and what reads the rows for it."""
        self._encoder, self._form = model.encoder, form_of(model)
        self._row_major = model.encoder.in_order(reader.order)
        self._names: Sequence[str] | None = None
        self._datatypes: Sequence[str] = ()
        self._order: RowOrder | None = None
        self._integers: Callable[[Sequence[Any]], Sequence[Any]] | None = None

    def encode(self, row: PlainRow) -> EncodedRow | None:
        """Return the graph's row; None where another way must look closer."""
        if not row.datatypes:
            return None if self._row_major is None else self._row_major.encode(row.values)
        if row.names is not self._names or row.datatypes is not self._datatypes:
            self._learn(row.names, row.datatypes)
        if self._order is None:
            return None
        if self._integers is not None and not INTEGER_KINDS.issuperset(map(type, self._integers(row.values))):
            return None
        return self._order.encode(row.values)

    def _learn(self, names: Sequence[str], datatypes: Sequence[str]) -> None:
        """Look at an order of tensors, and remember what there is to say of it."""
        self._names, self._datatypes = names, datatypes
        kinds = self._form.kinds
        fits = all(kinds.get(name, KINDS[of]) is KINDS[of] for name, of in zip(names, datatypes, strict=True))
        self._order = self._encoder.in_order(names) if fits else None
        integers = [at for at, datatype in enumerate(datatypes) if datatype not in UNCHECKED]
        self._integers = taker(integers) if integers else None
