"""Parity over the wire: the production server, with the sealed bundle, against the estimator's own answers.

The server is started once, in a sandbox, and asked the same rows in every way a client may: alone, in batches of
several sizes, many times over in one request, with the columns in another order, and in MLflow's form. Rows that the
contract refuses are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import ColumnType, ModelBundle, ModelContract, Policy, RangePolicy, TaskKind
from lockgate.core.ids import Json
from lockgate.core.parity import compare_answers, joined
from lockgate.core.row_order import WORTHWHILE_ROWS
from lockgate.core.wire import Answer, Call, Row, infer_call, invocations_call, read_infer, read_invocations
from lockgate.errors import TransientError
from lockgate.stages.infra import SandboxFactory, SandboxServer

_BATCHES = (2, 7, 64)
_MANY = 2 * WORTHWHILE_ROWS  # the server brings so many into another order before it asks the graph
_FEW = 10  # ours: so many requests in each further way; a server that is wrong there is wrong at once
Ask = Callable[[Sequence[Row]], list[tuple[float, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What came of it.

    Attributes:
        facts: The group `served` of the parity gate's measurements.
        worst: Which of the rows was worst, -1 for none.
        answer: The server's answer to it, alone; empty for none.
    """

    facts: Mapping[str, Json]
    worst: int = -1
    answer: tuple[float, ...] = ()


def measure_served(  # noqa: PLR0913 - what is served, what is asked, and two bounds as keywords
    sandboxes: SandboxFactory,
    bundle: ModelBundle,
    rows: Sequence[Row],
    native: Sequence[Sequence[float]],
    *,
    size: float,
    bound: float,
) -> Served:
    """Serve a bundle and compare its answers with the estimator's.

    Args:
        sandboxes: Start the server.
        bundle: Sealed.
        rows: As a client would send them.
        native: The estimator's answers, one a row.
        size: From `core.parity.typical_size`.
        bound: As for `core.parity.compare_answers`.

    Raises:
        SandboxError: The sandbox itself broke, before the bundle was loaded.
    """
    contract = bundle.contract
    kept = [at for at, row in enumerate(rows) if permitted(contract, row)]
    facts: dict[str, Json] = {"refused_by_contract": len(rows) - len(kept)}
    asked = [rows[at] for at in kept]
    ours = _array([native[at] for at in kept], contract)
    with sandboxes.open("parity") as server:
        problem = load(server, bundle)
        if problem is not None:
            none = max(len(asked), 1)  # a bundle that is not served answers nothing, however few rows there are
            failed = compare_answers(contract.task, ours, ours[:0], threshold=None, size=size, bound=bound)
            return Served(facts={**facts, **failed, "rows": none, "not_finite": none, "problem": problem})
        ways, problems = _ask_all(_ways(server, bundle), asked, contract)
    compared = {way: _compared(contract, ours, each, size, bound) for way, each in ways.items()}
    facts |= joined(contract.task, list(compared.values()))
    shown = ("rows", "max_difference")
    facts["ways"] = {way: {name: each[name] for name in shown} for way, each in compared.items()}
    facts["problems"] = dict(problems.most_common(5))
    worst = compared["single"]["worst_row"]
    if worst is None:
        return Served(facts=facts)
    at = int(str(worst))
    return Served(facts=facts, worst=kept[at], answer=tuple(float(each) for each in np.ravel(ways["single"][at])))


def _compared(
    contract: ModelContract, ours: NDArray[Any], served: NDArray[Any], size: float, bound: float
) -> dict[str, Json]:
    """Compare the answers of one way to ask with ours to as many rows, the first ones."""
    return compare_answers(
        contract.task,
        ours[: len(served)],
        served,
        threshold=contract.threshold,
        costs=contract.costs,
        size=size,
        bound=bound,
    )


def permitted(contract: ModelContract, row: Row) -> bool:
    """Tell whether the contract answers such a row; what it refuses, nobody can compare."""
    policy = contract.requests
    for column in contract.inputs:
        value = row.get(column.name)
        if value is None:
            if not column.nullable and policy.null is Policy.REFUSE:
                return False
        elif column.type is ColumnType.STRING:
            unknown = column.categories is not None and value not in column.categories
            if unknown and policy.unknown_category is Policy.REFUSE:
                return False
        elif (
            not isinstance(value, int | float)
            or abs(value) > float(np.finfo(np.float32).max)
            or (policy.out_of_range is not RangePolicy.FLAG and _outside(value, column.minimum, column.maximum))
        ):
            return False
    return True


