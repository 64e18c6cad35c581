"""The schema gate: did what landed have the form that the spec and the table promise?

Judges `stages/ingest.py`'s measurements. A file that broke the form was quarantined when it was ingested, so that the
table never holds it; this gate says so, and stops the release that the file was meant for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import names, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Positive
from lockgate.core.verdict import Check, Direction, GateReport, compare, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What may be wrong with what landed.

    Attributes:
        quarantined: Most files of this release that may have been refused. 0: a file that somebody meant to be in and
            is not needs a person.
        train_rows: Fewest rows left to train on.
    """

    quarantined: Annotated[int, Ge(0)] = 0
    train_rows: Positive = 1


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.ingest.measure_ingest`'s measurements; what is not there is an ERROR check."""
    seen = evidence.measurements
    short = value_at(seen, "too_short")
    why = short if isinstance(short, str) else "land more rows"
    checks = [
        compare(
            "quarantined_files",
            number(seen, "quarantined"),
            thresholds.quarantined,
            Direction.AT_MOST,
            unit="files",
            reason=f"files were refused and lie in quarantine, mend and land them again: {_refusals(seen)}",
        ),
        _columns(seen, "missing", "columns that the spec names are not in the rows"),
        _columns(seen, "mistyped", "columns have another type than the spec says"),
        compare(
            "train_rows",
            number(seen, "snapshot.rows.train"),
            thresholds.train_rows,
            Direction.AT_LEAST,
            unit="rows",
            reason=f"there are too few rows to train on: {why}",
        ),
    ]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _columns(seen: Mapping[str, Json], what: str, wrong: str) -> Check:
    found = value_at(seen, f"columns.{what}")
    counted = len(found) if isinstance(found, Sequence) and not isinstance(found, str) else None
    return compare(
        f"columns_{what}",
        counted,
        0,
        Direction.EQUAL,
        unit="columns",
        reason=f"{wrong}: {names(seen, f'columns.{what}') or 'no snapshot to look at'}; mend data or spec",
    )


def _refusals(seen: Mapping[str, Json]) -> str:
    batches = value_at(seen, "batches")
    if not isinstance(batches, Sequence) or isinstance(batches, str):
        return "see the batches"
    refused = [b for b in batches if isinstance(b, Mapping) and b.get("quarantined")]
    return "; ".join(f"{b.get('name')}: {b['quarantined']}" for b in refused[:3]) or "none"


GATE = Gate(
    name="schema", stage=Stage.INGEST, thresholds=Thresholds, judge=judge, title="What landed has the right form"
)
