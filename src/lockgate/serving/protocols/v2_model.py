"""How the Open Inference Protocol speaks of one bundle: its tensors' datatypes, its row-major form, its metadata.

The row-major form puts all columns into two tensors: `numbers` [n, k] and `strings` [n, c], columns in the order that
the metadata tells under `parameters.row_major`. A model with an input of one of these names has no such form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from lockgate.core.contract import ColumnType, ModelContract
from lockgate.serving.model.column_values import MatrixColumns
from lockgate.serving.model.columns import CodedStrings, Columns, Values
from lockgate.serving.model.dataplane import OUTPUTS, ServedModel
from lockgate.serving.protocols.v2_request import InferRequest
from lockgate.serving.protocols.v2_tensors import DATATYPES, ROW_MAJOR
from lockgate.serving.refusals import Reason, refuse

KINDS: Final[Mapping[str, ColumnType]] = {
    datatype: ColumnType.STRING if datatype == "BYTES" else ColumnType.NUMBER for datatype in DATATYPES
}
REMEMBERED: Final = 64  # bundles; more are loaded at once nowhere
_NUMBERS, _STRINGS = ROW_MAJOR
_FP32: Final = np.dtype("<f4")


class BundleForm:
    """What is fixed for a bundle, made once.

    Attributes:
        contract: What it takes and gives.
        outputs: Names of its outputs.
        kinds: Types of its columns by name.
        row_major: Columns of the row-major form by tensor name; empty where there is no such form.
    """

    def __init__(self, contract: ModelContract) -> None:
        self.contract: Final = contract
        self.outputs: Final = OUTPUTS[contract.task]
        self.kinds: Final = {column.name: column.type for column in contract.inputs}
        taken = self.kinds.keys() & set(ROW_MAJOR)
        self.row_major: Final[Mapping[str, tuple[str, ...]]] = {} if taken else self._order()

    def _order(self) -> dict[str, tuple[str, ...]]:
        of_kind = {
            kind: tuple(name for name, type_ in self.kinds.items() if type_ is kind)
            for kind in (ColumnType.NUMBER, ColumnType.STRING)
        }
        return {_NUMBERS: of_kind[ColumnType.NUMBER], _STRINGS: of_kind[ColumnType.STRING]}

    def check(self, asked: InferRequest) -> None:
        """Refuse a datatype that the contract's column is not, and an output that there is not.

        Raises:
            RequestRefused: Names the tensor.
        """
        columns, datatypes = asked.columns, asked.datatypes
        if list(map(KINDS.get, datatypes)) != list(map(self.kinds.get, columns)):
            for name, datatype in zip(columns, datatypes, strict=True):
                self._check_datatype(name, datatype)
        if asked.outputs is not None:
            for name in asked.outputs:
                if name not in self.outputs and not (asked.explain and name == CONTRIBUTIONS):
                    raise refuse(Reason.UNKNOWN_OUTPUT, f"output {name!r} is not one of {', '.join(self.outputs)}")

    def _check_datatype(self, name: str, datatype: str) -> None:
        wanted = self.kinds.get(name)
        if self.row_major and name in ROW_MAJOR:
            wanted = ColumnType.NUMBER if name == _NUMBERS else ColumnType.STRING
        if wanted is not None and KINDS[datatype] is not wanted:
            said = "BYTES" if wanted is ColumnType.STRING else "a number's, such as FP32"
            raise refuse(Reason.WRONG_TYPE, f"input {name!r}: datatype {datatype}, the contract's is {said}")

    def columns(self, asked: InferRequest) -> Columns:
        """Return a request's columns, those of the row-major form by their own names.

        Raises:
            RequestRefused: A tensor of the row-major form has not as many columns as the model.
        """
        matrix = self._matrix(asked)
        if matrix is not None:
            return matrix
        columns = dict(asked.columns)
        for tensor, names in self.row_major.items():
            flat = columns.pop(tensor, None)
            width = 0 if flat is None else asked.widths.get(tensor, 1)
            if width != len(names):
                raise refuse(
                    Reason.UNEQUAL_LENGTHS,
                    f"input {tensor!r} holds {width} columns; this model takes {len(names)} {tensor} a row"
                    + (f", in this order: {', '.join(names)}" if names else f": leave {tensor!r} out"),
                )
            if isinstance(flat, list) and len(flat) == width:  # one row, the commonest
                columns.update(zip(names, [[value] for value in flat], strict=True))
            elif flat is not None:
                columns.update((name, _every(flat, at, width)) for at, name in enumerate(names))
        return columns

    def raw(self, body: bytes) -> InferRequest:
        """Return what a request asks for that is nothing but the bytes of the model's only input, a number's.

        https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md (raw binary
        request): of the datatype that the metadata tells, all outputs as binary data.

        Raises:
            RequestRefused: The model has other inputs, or these are no such bytes.
        """
        inputs = self.contract.inputs
        if len(inputs) > 1 or inputs[0].type is not ColumnType.NUMBER:
            theirs = ", ".join(f"{column.name} {_datatype(column.type)}" for column in inputs)
            raise refuse(
                Reason.MALFORMED,
                "Inference-Header-Content-Length 0: raw bytes without JSON in front are for a model of one input, a "
                f"number's; this one's are {theirs}",
            )
        if len(body) % _FP32.itemsize:
            raise refuse(Reason.UNEQUAL_LENGTHS, f"input {inputs[0].name!r}: {len(body)} bytes are no FP32 values")
        values = np.frombuffer(body, _FP32)
        return InferRequest({inputs[0].name: values}, ["FP32"], {}, None, True, None, False)

    def _matrix(self, asked: InferRequest) -> MatrixColumns | None:
        """Return the columns of a request that is one array of all of them; None where it is not."""
        flat, names = asked.columns.get(_NUMBERS), self.row_major.get(_NUMBERS, ())
        if not isinstance(flat, np.ndarray) or len(asked.columns) > 1 or self.row_major.get(_STRINGS):
            return None
        return (
            MatrixColumns(names, flat.reshape(-1, len(names))) if asked.widths.get(_NUMBERS, 1) == len(names) else None
        )

    def metadata(self, versions: Sequence[str]) -> dict[str, object]:
        """Return what the protocol tells of the model."""
        contract = self.contract
        return {
            "name": contract.model,
            "versions": list(versions),
            "platform": "onnx_onnxv1",
            "inputs": [
                {
                    "name": column.name,
                    "datatype": _datatype(column.type),
                    "shape": [-1],
                    "parameters": {"nullable": column.nullable},
                }
                for column in contract.inputs
            ],
            "outputs": [
                {
                    "name": name,
                    "datatype": "BYTES" if name == LABEL else "FP32",
                    "shape": [-1, len(contract.classes)] if name == PROBABILITIES else [-1],
                }
                for name in self.outputs
            ],
            "parameters": {
                "task": contract.task,
                "classes": orjson.dumps(contract.classes).decode(),
                "unit": contract.unit,
                **({"row_major": orjson.dumps(self.row_major).decode()} if self.row_major else {}),
            },
        }


LABEL: Final = "label"
PROBABILITIES: Final = "probabilities"
CONTRIBUTIONS: Final = "contributions"
_FORMS: Final[dict[str, BundleForm]] = {}


def _datatype(kind: ColumnType) -> str:
    return "BYTES" if kind is ColumnType.STRING else "FP32"


def form_of(model: ServedModel) -> BundleForm:
    """Return the form of a bundle, which is made at its first request."""
    form = _FORMS.get(model.digest)
    if form is None:
        if len(_FORMS) >= REMEMBERED:  # swapped bundles leave theirs behind; those that serve are soon made again
            _FORMS.clear()
        form = _FORMS[model.digest] = BundleForm(model.contract)
    return form


def is_row_major(asked: InferRequest) -> bool:
    """Tell whether a request may be of the row-major form: it is for a model that has it."""
    return _NUMBERS in asked.columns or _STRINGS in asked.columns


def _every(flat: Values, first: int, step: int) -> Values:
    """Return every so manieth value, without a copy where it is an array."""
    if isinstance(flat, CodedStrings):
        return CodedStrings(flat.codes[first::step], flat.values)
    sliced: Any = flat[first::step]
    return sliced  # type: ignore[no-any-return]  # a list of a list, an array of an array
