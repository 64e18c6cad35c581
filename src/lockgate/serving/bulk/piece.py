"""Scores one piece of a file: Arrow columns -> the server's encoder -> the graph -> Arrow columns of answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from lockgate.core.contract import TaskKind
from lockgate.errors import BadInput
from lockgate.serving.model.bundle import VerifiedBundle
from lockgate.serving.model.column_values import Flags
from lockgate.serving.model.columns import Encoded
from lockgate.serving.model.dataplane import OUTPUTS
from lockgate.serving.model.proving import load
from lockgate.serving.protocols.arrow_columns import columns_of
from lockgate.serving.refusals import Reason, RequestRefused, refuse

if TYPE_CHECKING:
    from pyarrow import Array, RecordBatch, Schema  # type: ignore[import-untyped]  # no stubs published

RUN_LIMIT_S: Final = 3600.0  # nobody waits behind a piece; whoever started a run that hangs can end it
FLAGS_COLUMN: Final = "flags"
_ROW: Final = re.compile(r"(^|, )row (\d+)(?=: )")

Scores = npt.NDArray[np.float32]


class Scorer:
    """One bundle, loaded and proved, and what the output is to hold; safe to call from several threads."""

    def __init__(self, bundle: VerifiedBundle, keep: Sequence[str], *, flags: bool) -> None:
        """Load the bundle.

        Args:
            bundle: What answers.
            keep: Columns of the input that are carried over.
            flags: Whether the output has a column of flags.

        Raises:
            IntegrityError: The bundle does not load, or its answers are not the golden ones.
        """
        self._model = load(bundle)
        self._contract = bundle.contract
        self._keep = tuple(dict.fromkeys(keep))
        self._flags = flags

    def schema(self, file: Schema) -> Schema:
        """Return the output's columns for a file of these.

        Raises:
            BadInput: A kept column has the name of an output.
        """
        import pyarrow as pa

        classes = (len(self._contract.classes),) if self._contract.task is TaskKind.MULTICLASS else ()
        outputs = self._outputs(np.zeros((0, *classes), np.float32))
        fields = [file.field(name) for name in self._keep]
        fields += [pa.field(name, values.type) for name, values in outputs.items()]
        if self._flags:
            fields.append(pa.field(FLAGS_COLUMN, _row_lists((), 0).type))
        names = [field.name for field in fields]
        for name in self._keep:
            if names.count(name) > 1:
                raise BadInput(f"column {name!r} cannot be kept: an output has its name; rename it first", column=name)
        return pa.schema(fields)

    def score(self, piece: RecordBatch, inputs: Sequence[str], schema: Schema, first: int) -> tuple[RecordBatch, Flags]:
        """Return the output's rows for a piece of the file, and its flags.

        Args:
            piece: At least one row; holds the inputs and the kept columns.
            inputs: Which of its columns the model takes.
            schema: From `schema`.
            first: The number of its first row in the file, from 0.

        Raises:
            RequestRefused: The contract refuses a row; names it by its number in the file.
            ModelFailed: The graph failed.
        """
        import pyarrow as pa

        try:
            encoded = self._model.encoder.encode(columns_of(piece.select(list(inputs))), piece.num_rows)
            scores = self._scores(encoded)
        except RequestRefused as refused:
            message = _ROW.sub(lambda found: f"{found[1]}row {first + int(found[2])}", refused.message, count=1)
            raise refuse(refused.reason, message) from refused
        except UnicodeDecodeError as broken:
            raise refuse(Reason.MALFORMED, f"row {first} or later: a string is not UTF-8 ({broken})") from broken
        arrays = [piece.column(name) for name in self._keep]
        arrays += self._outputs(scores).values()
        if self._flags:
            arrays.append(_row_lists(encoded.flags, encoded.rows))
        made = [
            array if array.type == field.type else array.cast(field.type)
            for array, field in zip(arrays, schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(made, schema=schema), encoded.flags

    def _scores(self, encoded: Encoded) -> Scores:
        """Return the graph's numbers, float32 [rows] or [rows, classes]."""
        scores = self._model.run(encoded.numbers, encoded.texts, RUN_LIMIT_S)
        finite = np.isfinite(scores)
        if not finite.all():
            row = int(np.flatnonzero(~finite.reshape(encoded.rows, -1).all(axis=1))[0])
            raise refuse(Reason.NO_FINITE_ANSWER, f"row {row}: the model has no finite answer to it")
        return scores

    def _outputs(self, scores: Scores) -> dict[str, Array]:
        """Return the columns of answers by name; labels are codes and a dictionary of the classes."""
        import pyarrow as pa

        contract = self._contract
        classes = pa.array(contract.classes, pa.string())
        if contract.task is TaskKind.MULTICLASS:
            columns = {
                f"probability_{each}": pa.array(np.ascontiguousarray(scores[:, at]))
                for at, each in enumerate(contract.classes)
            }
        else:
            columns = {OUTPUTS[contract.task][0]: pa.array(scores)}
        if self._model.decide is None:
            return columns
        codes = pa.array(self._model.decide(scores).astype(np.int32))
        return {**columns, "label": pa.DictionaryArray.from_arrays(codes, classes)}


def _row_lists(flags: Flags, rows: int) -> Array:
    """Return each row's flags, as a list of "flag:column"; null where it has none."""
    import pyarrow as pa

    lengths = [len(flag.rows) for flag in flags]
    at = np.fromiter((row for flag in flags for row in flag.rows), np.int64, sum(lengths))
    order = np.argsort(at, kind="stable")
    counts = np.bincount(at, minlength=rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    names = pa.array([f"{flag.flag}:{flag.column}" for flag in flags], pa.string())
    codes = np.repeat(np.arange(len(flags), dtype=np.int32), lengths)[order]
    values = pa.DictionaryArray.from_arrays(pa.array(codes), names).cast(pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(counts == 0))
