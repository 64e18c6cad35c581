"""MLflow's scoring form at `/invocations`: dataframe_split, dataframe_records, instances, inputs, and CSV."""

from __future__ import annotations

import csv
import io
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lockgate.core.contract import ColumnType
from lockgate.serving.columns import Columns, InputEncoder
from lockgate.serving.http import Request, Response, Route, json_response
from lockgate.serving.http_v2 import ENTITY_HEADER
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.service import Service


async def invocations(service: Service, request: Request) -> Response:
    """Answer rows in MLflow's form."""
    model = _asked_model(request.query)
    csv_columns = _parse_csv(request.body) if request.media_type == "text/csv" else None
    columns = parse_body(request.json()) if csv_columns is None else csv_columns
    arm, entity = service.choose(model, None, columns, request.header(ENTITY_HEADER))
    if csv_columns is not None:
        columns = _typed(arm.model.encoder, csv_columns)
    prediction = await service.predict(arm, columns, entity=entity, started=request.started)
    answer = prediction.answer
    names = tuple(answer.outputs)
    rows = zip(*answer.outputs.values(), strict=True)
    body: dict[str, object] = {"predictions": [dict(zip(names, row, strict=True)) for row in rows]}
    if answer.flags:
        body["flags"] = answer.flags
    return json_response(body, headers=(*arm.headers, (b"x-lockgate-prediction-id", prediction.id.encode())))


def parse_body(body: object) -> Columns:
    """Return the columns of one of MLflow's four JSON forms.

    Raises:
        RequestRefused: It is none of them, or rows and columns do not fit; names the row or column.
    """
    if not isinstance(body, dict):
        raise refuse(Reason.MALFORMED, f"the body must be an object with one of {', '.join(_FORMS)}")
    given = [form for form in _FORMS if form in body]
    if len(given) != 1:
        raise refuse(Reason.MALFORMED, f"the body must hold exactly one of {', '.join(_FORMS)}; it holds {given}")
    extra = sorted(body.keys() - {given[0], "params"})
    if extra or body.get("params"):
        raise refuse(Reason.MALFORMED, f"{(extra or ['params'])[0]!r} means nothing to this server; leave it out")
    return _FORMS[given[0]](given[0], body[given[0]])


def _split(form: str, value: object) -> Columns:
    if not isinstance(value, dict) or value.keys() - {"columns", "data", "index"}:
        raise refuse(Reason.MALFORMED, f"{form} must be an object with 'columns' and 'data'")
    names, data = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise refuse(Reason.MALFORMED, f"{form}.columns must be an array of names")
    if len(set(names)) != len(names):
        raise refuse(Reason.MALFORMED, f"{form}.columns names a column twice")
    if not isinstance(data, list):
        raise refuse(Reason.MALFORMED, f"{form}.data must be an array of rows")
    for row, values in enumerate(data):
        if not isinstance(values, list) or len(values) != len(names):
            raise refuse(
                Reason.UNEQUAL_LENGTHS, f"{form}.data[{row}] must be an array of {len(names)} values, one a column"
            )
    if not data:
        return dict.fromkeys(names, ())
    return dict(zip(names, zip(*data, strict=True), strict=True))


def _records(form: str, value: object) -> Columns:
    if not isinstance(value, list):
        raise refuse(Reason.MALFORMED, f"{form} must be an array of objects, one a row")
    if not value:
        raise refuse(Reason.NO_ROWS, f"{form} holds no rows")
    for row, record in enumerate(value):
        if not isinstance(record, dict):
            raise refuse(Reason.MALFORMED, f"{form}[{row}] must be an object of column to value")
        if record.keys() != value[0].keys():
            name = min(record.keys() ^ value[0].keys())
            reason = Reason.UNKNOWN_COLUMN if name in record else Reason.MISSING_COLUMN
            verb = "has" if name in record else "lacks"
            raise refuse(reason, f"{form}[{row}] {verb} column {name!r}, unlike row 0; send null for what is not known")
    return {name: [record[name] for record in value] for name in value[0]}


def _inputs(form: str, value: object) -> Columns:
    if not isinstance(value, dict):
        return _records(form, value)
    lists = [name for name, values in value.items() if isinstance(values, list)]
    if not lists:
        return {name: (each,) for name, each in value.items()}
    if len(lists) != len(value):
        single = next(name for name in value if name not in lists)
        raise refuse(Reason.UNEQUAL_LENGTHS, f"{form}: column {single!r} is one value, column {lists[0]!r} is an array")
    return value


_FORMS: Final[Mapping[str, Callable[[str, object], Columns]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _records,
    "inputs": _inputs,
}


def _parse_csv(body: bytes) -> Columns:
    """Return the columns of a CSV with a header line, every cell a string, empty cells None."""
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as broken:
        raise refuse(Reason.MALFORMED, f"the body is not CSV: {broken}") from broken
    if not lines:
        raise refuse(Reason.MALFORMED, "the body is not CSV: it is empty; its first line must name the columns")
    header, rows = lines[0], [line for line in lines[1:] if line]
    return _split("csv", {"columns": header, "data": [[cell or None for cell in row] for row in rows]})


def _typed(encoder: InputEncoder, columns: Columns) -> Columns:
    """Return CSV columns with the contract's numbers read; others are left for the encoder to judge."""
    by_name = encoder.by_name
    return {
        name: _numbers(name, values) if name in by_name and by_name[name].type is ColumnType.NUMBER else values
        for name, values in columns.items()
    }


def _numbers(name: str, cells: Sequence[object]) -> list[object]:
    numbers: list[object] = []
    for row, cell in enumerate(cells):
        try:
            numbers.append(None if cell is None else float(str(cell)))
        except ValueError as broken:
            raise refuse(Reason.WRONG_TYPE, f"column {name!r}, row {row}: expected a number, got {cell!r}") from broken
    return numbers


def _asked_model(query: bytes) -> str | None:
    if not query:
        return None
    models = urllib.parse.parse_qs(query.decode("latin-1"), keep_blank_values=True).get("model", [])
    if len(models) > 1:
        raise refuse(Reason.MALFORMED, "the query names more than one model")
    return models[0] if models else None


ROUTES: Final = (
    Route(
        method="POST",
        path="/invocations",
        handler=invocations,
        summary="Answer rows in MLflow's scoring form.",
        responses={
            200: "One prediction a row.",
            400: "The request is of no known form or does not fit the model's contract; names the field.",
            404: "No such model is routed.",
            408: "The body did not arrive in time.",
            413: "The body or the number of rows is above the limit.",
            415: "The body is neither JSON nor CSV.",
            422: "The model has no finite answer to a row.",
            503: "The model is not loaded, or too many requests are being answered.",
        },
        body="Invocation",
        returns="Predictions",
        query={"model": "Which model; needed only where several are served."},
        headers={"x-lockgate-entity": "Keys sticky routing; goes before the contract's entity column."},
        limited=True,
    ),
)
