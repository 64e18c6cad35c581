"""What MLflow's scoring form asks for: dataframe_split, dataframe_records, instances, inputs, or CSV -> columns.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally: what MLflow's own server takes is taken, NaN for null
included, which its client writes; what that server guesses is said instead: rows of unlike columns are refused, and so
is a field beside the data. As there, `params` that mean nothing to the model are left aside; the answer names them.
"""

from __future__ import annotations

import csv
import io
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from lockgate.core.contract import ColumnType
from lockgate.serving.http.json_body import LARGE_BYTES
from lockgate.serving.http.json_marks import MOST_VALUES, check_separators
from lockgate.serving.model.columns import Columns, InputEncoder
from lockgate.serving.protocols.column_bound import check_columns
from lockgate.serving.refusals import Reason, refuse

LONGEST_SAID: Final = 40
MOST_PARAMS: Final = 1024  # ours: the answer names those that mean nothing
# what pandas.read_csv, and so MLflow, takes for null; only in number columns, where it can be nothing else
_NULLS: Final = frozenset(
    ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA")
) | frozenset(("NULL", "NaN", "None", "n/a", "nan", "null"))


class Invocation(msgspec.Struct, frozen=True, gc=False):
    """What a request asks for.

    Attributes:
        columns: Values by column name.
        explain: Whether the answer is to be explained.
        ignored: Names of `params` that mean nothing here.
    """

    columns: Columns
    explain: bool = False
    ignored: tuple[str, ...] = ()


def parse_invocation(body: object, max_rows: int = sys.maxsize) -> Invocation:
    """Return what one of MLflow's four JSON forms asks for.

    Args:
        body: The body, decoded.
        max_rows: More are not looked at: that would take longer than to decode them did.

    Raises:
        RequestRefused: It is none of them, or rows and columns do not fit, or it has too many rows; names which.
    """
    if not isinstance(body, dict):
        raise refuse(Reason.MALFORMED, f"the body must be an object with one of {', '.join(_FORMS)}")
    given = [form for form in _FORMS if form in body]
    if len(given) != 1:
        raise refuse(Reason.MALFORMED, f"the body must hold exactly one of {', '.join(_FORMS)}; it holds {given}")
    columns = _FORMS[given[0]](given[0], body[given[0]], max_rows)
    if len(body) == 1:
        return Invocation(columns)
    extra = min(body.keys() - {given[0], "params"}, default=None)
    if extra is not None:
        raise refuse(Reason.MALFORMED, f"{extra!r} means nothing to this server; leave it out")
    return Invocation(columns, *_params(body["params"]))


def _params(params: object) -> tuple[bool, tuple[str, ...]]:
    """Return whether an explanation is wanted, and the names of what means nothing here."""
    if params is None:
        return False, ()
    if not isinstance(params, dict):
        raise refuse(Reason.MALFORMED, "params must be an object")
    if len(params) > MOST_PARAMS:
        raise refuse(Reason.MALFORMED, f"params holds {len(params)} of them, at most {MOST_PARAMS} are taken")
    explain = params.get("explain", False)
    if not isinstance(explain, bool):
        raise refuse(Reason.MALFORMED, "params.explain must be true or false")
    return explain, tuple(sorted(params.keys() - {"explain"}))


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise refuse(
            Reason.TOO_MANY_ROWS, f"the request holds {rows} rows, at most {most} are taken; send them in parts"
        )


def _split(form: str, value: object, max_rows: int) -> Columns:
    if not isinstance(value, dict) or value.keys() - {"columns", "data", "index"}:
        raise refuse(Reason.MALFORMED, f"{form} must be an object with 'columns' and 'data'")
    names, data = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise refuse(Reason.MALFORMED, f"{form}.columns must be an array of names")
    check_columns(len(names))
    if len(set(names)) != len(names):
        raise refuse(Reason.MALFORMED, f"{form}.columns names a column twice")
    if not isinstance(data, list):
        raise refuse(Reason.MALFORMED, f"{form}.data must be an array of rows")
    _check_rows(len(data), max_rows)
    for row, values in enumerate(data):
        if not isinstance(values, list) or len(values) != len(names):
            raise refuse(
                Reason.UNEQUAL_LENGTHS, f"{form}.data[{row}] must be an array of {len(names)} values, one a column"
            )
    if not data:
        return {name: [] for name in names}
    return dict(zip(names, map(list, zip(*data, strict=True)), strict=True))


