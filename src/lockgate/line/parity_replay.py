"""Answers the rows that parity was worst on again: by the estimator, by the graph, and by the production server.

The rows lie in the release's own folder, because they may be data; a release whose folder was cleared has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import ColumnType, ModelBundle
from lockgate.core.ids import Digest, Json, as_float
from lockgate.core.parity import compare_answers
from lockgate.errors import BadInput, TransientError
from lockgate.ports import BundleStore
from lockgate.stages.infra import SandboxFactory, SandboxServer
from lockgate.stages.package import ROWS_FILE
from lockgate.stages.served_parity import answer_row, load, permitted

if TYPE_CHECKING:
    from lockgate.adapters.parity_meter import Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One row, answered again.

    Attributes:
        family: Which family of rows it was the worst of.
        origin: Whether it is a row of the data, or one with changed values.
        changed: The column that was changed; None for none, or several.
        row: Column to value.
        native: The estimator's answer.
        graph: The graph's.
        served: The production server's; None where it gave none.
        unserved: Why it gave none.
        difference: The larger of the graph's and the server's distance from the estimator, as the gate measures it.
        equal: Whether both are within the gate's bound, and no decision turned that was no tie.
    """

    family: str
    origin: str
    changed: str | None
    row: Mapping[str, Json]
    native: tuple[float, ...]
    graph: tuple[float, ...]
    served: tuple[float, ...] | None
    unserved: str | None
    difference: float
    equal: bool


def replay(
    folder: Path, bundles: BundleStore, sandboxes: SandboxFactory | None, family: str | None
) -> tuple[Replayed, ...]:
    """Answer the kept rows of a release anew, the worst first.

    Args:
        folder: The release's own.
        bundles: Holds its bundle.
        sandboxes: Start the server; None: do not serve.
        family: Only this family's row; None: all.

    Raises:
        BadInput: Parity kept no rows for this release, or none of this family.
        IntegrityError: The bundle is not what was signed.
        SandboxError: The sandbox itself broke.
    """
    from lockgate.adapters.native_scorer import GraphScorer, NativeScorer

    kept = _kept(folder, family)
    bundle = bundles.get(Digest(str(kept["bundle"])))
    graph = GraphScorer((bundles.folder(bundle.digest) / "model.onnx").read_bytes(), bundle.contract.graph)
    native = NativeScorer.load(folder / "fit")
    serving: AbstractContextManager[SandboxServer | None] = (
        nullcontext() if sandboxes is None else sandboxes.open("parity-replay")
    )
    with serving as server:
        problem = "not asked to serve" if server is None else load(server, bundle)
        asked = _Asked(
            bundle, server if problem is None else None, problem, as_float(kept["size"]), as_float(kept["bound"])
        )
        found = [_answered(each, native, graph, asked) for each in kept["rows"]]
    return tuple(sorted(found, key=lambda each: (each.equal, -each.difference)))


@dataclass(frozen=True, slots=True)
class _Asked:
    bundle: ModelBundle
    server: SandboxServer | None
    problem: str | None
    size: float
    bound: float


def _kept(folder: Path, family: str | None) -> dict[str, Any]:
    path = folder / ROWS_FILE
    if not path.is_file():
        raise BadInput(f"{path} is not there: the release did not come to package_model, or its folder was cleared")
    kept: dict[str, Any] = json.loads(path.read_text())
    families = [each["family"] for each in kept["rows"]]
    if family is not None and family not in families:
        raise BadInput(f"parity kept no row of a family {family!r}; there are {', '.join(families) or 'none'}")
    return {**kept, "rows": [each for each in kept["rows"] if family in (None, each["family"])]}


def _answered(kept: Mapping[str, Any], native: Answers, graph: Answers, asked: _Asked) -> Replayed:
    import pandas as pd

    row: Mapping[str, Json] = kept["row"]
    frame = pd.DataFrame([_values(row, asked.bundle)])
    ours, theirs = (np.asarray(each.score(frame), dtype=np.float64) for each in (native, graph))
    served, unserved = _serve(row, asked)
    compared = [_compare(ours, theirs, asked)]
    if served is not None:
        compared.append(_compare(ours, np.array(served).reshape(ours.shape), asked))
    return Replayed(
        family=str(kept["family"]),
        origin=str(kept["origin"]),
        changed=kept["changed"],
        row=row,
        native=_tuple(ours),
        graph=_tuple(theirs),
        served=served,
        unserved=unserved,
        difference=max(difference for difference, _ in compared),
        equal=all(equal for _, equal in compared),
    )


def _compare(ours: NDArray[np.float64], theirs: NDArray[np.float64], asked: _Asked) -> tuple[float, bool]:
    contract = asked.bundle.contract
    facts = compare_answers(
        contract.task,
        ours,
        theirs,
        threshold=contract.threshold,
        costs=contract.costs,
        size=asked.size,
        bound=asked.bound,
    )
    difference = float("inf") if facts["not_finite"] else as_float(facts["max_difference"])
    return difference, difference <= asked.bound and not facts["flips"]


def _values(row: Mapping[str, Json], bundle: ModelBundle) -> dict[str, float | str | None]:
    values: dict[str, float | str | None] = {}
    for column in bundle.contract.inputs:
        value = row.get(column.name)
        if column.type is ColumnType.NUMBER:
            values[column.name] = float("nan") if value is None else as_float(value)
        else:
            values[column.name] = None if value is None else str(value)
    return values


def _serve(row: Mapping[str, Json], asked: _Asked) -> tuple[tuple[float, ...] | None, str | None]:
    if asked.server is None:
        return None, asked.problem
    if not permitted(asked.bundle.contract, row):
        return None, "the contract refuses such a row"
    try:
        return answer_row(asked.server, asked.bundle, row), None
    except (ValueError, IndexError, TransientError) as wrong:
        return None, str(wrong)


def _tuple(answer: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(each) for each in np.ravel(answer))
