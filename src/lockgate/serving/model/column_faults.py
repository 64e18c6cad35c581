"""What is said of a value that does not fit the contract: the column, the row, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from lockgate.core.contract import ColumnType, InputColumn
from lockgate.serving.refusals import Reason, RequestRefused, refuse

NUMBERS: Final[frozenset[type]] = frozenset((float, int, type(None)))
STRINGS: Final[frozenset[type]] = frozenset((str, type(None)))
SHOWN_CHARACTERS: Final = 100
_JSON_NAMES: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def wrong_value(column: InputColumn, values: Sequence[object], allowed: frozenset[type]) -> RequestRefused:
    """Refuse the first value of a type that is not allowed."""
    row = next(index for index, value in enumerate(values) if type(value) not in allowed)
    return refuse(
        Reason.WRONG_TYPE,
        f"column {column.name!r}, row {row}: expected {_wanted(column)}{' or null' if column.nullable else ''}, "
        f"got {_JSON_NAMES.get(type(values[row]), 'something else')}",
    )


def wrong_type(column: InputColumn, found: str) -> RequestRefused:
    """Refuse a whole column of another type."""
    return refuse(Reason.WRONG_TYPE, f"column {column.name!r}: expected {_wanted(column)} a row, got {found}")


def null_refused(column: InputColumn, row: int) -> RequestRefused:
    """Refuse a null where training saw none."""
    return refuse(
        Reason.NULL_NOT_ALLOWED,
        f"column {column.name!r}, row {row}: null, but the model was trained without missing values of it",
    )


def beyond_float32(column: InputColumn, row: int) -> RequestRefused:
    """Refuse a number that float32 does not hold."""
    return refuse(Reason.OUT_OF_FLOAT32, f"column {column.name!r}, row {row}: the number is too large for float32")


def out_of_range(column: InputColumn, row: int, value: float) -> RequestRefused:
    """Refuse a number outside the trained range."""
    return refuse(
        Reason.OUT_OF_RANGE,
        f"column {column.name!r}, row {row}: {value:g} is outside the trained range "
        f"{_bound(column.minimum)} to {_bound(column.maximum)}, and the model's spec refuses such numbers",
    )


def unknown_category(column: InputColumn, row: int, value: str) -> RequestRefused:
    """Refuse a string that training never saw."""
    return refuse(
        Reason.UNKNOWN_CATEGORY,
        f"column {column.name!r}, row {row}: {shortened(value)!r} is none of the {len(column.categories or ())} "
        "categories of training, and the model's spec refuses others; they are in the bundle's contract.json",
    )


def shortened(text: str) -> str:
    """Return what of a caller's text is worth saying back."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _wanted(column: InputColumn) -> str:
    return "a number" if column.type is ColumnType.NUMBER else "a string"


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"
