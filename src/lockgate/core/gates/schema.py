"""The schema gate: did what landed have the form that the spec, the table and the champion's contract promise?

Judges `stages/ingest.py`'s measurements. A file that broke the form was quarantined when it was ingested, so that the
table never holds it; this gate says so, and stops the release that the file was meant for. A change against the
contract of the champion blocks until the spec accepts it by column and kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from lockgate.core.contract_diff import ChangeKind
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import names, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Fraction, Positive
from lockgate.core.verdict import Check, Direction, GateReport, compare, not_applicable, report


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedChange:
    """A change against the champion's contract that somebody decided is meant.

    Attributes:
        column: The column that changed.
        kind: added, removed, retyped, nullable, categories, range or label.
    """

    column: str
    kind: ChangeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What may be wrong with what landed.

    Attributes:
        quarantined: Most files of this release that may have been refused. 0: a file that somebody meant to be in and
            is not needs a person.
        train_rows: Fewest rows left to train on.
        accept: Changes against the champion's contract that are meant: `{column: carrier, kind: categories}`. Any other
            column that came, went, or changed its type blocks, and so does a label that changed.
        null_share: Largest share of rows of the newest batch that may lack a value the champion always had.
        new_category_share: Largest share that may have a category the champion never saw; below it, it is shown.
        far_share: Largest share that may lie beyond the champion's range by more than its whole width. 0.05: ours; no
            month of the demo is over 0.001 against January and February, and other units are near 1.
    """

    quarantined: Annotated[int, Ge(0)] = 0
    train_rows: Positive = 1
    accept: tuple[AcceptedChange, ...] = ()
    null_share: Fraction = 0.05
    new_category_share: Fraction = 0.05
    far_share: Fraction = 0.05


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
        *_changes(seen, thresholds),
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


def _changes(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Count what changed against the champion's contract: what binds and is not accepted, and all of it."""
    if "contract" in seen and value_at(seen, "contract.champion") is None and isinstance(seen["contract"], Mapping):
        return [_no_champion()] if "champion" in seen["contract"] else [_not_compared(seen)]
    listed = value_at(seen, "contract.changes")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        return [_not_compared(seen)]
    changes = [change for change in listed if isinstance(change, Mapping)]
    if len(changes) < len(listed):
        return [_not_compared(seen)]
    accepted = {(change.column, change.kind.value) for change in thresholds.accept}
    binding = [c for c in changes if _binds(c, thresholds)]
    left = [c for c in binding if (c.get("column"), c.get("kind")) not in accepted]
    return [
        compare(
            "unaccepted_changes",
            len(left),
            0,
            Direction.EQUAL,
            unit="changes",
            reason=f"the rows are not what the champion was made for: {'; '.join(_told(c) for c in left[:3])}"
            f"{'' if len(left) <= 3 else f'; and {len(left) - 3} more'}. Mend the data; or, if this is meant, add to "
            f"gates.schema.accept: {', '.join(_line(c) for c in left)}",
        ),
        compare(
            "contract_changes",
            len(changes),
            0,
            Direction.EQUAL,
            unit="changes",
            required=False,
            reason=f"values differ from the champion's contract: {'; '.join(_told(c) for c in changes[:5])}",
        ),
    ]


def _binds(change: Mapping[str, Json], thresholds: Thresholds) -> bool:
    """Tell whether a change blocks: one of form always, one of values above its share; one without a share too."""
    limits = {
        ChangeKind.NULLABLE.value: ("share", thresholds.null_share),
        ChangeKind.CATEGORIES.value: ("share", thresholds.new_category_share),
        ChangeKind.RANGE.value: ("far_share", thresholds.far_share),
    }
    what, limit = limits.get(str(change.get("kind")), ("", 0.0))
    share = number(change, what) if what else None
    return share is None or share > limit


def _told(change: Mapping[str, Json]) -> str:
    share = number(change, "share")
    of_rows = "" if share is None else f" ({100 * share:.3g} % of the newest rows)"
    return f"{change.get('column')} {change.get('kind')}: was {change.get('was')}, is {change.get('is')}{of_rows}"


def _line(change: Mapping[str, Json]) -> str:
    return f"{{column: {change.get('column')}, kind: {change.get('kind')}}}"


def _not_compared(seen: Mapping[str, Json]) -> Check:
    why = value_at(seen, "contract.unknown")
    return compare(
        "unaccepted_changes",
        None,
        0,
        Direction.EQUAL,
        unit="changes",
        reason=f"the champion's contract could not be compared: {why if isinstance(why, str) else 'nothing measured'}",
    )


def _no_champion() -> Check:
    reason = "there never was a champion to compare with"
    return not_applicable("unaccepted_changes", Direction.EQUAL, reason, threshold=0, unit="changes")


def _refusals(seen: Mapping[str, Json]) -> str:
    batches = value_at(seen, "batches")
    if not isinstance(batches, Sequence) or isinstance(batches, str):
        return "see the batches"
    refused = [b for b in batches if isinstance(b, Mapping) and b.get("quarantined")]
    return "; ".join(f"{b.get('name')}: {b['quarantined']}" for b in refused[:3]) or "none"


GATE = Gate(
    name="schema", stage=Stage.INGEST, thresholds=Thresholds, judge=judge, title="What landed has the right form"
)