def _records(form: str, value: object, max_rows: int) -> Columns:
    if not isinstance(value, list):
        raise refuse(Reason.MALFORMED, f"{form} must be an array of objects, one a row")
    if not value:
        raise refuse(Reason.NO_ROWS, f"{form} holds no rows")
    _check_rows(len(value), max_rows)
    for row, record in enumerate(value):
        if not isinstance(record, dict):
            raise refuse(Reason.MALFORMED, f"{form}[{row}] must be an object of column to value")
        check_columns(len(record))
        if record.keys() != value[0].keys():
            name = min(record.keys() ^ value[0].keys())
            reason = Reason.UNKNOWN_COLUMN if name in record else Reason.MISSING_COLUMN
            verb = "has" if name in record else "lacks"
            raise refuse(reason, f"{form}[{row}] {verb} column {name!r}, unlike row 0; send null for what is not known")
    return {name: [record[name] for record in value] for name in value[0]}


def _inputs(form: str, value: object, max_rows: int) -> Columns:
    if not isinstance(value, dict):
        return _records(form, value, max_rows)
    check_columns(len(value))
    lists = [name for name, values in value.items() if isinstance(values, list)]
    if not lists:
        return {name: [each] for name, each in value.items()}
    if len(lists) != len(value):
        single = next(name for name in value if name not in lists)
        raise refuse(Reason.UNEQUAL_LENGTHS, f"{form}: column {single!r} is one value, column {lists[0]!r} is an array")
    _check_rows(max(map(len, value.values())), max_rows)
    return value


_FORMS: Final[Mapping[str, Callable[[str, object, int], Columns]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _inputs,
    "inputs": _inputs,
}


def read_csv(body: bytes, max_rows: int) -> Columns:
    """Return the columns of a CSV with a header line, every cell a string, empty cells None.

    Raises:
        RequestRefused: It is none, or has too many rows.
    """
    if len(body) >= LARGE_BYTES:
        check_separators(body, b",\n\r", MOST_VALUES, "values")
    lines: list[list[str]] = []
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        # one line beyond the limit is enough to know; blank ones count, or a body of them would take its time
        for line in itertools.islice(reader, max_rows + 2):  # by the line, so that others may run in between
            lines.append(line)  # noqa: PERF402 - as said
    except (UnicodeDecodeError, csv.Error) as broken:
        raise refuse(Reason.MALFORMED, f"the body is not CSV: {broken}") from broken
    if not lines:
        raise refuse(Reason.MALFORMED, "the body is not CSV: it is empty; its first line must name the columns")
    if len(lines) > max_rows + 1:
        raise refuse(
            Reason.TOO_MANY_ROWS, f"the request holds more than {max_rows} rows, which are taken; send them in parts"
        )
    check_columns(len(lines[0]))
    header, rows = lines[0], [line for line in lines[1:] if line]
    columns = _split("csv", {"columns": header, "data": [[cell or None for cell in row] for row in rows]}, max_rows)
    if len(header) > 1 and not header[0]:  # the index that pandas.DataFrame.to_csv writes in front unless told not to
        return {name: values for name, values in columns.items() if name}
    return columns


def typed(encoder: InputEncoder, columns: Columns) -> Columns:
    """Return CSV columns with the contract's numbers read; others are left for the encoder to judge.

    Raises:
        RequestRefused: A number is none; names column and row.
    """
    by_name = encoder.by_name
    return {
        name: _numbers(name, values) if name in by_name and by_name[name].type is ColumnType.NUMBER else values
        for name, values in columns.items()
    }


def _number(cell: str) -> float:
    """Return a number as CSV has it; ValueError for what Python alone reads as one: 1_000, digits of other scripts."""
    if "_" in cell or not cell.isascii():
        raise ValueError(cell)
    return float(cell)


def _numbers(name: str, values: object) -> list[object]:
    cells: Sequence[str | None] = values  # type: ignore[assignment]  # a CSV column is one of cells
    numbers: list[object] = []
    for row, cell in enumerate(cells):
        try:
            numbers.append(None if cell is None or cell in _NULLS else _number(cell))
        except ValueError as broken:
            said = cell if cell is None or len(cell) <= LONGEST_SAID else f"{cell[:LONGEST_SAID]}..."
            raise refuse(Reason.WRONG_TYPE, f"column {name!r}, row {row}: expected a number, got {said!r}") from broken
    return numbers
