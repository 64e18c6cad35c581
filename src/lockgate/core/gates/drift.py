"""The drift gate: how far are the newest rows from what the champion was fitted on?

Judges `stages/validate_data.py`'s measurements. Drift of single features is advisory, because it is no harm in itself:
in the demo data the weather moves every month, and the retrained model is the cure. What blocks is a batch that has
nothing to do with the reference: other units, shifted columns, another population.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Fraction, Positive
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """How far is far.

    Attributes:
        psi: Population stability index above which a feature counts as drifted. 0.25: the conventional level to act.
        drifted_share: Largest share of drifted features before the advisory check is shown as failed.
        unrelated_psi: Index above which a feature has hardly anything in common with the reference.
        unrelated_share: Largest share of such features; more block. 0.4: ours, chosen because no month of the demo
            data is over 0.13 from any season's reference, and a batch without its numbers has 0.7.
        rows: Fewest rows now; below about 200 the index is noise.
    """

    psi: Annotated[float, Gt(0)] = 0.25
    drifted_share: Fraction = 0.3
    unrelated_psi: Annotated[float, Gt(0)] = 1.0
    unrelated_share: Fraction = 0.4
    rows: Positive = 200


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.validate_data.measure_drift`'s measurements; what is not there is an ERROR check.

    Not applicable only where the measurements say outright that there never was a champion.
    """
    seen = evidence.measurements
    if "champion" in seen and seen["champion"] is None:
        return report(GATE.name, GATE.stage, [_no_champion(thresholds)], evidence.digest)
    found = _psi_by_feature(seen)
    n = count(seen, "rows")
    checks = [
        compare(
            "unrelated_features",
            _share_above(found, thresholds.unrelated_psi),
            thresholds.unrelated_share,
            Direction.AT_MOST,
            unit="fraction",
            n=n,
            n_min=thresholds.rows,
            reason="the newest batch has hardly anything in common with what the champion was fitted on; are its "
            f"columns, units and source the right ones? Farthest: {_farthest(found)}",
        ),
        compare(
            "drifted_features",
            _share_above(found, thresholds.psi),
            thresholds.drifted_share,
            Direction.AT_MOST,
            unit="fraction",
            n=n,
            n_min=thresholds.rows,
            required=False,
            reason=f"many features drifted since the champion was fitted; farthest: {_farthest(found)}",
        ),
    ]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _no_champion(thresholds: Thresholds) -> Check:
    return Check(
        name="unrelated_features",
        observed=None,
        threshold=thresholds.unrelated_share,
        direction=Direction.AT_MOST,
        verdict=Verdict.NOT_APPLICABLE,
        reason="there never was a champion to compare with",
        unit="fraction",
    )


def _psi_by_feature(seen: Mapping[str, Json]) -> dict[str, float] | None:
    """Return each feature's index; None when there is none, or one of them is no number."""
    features = value_at(seen, "features")
    if not isinstance(features, Mapping) or not features:
        return None
    found = {name: number(facts, "psi") if isinstance(facts, Mapping) else None for name, facts in features.items()}
    known = {name: index for name, index in found.items() if index is not None}
    return known if len(known) == len(found) else None


def _share_above(found: Mapping[str, float] | None, limit: float) -> float | None:
    return None if found is None else sum(index > limit for index in found.values()) / len(found)


def _farthest(found: Mapping[str, float] | None, most: int = 3) -> str:
    if not found:
        return "not measured"
    names = sorted(found, key=lambda name: -found[name])[:most]
    return ", ".join(f"{name} ({found[name]:.2f})" for name in names)


GATE = Gate(
    name="drift",
    stage=Stage.VALIDATE_DATA,
    thresholds=Thresholds,
    judge=judge,
    title="The newest rows resemble the champion's",
)
