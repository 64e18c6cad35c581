"""What a bundle promises on the wire: its contract, and probe requests with golden answers.

Probes are synthetic: each value is drawn alone from a column's quantiles or categories, so no probe is a row of the
data. Golden answers come from the fitted estimator, never from the graph that they will test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.core.contract import (
    ColumnType,
    GraphForm,
    InputColumn,
    ModelContract,
    Policy,
    ProbeRequest,
    ProbeSet,
    TaskKind,
)
from lockgate.core.parity import typical_size
from lockgate.core.spec import ReleaseSpec

Row = dict[str, float | str | None]
_TYPICAL = 8
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_UNSEEN = "never seen in training"
_BOUND = 1e-5  # as the parity gate's default: see core/gates/parity.py


class Answers(Protocol):
    """Anything that answers rows."""

    def score(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return [n] or [n, classes]."""
        ...


def contract_of(spec: ReleaseSpec, seen: pd.DataFrame, threshold: float | None, form: GraphForm) -> ModelContract:
    """Return the contract of a fit.

    Args:
        spec: Names the columns, the task and the classes.
        seen: The rows of training and validation; float32 numbers and strings, null for missing.
        threshold: Decision threshold; binary only.
        form: How its columns map to the graph's tensors.
    """
    return ModelContract(
        model=spec.name,
        task=spec.task.kind,
        inputs=tuple(
            [_number(name, seen[name]) for name in spec.data.numeric]
            + [_string(name, seen[name]) for name in spec.data.categorical]
        ),
        classes=spec.task.classes,
        threshold=threshold if spec.task.kind is TaskKind.BINARY else None,
        costs=spec.costs.by_index(spec.task.classes) if spec.task.kind is TaskKind.MULTICLASS else None,
        requests=spec.serving.requests,
        log=spec.serving.log,
        unit=spec.task.unit,
        entity=spec.data.entity,
        graph=form,
    )


def probes_of(contract: ModelContract, seen: pd.DataFrame, native: Answers, seed: int) -> ProbeSet:
    """Return the probe requests of a contract, about twenty, with the estimator's answers.

    Args:
        contract: What may be asked.
        seen: As for `contract_of`.
        native: The fitted estimator.
        seed: Draws the typical rows.
    """
    rows = dict(_rows(contract, seen, np.random.default_rng(seed)))
    answers = native.score(_frame(contract, list(rows.values())))
    size = typical_size(contract.task, answers)
    return ProbeSet(
        absolute=_BOUND * size,
        relative=_BOUND,
        requests=tuple(
            ProbeRequest(name=name, row=row, output=tuple(float(each) for each in np.ravel(answer)))
            for (name, row), answer in zip(rows.items(), answers, strict=True)
        ),
    )


def _number(name: str, values: pd.Series) -> InputColumn:
    known = values.dropna()
    return InputColumn(
        name=name,
        type=ColumnType.NUMBER,
        nullable=len(known) < len(values),
        minimum=float(known.min()) if len(known) else None,
        maximum=float(known.max()) if len(known) else None,
    )


def _string(name: str, values: pd.Series) -> InputColumn:
    known = values.dropna()
    return InputColumn(
        name=name,
        type=ColumnType.STRING,
        nullable=len(known) < len(values),
        categories=tuple(sorted(set(known))),
    )


def _rows(contract: ModelContract, seen: pd.DataFrame, rng: np.random.Generator) -> Iterator[tuple[str, Row]]:
    numbers = [column for column in contract.inputs if column.type is ColumnType.NUMBER]
    strings = [column for column in contract.inputs if column.type is ColumnType.STRING]
    typical = [_typical(contract, seen, rng) for _ in range(_TYPICAL)]
    yield from ((f"typical-{at}", row) for at, row in enumerate(typical))
    yield "smallest", typical[0] | {column.name: column.minimum for column in numbers if column.minimum is not None}
    yield "largest", typical[1] | {column.name: column.maximum for column in numbers if column.maximum is not None}
    nullable = [column for column in contract.inputs if column.nullable]
    for column in nullable[:5]:
        yield f"missing-{column.name}", typical[2] | {column.name: None}
    if nullable:
        yield "missing-all", typical[3] | dict.fromkeys((column.name for column in nullable), None)
    if contract.requests.unknown_category is Policy.REFUSE:
        return
    for column in strings[:5]:
        yield f"unseen-category-{column.name}", typical[4] | {column.name: _UNSEEN}
    if strings:
        yield "unseen-all", typical[5] | {column.name: _UNSEEN for column in strings}


def _typical(contract: ModelContract, seen: pd.DataFrame, rng: np.random.Generator) -> Row:
    row: Row = {}
    for column in contract.inputs:
        if column.type is ColumnType.NUMBER:
            known = seen[column.name].dropna().to_numpy(dtype=np.float32)
            value = np.quantile(known, rng.choice(_QUANTILES), method="nearest") if len(known) else None
            row[column.name] = None if value is None else float(value)
        else:
            shares = seen[column.name].dropna().value_counts().sort_index()
            row[column.name] = (
                str(rng.choice(shares.index.to_numpy(), p=shares / shares.sum())) if len(shares) else None
            )
    return row


def _frame(contract: ModelContract, rows: list[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[column.name for column in contract.inputs], dtype=object)
    numbers = [column.name for column in contract.inputs if column.type is ColumnType.NUMBER]
    return frame.astype(dict.fromkeys(numbers, "float32"))
