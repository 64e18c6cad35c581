"""Reads `contract.json` and `probe_requests.json` into core's types, and refuses what does not hold together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, TypeVar

import msgspec

from lockgate.core.contract import ColumnType, ModelContract, ProbeSet, TaskKind
from lockgate.core.ids import is_model_name
from lockgate.errors import IntegrityError

T = TypeVar("T", ModelContract, ProbeSet)
SCHEMA_VERSION = 1
# made at import, by one thread: msgspec learns a type at its first use, and crashes where two threads do at once
_CONTRACT: Final = msgspec.json.Decoder(ModelContract)
_PROBES: Final = msgspec.json.Decoder(ProbeSet)


def parse_contract(data: bytes) -> ModelContract:
    """Read a contract.

    Raises:
        IntegrityError: It is not of the known form, or contradicts itself; says where.
    """
    contract = _decode("contract.json", data, _CONTRACT)
    problem = next(_contradictions(contract), None)
    if problem:
        raise IntegrityError(f"part contract.json: {problem}")
    return contract


def parse_probes(data: bytes) -> ProbeSet:
    """Read the probe requests.

    Raises:
        IntegrityError: They are not of the known form, or there are none: a bundle without probes proves nothing.
    """
    probes = _decode("probe_requests.json", data, _PROBES)
    if not probes.requests:
        raise IntegrityError("part probe_requests.json: it holds no probe; a bundle must prove its answers")
    if not (probes.absolute >= 0 and probes.relative >= 0):
        raise IntegrityError("part probe_requests.json: its bounds must be at least 0")
    return probes


def _decode(part: str, data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        value = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise IntegrityError(f"part {part}: {broken}") from broken
    if value.schema_version != SCHEMA_VERSION:
        raise IntegrityError(
            f"part {part}: schema_version is {value.schema_version}; this server reads {SCHEMA_VERSION}"
        )
    return value


def _contradictions(contract: ModelContract) -> Iterator[str]:
    """Yield what does not hold together, worst first."""
    if not is_model_name(contract.model):
        yield f"model {contract.model!r} is no model name"
    names = [column.name for column in contract.inputs]
    if not names:
        yield "it takes no inputs"
    if len(set(names)) != len(names):
        yield "two inputs share a name"
    graph = contract.graph
    for kind, mapped in ((ColumnType.NUMBER, graph.numeric_columns), (ColumnType.STRING, graph.categorical)):
        wanted = sorted(column.name for column in contract.inputs if column.type is kind)
        if sorted(mapped) != wanted:
            yield f"the graph takes the {kind} columns {sorted(mapped)}, the inputs are {wanted}"
    for tensor, width in (
        (graph.numeric_input, len(graph.numeric_columns) + len(graph.coded)),
        (graph.string_input, len(graph.string_columns)),
    ):
        if bool(tensor) != bool(width):
            yield f"a graph input is {tensor!r} for {width} columns"
    for column in graph.coded:
        if len(set(column.values)) != len(column.values):
            yield f"two codes of column {column.name!r} stand for one value"
    yield from _task_contradictions(contract)


def _task_contradictions(contract: ModelContract) -> Iterator[str]:
    allowed = {TaskKind.BINARY: (2, 2), TaskKind.MULTICLASS: (2, 1 << 16), TaskKind.REGRESSION: (0, 0)}
    least, most = allowed[contract.task]
    if not least <= len(contract.classes) <= most:
        yield f"a {contract.task} model cannot have {len(contract.classes)} classes"
    binary = contract.task is TaskKind.BINARY
    if binary and (contract.threshold is None or not 0 <= contract.threshold <= 1):
        yield f"threshold is {contract.threshold}; a binary model needs one from 0 to 1"
    if not binary and contract.threshold is not None:
        yield f"a {contract.task} model has no threshold"
    yield from _cost_contradictions(contract)


def _cost_contradictions(contract: ModelContract) -> Iterator[str]:
    costs, classes = contract.costs, len(contract.classes)
    if costs is None:
        return
    if contract.task is not TaskKind.MULTICLASS:
        yield f"a {contract.task} model has no costs"
    elif len(costs) != classes or any(len(row) != classes for row in costs):
        yield f"costs are of {len(costs)} classes by {sorted({len(row) for row in costs})}, the model has {classes}"
    elif not all(0 <= each < math.inf for row in costs for each in row):
        yield "a cost is not a finite number of at least 0"
