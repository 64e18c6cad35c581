"""What a server is asked to prove that it serves a bundle: golden, edge and malformed requests."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lockgate.core.contract import (
    ColumnType,
    InputColumn,
    ModelContract,
    Policy,
    ProbeRequest,
    ProbeSet,
    RangePolicy,
    TaskKind,
)
from lockgate.core.ids import Json
from lockgate.core.wire import Answer, Call, Row, infer_call, infer_of, invocations_of, tensor

_FAR = 1e12  # ours: far beyond any feature, yet its square is a float32
_TOO_LARGE_BYTES = 1 << 30  # no body limit is this high


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A request that must be refused with 4xx.

    Attributes:
        name: What is wrong with it.
        call: The request.
        field: The column that the refusal must name; None when no column is at fault.
    """

    name: str
    call: Call
    field: str | None = None


def edge_rows(contract: ModelContract, typical: Row) -> tuple[tuple[str, Row], ...]:
    """Return unusual rows that the contract allows, by name: each must be answered with finite numbers.

    Null in every nullable column at once and in each alone, unseen and odd strings, numbers far outside the range.
    """
    flagged = contract.requests.null is Policy.FLAG
    nullable = [column.name for column in contract.inputs if column.nullable or flagged]
    named: list[tuple[str, Row]] = []
    if nullable:
        named.append(("all-null", {**typical, **dict.fromkeys(nullable)}))
    named += [(f"null-{name}", {**typical, name: None}) for name in nullable]
    named += [
        (f"{what}-{column.name}", {**typical, column.name: value})
        for column in contract.inputs
        for what, value in _odd_values(column).items()
        if not _refuses(contract, column, value)
    ]
    return tuple(named)


def _refuses(contract: ModelContract, column: InputColumn, value: float | str) -> bool:
    """Tell whether the contract's policy refuses a value of the right type."""
    if isinstance(value, str):
        unknown = column.categories is not None and value not in column.categories
        return unknown and contract.requests.unknown_category is Policy.REFUSE
    below = column.minimum is not None and value < column.minimum
    above = column.maximum is not None and value > column.maximum
    return (below or above) and contract.requests.out_of_range is RangePolicy.REFUSE


def _odd_values(column: InputColumn) -> Mapping[str, float | str]:
    if column.type is ColumnType.STRING:
        return _ODD_STRINGS
    least = 0.0 if column.minimum is None else column.minimum
    most = 0.0 if column.maximum is None else column.maximum
    return {"zero": 0.0, "lowest": -_FAR, "highest": _FAR, "below": least - 1, "above": most + 1, "tiny": 1e-38}


_ODD_STRINGS = {"unseen": "never-seen-in-training", "empty": "", "unicode": "Zürich 東京", "long": "x" * 4096}


def malformed(contract: ModelContract, typical: Row) -> tuple[Malformed, ...]:
    """Return requests that must be refused, through both protocols where both can carry the fault."""
    return (*_wrong_columns(contract, typical), *_wrong_wholes(contract, typical))


def _wrong_columns(contract: ModelContract, typical: Row) -> Iterator[Malformed]:
    for column in _one_of_each(contract):
        wrong: Json = "not a number" if column.type is ColumnType.NUMBER else 12.5
        yield from _both(contract, f"wrong-type-{column.name}", {**typical, column.name: wrong}, column.name)
        yield from _both(contract, f"nested-{column.name}", {**typical, column.name: {"a": [1]}}, column.name)
        if column.type is ColumnType.NUMBER:
            yield from _both(contract, f"too-large-{column.name}", {**typical, column.name: 1e300}, column.name)
        refused = [each for each in _odd_values(column).items() if _refuses(contract, column, each[1])]
        for what, value in refused[:1]:
            yield from _both(contract, f"{what}-{column.name}", {**typical, column.name: value}, column.name)
    for column in contract.inputs:
        if not column.nullable and contract.requests.null is Policy.REFUSE:
            yield from _both(contract, f"null-{column.name}", {**typical, column.name: None}, column.name)
            break
    yield from _wrong_tensors(contract, typical)


