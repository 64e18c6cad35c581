"""Who the model is, and what it predicts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from annotated_types import Gt, Le

from lockgate.core.contract import TaskKind
from lockgate.core.ids import ModelName


class Risk(StrEnum):
    """How much harm a wrong answer can do; high forbids approval without a person."""

    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSection:
    """Who the model is.

    Attributes:
        name: 2 to 48 of a-z, 0-9 and '-'.
        description: One sentence for the approver.
        owner: Who answers for it.
        intended_use: What it may be used for; printed on the card.
        risk: low or high.
    """

    name: ModelName
    description: str = ""
    owner: str = ""
    intended_use: str = ""
    risk: Risk = Risk.LOW


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSection:
    """What is predicted.

    Attributes:
        kind: binary, multiclass or regression.
        classes: Label values by index, as text; for binary the second is the positive one. Empty for regression.
        threshold: Decision threshold on the positive class's probability; binary only. Null: chosen on validation as
            the one of least expected cost (`costs`).
        unit: Unit of the value; regression only.
    """

    kind: TaskKind
    classes: tuple[str, ...] = ()
    threshold: Annotated[float, Gt(0), Le(1)] | None = 0.5
    unit: str = "1"
