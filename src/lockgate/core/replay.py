"""Replay: do two bundles decide alike on requests that were really made? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lockgate.core.contract import ColumnType, ModelContract, TaskKind
from lockgate.core.ids import Json
from lockgate.core.wire import OUTPUT, Row

_SLICE_MIN = 30  # ours: below this a share of agreement moves by more than it says
_SLICES_SHOWN = 5
_NEAR = 0.1  # ours: two values agree when they are within a tenth of the champion's


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One request that production answered, from its prediction log.

    Attributes:
        rows: What was asked.
        outputs: What was answered, by output name, one value a row.
        request_id: The caller's own id; None: it gave none.
        entity: What keyed the routing; None: nothing did.
        digest: The bundle that answered; empty where the log does not say.
    """

    rows: tuple[Row, ...]
    outputs: Mapping[str, Sequence[Json]]
    request_id: str | None = None
    entity: str | None = None
    digest: str = ""


def decision(contract: ModelContract, numbers: Sequence[float]) -> str | float:
    """Return what is decided on one row's numbers: the label, or the value itself for a regression."""
    from lockgate.core.decisions import decided_labels  # numpy, which most who import this module do without

    return numbers[0] if contract.task is TaskKind.REGRESSION else decided_labels(contract, [numbers])[0]


def logged_decisions(contract: ModelContract, request: LoggedRequest) -> Sequence[Json]:
    """Return what production decided on each row; empty when the log is of another form."""
    name = OUTPUT[contract.task] if contract.task is TaskKind.REGRESSION else "label"
    found = request.outputs.get(name, ())
    return found if len(found) == len(request.rows) else ()


def agrees(now: str | float, then: Json) -> bool:
    """Tell whether two decisions are alike: the same label, or values within a tenth of the logged one."""
    if isinstance(now, str):
        return now == then
    return isinstance(then, int | float) and abs(now - then) <= _NEAR * abs(then)


def agreement(contract: ModelContract, rows: Sequence[Row], alike: Sequence[bool]) -> dict[str, Json]:
    """Return the share of rows decided alike, in all and for the slices that agree least.

    Args:
        contract: Of the bundle under test.
        rows: What was asked.
        alike: Whether both decided the same, one a row.
    """
    if not rows:
        return {"asked": 0, "agreement_fraction": None, "slices": []}
    by_slice: dict[str, list[bool]] = {}
    for column in contract.inputs:
        if column.type is ColumnType.STRING:
            for row, same in zip(rows, alike, strict=True):
                by_slice.setdefault(f"{column.name}={row.get(column.name)}", []).append(same)
    shares = [(sum(each) / len(each), name, len(each)) for name, each in by_slice.items() if len(each) >= _SLICE_MIN]
    slices: list[Json] = [
        {"slice": name, "agreement_fraction": share, "n": n} for share, name, n in sorted(shares)[:_SLICES_SHOWN]
    ]
    return {"asked": len(rows), "agreement_fraction": sum(alike) / len(alike), "slices": slices}