def _wrong_tensors(contract: ModelContract, typical: Row) -> Iterator[Malformed]:
    first, names = contract.inputs[0].name, [column.name for column in contract.inputs]
    tensors = {column.name: tensor(column, [typical]) for column in contract.inputs}
    values = [typical.get(name) for name in names]
    model = contract.model
    if contract.requests.missing_column is Policy.REFUSE:
        yield Malformed(name="missing-column", call=infer_of(model, list(tensors.values())[1:]), field=first)
        yield Malformed(name="missing-column-row", call=invocations_of(model, names[1:], [values[1:]]), field=first)
    extra: dict[str, Json] = {"name": "no_such_column", "shape": [1], "datatype": "FP64", "data": [1.0]}
    if contract.requests.extra_column is Policy.REFUSE:
        yield Malformed(name="unknown-column", call=infer_of(model, [*tensors.values(), extra]), field="no_such_column")
    longer = tensors[first] | {"shape": [2], "data": [typical.get(first)] * 2}
    if len(names) > 1:
        others = [tensor for name, tensor in tensors.items() if name != first]
        yield Malformed(name="unequal-lengths", call=infer_of(model, [longer, *others]), field=first)
    short = tensors[first] | {"shape": [3]}
    yield Malformed(name="shape-without-data", call=infer_of(model, [short, *list(tensors.values())[1:]]), field=first)
    odd = tensors[first] | {"datatype": "FP19"}
    yield Malformed(name="unknown-datatype", call=infer_of(model, [odd, *list(tensors.values())[1:]]), field=first)


def _wrong_wholes(contract: ModelContract, typical: Row) -> Iterator[Malformed]:
    good = infer_call(contract, [typical])
    infer = f"/v2/models/{contract.model}/infer"
    for name, body in (
        ("not-json", b'{"inputs": ['),
        ("empty-body", b""),
        ("not-utf8", b"\xff\xfe{}"),
        ("list", b"[]"),
    ):
        yield Malformed(name=name, call=Call(path=infer, method="POST", body=body))
        yield Malformed(
            name=f"{name}-row", call=Call(path=f"/invocations?model={contract.model}", method="POST", body=body)
        )
    yield Malformed(name="no-rows", call=infer_call(contract, []))
    yield Malformed(name="oversized", call=Call(path=infer, method="POST", declared_bytes=_TOO_LARGE_BYTES))
    yield Malformed(
        name="unknown-model", call=Call(path="/v2/models/no-such-model/infer", method="POST", body=good.body)
    )
    unknown = f"/v2/models/{contract.model}/versions/{'0' * 64}/infer"
    yield Malformed(name="unknown-version", call=Call(path=unknown, method="POST", body=good.body))
    yield Malformed(name="unknown-path", call=Call(path="/v2/no-such-path"))
    yield Malformed(name="wrong-method", call=Call(path=infer, method="DELETE"))


def _one_of_each(contract: ModelContract) -> Iterator[InputColumn]:
    for kind in ColumnType:
        yield from [column for column in contract.inputs if column.type is kind][:1]


def _both(contract: ModelContract, name: str, row: Row, column: str) -> Iterator[Malformed]:
    names = [each.name for each in contract.inputs]
    tensors = [tensor(each, [row]) for each in contract.inputs]
    yield Malformed(name=name, call=infer_of(contract.model, tensors), field=column)
    values = [row.get(each) for each in names]
    yield Malformed(name=f"{name}-row", call=invocations_of(contract.model, names, [values]), field=column)


def golden_problem(probes: ProbeSet, probe: ProbeRequest, got: Sequence[float]) -> str | None:
    """Return how an answer differs from the golden one beyond the bundle's bounds; None when it does not.

    An answer holds when every number is within `absolute` of the golden one or within `relative` of its size.
    """
    if len(got) != len(probe.output):
        return f"{probe.name}: {len(got)} numbers, {len(probe.output)} are golden"
    for seen, golden in zip(got, probe.output, strict=True):
        apart = abs(seen - golden)
        if not (apart <= probes.absolute or apart <= probes.relative * abs(golden)):
            return f"{probe.name}: {seen!r} instead of {golden!r}"
    return None


def plausible_problem(contract: ModelContract, got: Sequence[float]) -> str | None:
    """Return why numbers cannot be an answer (not finite, or no probabilities where some are due), or None."""
    if not all(math.isfinite(each) for each in got):
        return "not finite"
    if contract.task is not TaskKind.REGRESSION and not all(0 <= each <= 1 for each in got):
        return "no probability"
    if contract.task is TaskKind.MULTICLASS and not math.isclose(sum(got), 1, abs_tol=1e-3):
        return f"probabilities add up to {sum(got)}"
    return None


def refusal_problem(refused: Malformed, answer: Answer) -> str | None:
    """Return why a malformed request was not refused as it must be: `accepted`, `unnamed`; None when it was."""
    if not 400 <= answer.status < 500:
        return "accepted"
    text = answer.body.decode(errors="replace")
    try:
        told = bool(json.loads(text))
    except ValueError:
        told = False
    return None if told and (refused.field is None or refused.field in text) else "unnamed"
