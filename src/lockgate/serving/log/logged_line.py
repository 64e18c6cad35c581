"""Reads the prediction log's lines back, and says what columns the lines of a bundle have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from lockgate.core.contract import ColumnType, ModelContract, TaskKind
from lockgate.core.wire import OUTPUT
from lockgate.serving.log.binary_columns import Binary, unpacked
from lockgate.serving.log.packed_columns import LoggedValues

LIVE: Final = "live"
FORCED: Final = "forced"
PROBE: Final = "probe"
SHADOW: Final = "shadow"
FAILED: Final = "failed"
SHADOW_FAILED: Final = "shadow_failed"
Kind: TypeAlias = Literal["number", "string", "numbers"]


class LoggedFlag(msgspec.Struct, frozen=True):
    """What did not keep to the contract, see `column_values.Flag`."""

    flag: str
    column: str
    rows: tuple[int, ...]


class LoggedLine(msgspec.Struct, frozen=True):
    """One line of the log, see `record.Record`; the defaults are those of lines from before a field was there.

    Attributes:
        outputs: Values by output, one a row, as a list or packed; `packed_columns.listed` gives the list. None of a
            request without an answer.
        inputs: Likewise by column; None where inputs are not kept, or lie in a file that does not hold them.
        hashed: Hashes by column, one a row, for the columns of which only that is kept.
        omitted: Columns that were left out.
        binary: Which part of the file beside the segment holds inputs; None: none does.
        chosen: The arm that the routing chose, where another one answered.
    """

    time: datetime
    prediction_id: str
    digest: str
    arm: str
    rows: int
    outputs: dict[str, LoggedValues]
    latency_us: int
    entity: str | None = None
    inputs: dict[str, LoggedValues] | None = None
    flags: tuple[LoggedFlag, ...] = ()
    request_id: str | None = None
    kind: str = LIVE
    fallback: bool = False
    propensity: float = 1.0
    trace: str | None = None
    hashed: dict[str, list[str | None]] | None = None
    omitted: tuple[str, ...] = ()
    binary: Binary | None = None
    chosen: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every column holds one value a row."""
        columns: Sequence[LoggedValues] = (
            *(self.inputs or {}).values(), *self.outputs.values(), *(self.hashed or {}).values(),
        )  # fmt: skip
        return self.rows > 0 and all(
            len(values) == self.rows and (isinstance(values, list) or values.is_sound) for values in columns
        )


class LoggedColumns(msgspec.Struct, frozen=True):
    """The columns that a bundle's lines may hold.

    Attributes:
        inputs: Type by the name of each column that is kept as it came.
        outputs: Type by the name of each output; `numbers` is a list of them a row.
        hashed: Columns of which only a hash is kept.
        omitted: Columns that are left out.
    """

    inputs: Mapping[str, Kind]
    outputs: Mapping[str, Kind]
    hashed: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()


_LINE = msgspec.json.Decoder(LoggedLine)
_COLUMNS = msgspec.json.Decoder(LoggedColumns)


def read_line(line: bytes, beside: Path | None = None) -> LoggedLine | None:
    """Return a line's content; None where it is no line of the log, or not a whole one.

    Args:
        line: The line.
        beside: The file beside its segment, `segments.binary_file`; without it, inputs that lie there are None.

    Raises:
        OSError: The file beside cannot be read.
    """
    try:
        read = _LINE.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if read.binary is not None and read.inputs is not None:
        data = None if beside is None else read.binary.read(beside)
        inputs = None if data is None else unpacked(read.inputs, read.rows, data)
        if data is not None and inputs is None:
            return None
        read = replace(read, inputs=inputs)
    return read if read.is_whole else None


def describe(contract: ModelContract) -> LoggedColumns:
    """Return the columns that lines of a bundle with this contract may hold."""
    inputs: dict[str, Kind] = {
        column.name: "number" if column.type is ColumnType.NUMBER else "string" for column in contract.inputs
    }
    if contract.entity is not None:
        inputs.setdefault(contract.entity, "string")
    omitted = tuple(name for name in inputs if name in contract.log.omitted)
    hashed = tuple(name for name in inputs if name in contract.log.hashed and name not in omitted)
    outputs: dict[str, Kind] = {OUTPUT[contract.task]: "number"}
    if contract.task is TaskKind.MULTICLASS:
        outputs = {OUTPUT[contract.task]: "numbers"}
    if contract.task is not TaskKind.REGRESSION:
        outputs["label"] = "string"
    plain = {name: kind for name, kind in inputs.items() if name not in omitted and name not in hashed}
    return LoggedColumns(plain, outputs, hashed, omitted)


def columns_file(folder: Path, digest: str) -> Path:
    """Return the file that holds the `LoggedColumns` of a bundle, beside the segments of its model."""
    return folder / f"{digest}.columns.json"


def read_columns(folder: Path, digest: str) -> LoggedColumns | None:
    """Return what was kept of a bundle's columns; None where there is nothing, or nothing that can be read."""
    try:
        return _COLUMNS.decode(columns_file(folder, digest).read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
