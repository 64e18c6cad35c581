"""A line of the prediction log, or of the labels -> what a rollout sees of it.

Of a line only what is needed is decoded: msgspec passes over the rest, inputs above all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from lockgate.adapters.traffic_cursor import stream_of
from lockgate.core.rollout.observations import LabelSeen, Observation
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION, ONE_OF, SHADOW
from lockgate.serving.log import logged_line as kinds
from lockgate.serving.log.packed_columns import PackedColumn

REMEMBERED: Final = 20_000  # ours: a shadow's line comes some milliseconds after the live one, at most seconds
_NOTHING: Final[Mapping[str, str]] = {}
_ARMS: Final = frozenset((CHAMPION, CHALLENGER))
_BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)


class _Flag(msgspec.Struct, gc=False):
    rows: tuple[int, ...] = ()


class _Outputs(msgspec.Struct, gc=False):
    probability: list[float] | PackedColumn | None = None
    probabilities: list[list[float]] | PackedColumn | None = None
    value: list[float] | PackedColumn | None = None
    label: list[str] | PackedColumn | None = None


class _Line(msgspec.Struct, gc=False):
    time: datetime
    prediction_id: str
    arm: str
    rows: int
    outputs: _Outputs
    latency_us: int
    kind: str = kinds.LIVE
    fallback: bool = False
    propensity: float = 1.0
    entity: str | None = None
    flags: tuple[_Flag, ...] = ()
    chosen: str | None = None


class Unreadable(Exception):
    """A line is none of the log, or does not say which arm was chosen."""


class LineReader:
    """Reads lines of one model's prediction log.

    Attributes:
        stream: The process whose line was read last, see `traffic_cursor`.
        time: When that line was logged, seconds since the epoch.
    """

    def __init__(self, slices: Sequence[str] = ()) -> None:
        """Take the columns whose values are wanted."""
        self.stream, self.time = "", 0.0
        self._slices = tuple(slices)
        self._recent: dict[str, Mapping[str, str]] = {}
        form: Any = _Line
        if slices:
            columns = [(f"column_{at}", Any, msgspec.field(default=None, name=name)) for at, name in enumerate(slices)]
            inputs = msgspec.defstruct("_Inputs", columns, gc=False)
            form = msgspec.defstruct("_SlicedLine", [("inputs", inputs | None, None)], bases=(_Line,), gc=False)
        self._decode = msgspec.json.Decoder(form).decode

    def read(self, line: bytes) -> Observation | None:
        """Return what a line tells; None where it is none of the rollout's, such as a forced request.

        Raises:
            Unreadable: It is no line of the log, or one that does not say which arm was chosen.
        """
        try:
            read = self._decode(line)
            self.time, self.stream = read.time.timestamp(), stream_of(read.prediction_id)
            slices = self._slices_of(read) if self._slices else _NOTHING
            return observed(read, self.time, *_answers(read.outputs), _flagged(read.flags), slices)
        except _BROKEN as broken:
            raise Unreadable from broken

    def _slices_of(self, read: Any) -> Mapping[str, str]:  # noqa: ANN401 - a struct made for these slices
        """Return the slices of a line; a shadow's are those of the live line of the same id, which came before."""
        if read.kind not in (kinds.LIVE, kinds.FAILED):
            return self._recent.get(read.prediction_id, _NOTHING)
        inputs = read.inputs
        found = {} if inputs is None else {
            name: text for at, name in enumerate(self._slices)
            if (text := first_text(getattr(inputs, f"column_{at}"))) is not None
        }  # fmt: skip
        self._recent[read.prediction_id] = found
        if len(self._recent) > REMEMBERED:
            del self._recent[next(iter(self._recent))]
        return found


def observed(  # noqa: PLR0913, PLR0917 - one flat call a line
    read: Any,  # noqa: ANN401 - a line, or a row of the archive
    time: float,
    scores: tuple[float, ...],
    labels: tuple[str, ...],
    flags: int,
    slices: Mapping[str, str],
) -> Observation | None:
    """Return what a request tells; None where it is none of the rollout's.

    Raises:
        Unreadable: It fell back, and does not say from which arm.
    """
    kind = read.kind
    if kind in (kinds.LIVE, kinds.FAILED):
        if read.fallback and read.chosen is None:
            raise Unreadable
        arm = read.chosen or read.arm
        if arm not in _ARMS and not arm.startswith(ONE_OF):
            return None
        failed, shadow = read.fallback or kind == kinds.FAILED, False
    elif kind in (kinds.SHADOW, kinds.SHADOW_FAILED) and read.arm == SHADOW:
        arm, failed, shadow = CHALLENGER, kind == kinds.SHADOW_FAILED, True
    else:
        return None
    return Observation(
        time=time,
        prediction_id=read.prediction_id,
        arm=arm,
        propensity=read.propensity,
        shadow=shadow,
        entity=read.entity,
        failed=failed,
        flags=flags,
        rows=read.rows,
        latency_us=read.latency_us,
        scores=() if failed else scores,
        labels=() if failed else labels,
        slices=slices,
    )


def _answers(outputs: _Outputs) -> tuple[tuple[float, ...], tuple[str, ...]]:
    label = outputs.label
    labels = () if label is None else tuple(label if isinstance(label, list) else label.tolist())
    if outputs.probabilities is not None:
        rows = outputs.probabilities
        return tuple(each for row in (rows if isinstance(rows, list) else rows.tolist()) for each in row), labels
    numbers = outputs.value if outputs.probability is None else outputs.probability
    if numbers is None:
        return (), labels
    return tuple(numbers if isinstance(numbers, list) else numbers.tolist()), labels


def _flagged(flags: tuple[_Flag, ...]) -> int:
    return len({row for flag in flags for row in flag.rows}) if flags else 0


def first_text(column: object) -> str | None:
    """Return the first value of a logged column as text; None for null, and where its bytes are not in the line."""
    if isinstance(column, dict):
        try:
            column = msgspec.convert(column, PackedColumn).tolist()
        except msgspec.ValidationError:
            return None
    value = column[0] if isinstance(column, list) and column else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else str(value)


# -- labels ------------------------------------------------------------------------------------------------------------


class _Label(msgspec.Struct, gc=False):
    prediction_id: str
    row: int
    label: str | bool | int | float
    received: datetime


_LABEL: Final = msgspec.json.Decoder(_Label)


def read_label(line: bytes) -> LabelSeen:
    """Return the label that a line tells.

    Raises:
        Unreadable: It is none.
    """
    try:
        read = _LABEL.decode(line)
        return LabelSeen(
            prediction_id=read.prediction_id,
            row=read.row,
            label=label_text(read.label),
            received=read.received.timestamp(),
        )
    except _BROKEN as broken:
        raise Unreadable from broken


def label_text(label: str | bool | float) -> str:
    """Return a label's text, as the archive has it (`archive_labels.as_text`).

    >>> label_text(True), label_text(1.0), label_text("1"), label_text(0.5)
    ('true', '1', '1', '0.5')
    """
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
