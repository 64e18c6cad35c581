"""The wire as a client sees it: requests of the Open Inference Protocol v2 and of MLflow's scoring form, and answers.

Written apart from the server's own code on purpose: two sides that share a mistake would agree on it. Pure: a `Call`
is sent by whoever has a connection, an `Answer` is what came back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lockgate.core.contract import ColumnType, InputColumn, ModelContract, TaskKind
from lockgate.core.ids import Digest, Json, ModelName

Row = Mapping[str, Json]
"""Column to value; null for missing."""
JSON_TYPE = "application/json"
DIGEST_HEADER = "x-lockgate-release-digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request.

    Attributes:
        path: From the root, with its query.
        method: HTTP method.
        body: Its bytes; None for none.
        content_type: Of the body.
        declared_bytes: Sent as Content-Length instead of the body's own length; then no body follows.
    """

    path: str
    method: str = "GET"
    body: bytes | None = None
    content_type: str = JSON_TYPE
    declared_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP response.

    Attributes:
        status: HTTP status.
        headers: By lower-case name.
        body: Its bytes.
        seconds: From the first byte sent to the last one received.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0

    @property
    def digest(self) -> Digest | None:
        """The bundle that answered, by its header."""
        found = self.headers.get(DIGEST_HEADER)
        return None if found is None else Digest(found)


# -- requests ----------------------------------------------------------------------------------------------------------


def infer_call(contract: ModelContract, rows: Sequence[Row]) -> Call:
    """Return the Open Inference Protocol v2 request for some rows: one tensor a column, null for missing."""
    return infer_of(contract.model, [tensor(column, rows) for column in contract.inputs])


def invocations_call(contract: ModelContract, rows: Sequence[Row]) -> Call:
    """Return the MLflow scoring request (`dataframe_split`) for some rows."""
    names = [column.name for column in contract.inputs]
    return invocations_of(contract.model, names, [[row.get(name) for name in names] for row in rows])


def infer_of(model: str, tensors: Sequence[Json]) -> Call:
    """Return an inference request of these tensors, whatever they hold."""
    return _post(f"/v2/models/{model}/infer", {"inputs": tensors})


def invocations_of(model: str, names: Sequence[str], data: Sequence[Sequence[Json]]) -> Call:
    """Return a scoring request of these columns and rows, whatever they hold."""
    return _post(f"/invocations?model={model}", {"dataframe_split": {"columns": names, "data": data}})


def _post(path: str, body: Json) -> Call:
    return Call(path=path, method="POST", body=json.dumps(body, allow_nan=False).encode())


def tensor(column: InputColumn, rows: Sequence[Row]) -> dict[str, Json]:
    """Return the tensor of one column: shape [rows], FP64 or BYTES."""
    return {
        "name": column.name,
        "shape": [len(rows)],
        "datatype": "FP64" if column.type is ColumnType.NUMBER else "BYTES",
        "data": [row.get(column.name) for row in rows],
    }


# -- answers -----------------------------------------------------------------------------------------------------------


def read_infer(contract: ModelContract, answer: Answer) -> list[tuple[float, ...]]:
    """Return the numbers of an Open Inference Protocol answer, one tuple a row.

    Raises:
        ValueError: It is not a whole answer of this contract, or a label is not what it decides for on these numbers;
            says what is wrong.
    """
    body = _json_of(answer)
    outputs = body.get("outputs")
    if not isinstance(outputs, list):
        raise ValueError("no outputs")  # noqa: TRY004 - a wrong answer, not a wrong argument
    named = {str(each.get("name")): each for each in outputs if isinstance(each, dict)}
    wanted = OUTPUT[contract.task]
    if wanted not in named:
        raise ValueError(f"no output {wanted!r}; there are {', '.join(sorted(named)) or 'none'}")
    width = len(contract.classes) if contract.task is TaskKind.MULTICLASS else 1
    flat = [_finite(value) for value in _flat(named[wanted].get("data"))]
    if len(flat) % width:
        raise ValueError(f"{len(flat)} numbers in rows of {width}")
    rows = [tuple(flat[at : at + width]) for at in range(0, len(flat), width)]
    if "label" in named:
        _hold_against(contract, rows, list(_flat(named["label"].get("data"))))
    return rows


OUTPUT = {TaskKind.BINARY: "probability", TaskKind.MULTICLASS: "probabilities", TaskKind.REGRESSION: "value"}


def read_invocations(contract: ModelContract, answer: Answer) -> list[tuple[float, ...]]:
    """Return the numbers of an MLflow scoring answer, one tuple a row.

    Raises:
        ValueError: As `read_infer`.
    """
    rows = _json_of(answer).get("predictions")
    if not isinstance(rows, list):
        raise ValueError("no predictions")  # noqa: TRY004 - a wrong answer, not a wrong argument
    wanted = OUTPUT[contract.task]
    read = [tuple(_finite(value) for value in _flat(row.get(wanted) if isinstance(row, dict) else row)) for row in rows]
    if any(isinstance(row, dict) and "label" in row for row in rows):
        _hold_against(contract, read, [row.get("label") if isinstance(row, dict) else None for row in rows])
    return read


def _hold_against(contract: ModelContract, rows: Sequence[Sequence[float]], labels: Sequence[Json]) -> None:
    """Refuse labels that are not what the contract decides for on the same answer's numbers."""
    from lockgate.core.decisions import decided_labels  # numpy, which most who import this module do without

    decided = decided_labels(contract, rows) if contract.classes else []
    if len(labels) != len(decided):
        raise ValueError(f"{len(labels)} labels for {len(decided)} decisions")
    for at, (label, wanted) in enumerate(zip(labels, decided, strict=True)):
        if label != wanted:
            raise ValueError(f"a label is not what its own numbers decide for: row {at} says {label!r}, not {wanted!r}")


def _json_of(answer: Answer) -> dict[str, Json]:
    if answer.status != 200:
        raise ValueError(f"status {answer.status}: {answer.body[:200].decode(errors='replace')}")
    try:
        body = json.loads(answer.body)
    except ValueError as broken:
        raise ValueError(f"not JSON: {broken}") from broken
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a wrong answer, not a wrong argument
    return body


def _flat(data: Json) -> Iterator[Json]:
    if isinstance(data, list):
        for each in data:
            yield from _flat(each)
    else:
        yield data


def _finite(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def metadata_problem(contract: ModelContract, answer: Answer) -> str | None:
    """Return how `/v2/models/{model}` differs from the contract in its inputs and outputs, or None."""
    try:
        body = _json_of(answer)
    except ValueError as broken:
        return str(broken)
    listed = {key: _names(body.get(key)) for key in ("inputs", "outputs")}
    wanted = [column.name for column in contract.inputs]
    if body.get("name") != contract.model or sorted(listed["inputs"]) != sorted(wanted):
        return f"it names model {body.get('name')!r} with inputs {listed['inputs']}, the contract has {wanted}"
    if OUTPUT[contract.task] not in listed["outputs"]:
        return f"outputs {listed['outputs']} lack {OUTPUT[contract.task]!r}"
    return None


def _names(tensors: Json) -> list[str]:
    listed = tensors if isinstance(tensors, list) else []
    return [str(each.get("name")) for each in listed if isinstance(each, dict)]


def model_path(model: ModelName, what: str = "") -> str:
    """Return the path of a model's metadata, or of `ready` or `infer` beneath it."""
    return f"/v2/models/{model}{'/' + what if what else ''}"