def _outside(value: float, least: float | None, most: float | None) -> bool:
    return (least is not None and value < least) or (most is not None and value > most)


def answer_row(server: SandboxServer, bundle: ModelBundle, row: Row) -> tuple[float, ...]:
    """Return the server's answer to one row.

    Raises:
        ValueError: It answered otherwise.
        TransientError: It did not answer.
    """
    return _Asker(server, bundle, infer_call, read_infer)([row])[0]


def load(server: SandboxServer, bundle: ModelBundle) -> str | None:
    """Have a server serve a bundle; return why it does not, None when it does."""
    try:
        answer = server.route(bundle.contract.model, bundle.digest)
    except TransientError as silent:
        return f"the production server died while it loaded the bundle: {silent.message}"
    if answer.status == 200:
        return None
    return f"the production server refuses the bundle ({answer.status}): {answer.body[:300].decode(errors='replace')}"


@dataclass(frozen=True, slots=True)
class _Asker:
    server: SandboxServer
    bundle: ModelBundle
    call: Callable[[ModelContract, Sequence[Row]], Call]
    read: Callable[[ModelContract, Answer], list[tuple[float, ...]]]

    def __call__(self, rows: Sequence[Row]) -> list[tuple[float, ...]]:
        answer = self.server.send(self.call(self.bundle.contract, rows))
        found = self.read(self.bundle.contract, answer)
        if answer.digest != self.bundle.digest:
            raise ValueError("answered by another bundle")
        return found


def _ways(server: SandboxServer, bundle: ModelBundle) -> dict[str, tuple[Ask, int]]:
    """Return every way to ask, with how many rows at once; 0 for all."""
    v2 = _Asker(server, bundle, infer_call, read_infer)
    reordered = _Asker(server, bundle, _reordered, read_infer)
    return {
        "single": (v2, 1),
        **{f"batch-{size}": (v2, size) for size in _BATCHES},
        "batch-all": (v2, 0),
        "many times over": (_repeated(v2), 0),
        "column order": (reordered, 0),
        "column order, single": (reordered, 1),
        "mlflow form": (_Asker(server, bundle, invocations_call, read_invocations), 0),
    }


def _repeated(ask: Ask) -> Ask:
    """Return a way to ask the same rows so often that they are many; each must be answered alike wherever it stands."""

    def ask_many(rows: Sequence[Row]) -> list[tuple[float, ...]]:
        times = -(-_MANY // len(rows))
        answers = ask([*rows] * times)
        first = answers[: len(rows)]
        if answers != first * times:
            raise ValueError("a row is answered otherwise in another place of its request")
        return first

    return ask_many


def _reordered(contract: ModelContract, rows: Sequence[Row]) -> Call:
    return infer_call(replace(contract, inputs=contract.inputs[::-1]), rows)


def _ask_all(
    ways: Mapping[str, tuple[Ask, int]], rows: Sequence[Row], contract: ModelContract
) -> tuple[dict[str, NDArray[Any]], Counter[str]]:
    """Ask every row in every way; a row without a whole answer has NaN, and why is counted."""
    problems: Counter[str] = Counter()
    width = len(contract.classes) if contract.task is TaskKind.MULTICLASS else 1
    found: dict[str, NDArray[Any]] = {}
    for way, (ask, size) in ways.items():
        answers: list[Sequence[float]] = []
        step = size or max(len(rows), 1)
        most = len(rows) if way == "single" else _FEW * step
        for at in range(0, min(len(rows), most), step):
            some = rows[at : at + step]
            try:
                got: list[Sequence[float]] = list(ask(some))
            except (ValueError, TransientError) as wrong:
                problems[_kind_of(wrong)] += len(some)
                got = []
            whole = len(got) == len(some) and all(len(each) == width for each in got)
            answers += got if whole else [(float("nan"),) * width] * len(some)
        found[way] = _array(answers, contract)
    return found, problems


def _kind_of(wrong: Exception) -> str:
    """Return what kind of wrong answer it was, without the row's values that a refusal may name."""
    return "no answer" if isinstance(wrong, TransientError) else str(wrong).partition(":")[0][:60]


def _array(answers: Sequence[Sequence[float]], contract: ModelContract) -> NDArray[Any]:
    width = len(contract.classes) if contract.task is TaskKind.MULTICLASS else 1
    made = np.array([list(map(float, each)) for each in answers], dtype=np.float64).reshape(len(answers), width)
    return made if contract.task is TaskKind.MULTICLASS else made[:, 0]
