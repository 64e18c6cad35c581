"""The gates: one file each, holding its `Thresholds` and `judge`; `GATES` is the one list.

Adding a gate is one new file and one line here. The config section, the contract tests, the report section and the
docs row follow from the list. A gate needs an import of its module and nothing else: no decorator, no side effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lockgate.core.evidence import Evidence
from lockgate.core.ids import Stage
from lockgate.core.verdict import GateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate.

    Attributes:
        name: Its name in specs, reports and the ledger.
        stage: The stage whose task measures for it.
        thresholds: Its dataclass of thresholds; every field has a safe default.
        judge: `(evidence, thresholds) -> GateReport`, pure, defined for any evidence: what is missing is ERROR.
        title: A few words for people.
    """

    name: str
    stage: Stage
    thresholds: type[Any]
    judge: Callable[[Evidence, Any], GateReport]
    title: str
