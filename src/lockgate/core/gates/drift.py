"""The drift gate: how far are the newest rows, and those to train on, from what the champion was fitted on?

Judges `stages/validate_data.py`'s measurements. Drift of single features is advisory, because it is no harm in itself:
in the demo data the weather moves every month, and the retrained model is the cure. What blocks is a batch that has
nothing to do with the reference: other units, shifted columns, another population.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Fraction, Positive
from lockgate.core.verdict import Check, Direction, GateReport, compare, not_applicable, report

TRAINING = "part=train"
"""The slice of a check that is about the training rows; the newest batch is "all"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """How far is far.

    Attributes:
        psi: Population stability index above which a feature counts as drifted. 0.25: the conventional level to act.
        drifted_share: Largest share of drifted features before the advisory check is shown as failed.
        unrelated_psi: Index above which a feature has hardly anything in common with the reference.
        unrelated_share: Largest share of such features; more block. 0.4: ours, chosen because no month of the demo
            data is over 0.13 from any season's reference, and a batch without its numbers has 0.7.
        fdr: A feature counts as drifted only if chance is ruled out as well: false discovery rate over all features
            (Benjamini and Hochberg), and an index above what two samples of one law reach one time in twenty.
        joint_auc: How well a classifier may tell the rows from the champion's (AUC, lower bound of its interval by
            day) before the advisory check is shown as failed. 0.6: ours; 0.5 is not at all.
        rows: Fewest rows now; below about 200 the index is noise.
    """

    psi: Annotated[float, Gt(0)] = 0.25
    drifted_share: Fraction = 0.3
    unrelated_psi: Annotated[float, Gt(0)] = 1.0
    unrelated_share: Fraction = 0.4
    fdr: Annotated[float, Gt(0), Lt(0.5)] = 0.05
    joint_auc: Annotated[float, Ge(0.5), Le(1)] = 0.6
    rows: Positive = 200


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.validate_data.measure_drift`'s measurements; what is not there is an ERROR check.

    Not applicable only where the measurements say outright that there never was a champion.
    """
    seen = evidence.measurements
    if "champion" in seen and seen["champion"] is None:
        return report(GATE.name, GATE.stage, [_no_champion(thresholds)], evidence.digest)
    checks = [*_sizes(seen, thresholds, "all"), *_joint(seen, thresholds, "all")]
    training = value_at(seen, "training")
    of_training = training if isinstance(training, Mapping) else {}
    checks += [*_sizes(of_training, thresholds, TRAINING), *_joint(of_training, thresholds, TRAINING)]
    checks.append(_not_compared(seen))
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _sizes(seen: Mapping[str, Json], thresholds: Thresholds, which: str) -> list[Check]:
    found = _psi_by_feature(seen)
    n = count(seen, "rows")
    what = "training set" if which == TRAINING else "newest batch"
    return [
        compare(
            "unrelated_features",
            _share(found, lambda _name, psi: psi > thresholds.unrelated_psi),
            thresholds.unrelated_share,
            Direction.AT_MOST,
            unit="fraction",
            slice=which,
            n=n,
            n_min=thresholds.rows,
            reason=f"the {what} has hardly anything in common with what the champion was fitted on; are its "
            f"columns, units and source the right ones? Farthest: {_farthest(seen, found)}",
        ),
        compare(
            "drifted_features",
            _share(found, lambda name, psi: psi > thresholds.psi and not _chance(seen, name, psi, thresholds.fdr)),
            thresholds.drifted_share,
            Direction.AT_MOST,
            unit="fraction",
            slice=which,
            n=n,
            n_min=thresholds.rows,
            required=False,
            reason=f"many features of the {what} drifted since the champion was fitted; farthest (index, and what "
            f"chance alone reaches): {_farthest(seen, found)}",
        ),
    ]


def _not_compared(seen: Mapping[str, Json]) -> Check:
    """Name the features that the champion's profile does not hold; what binds on a new column is gate `schema`."""
    found = value_at(seen, "not_compared")
    listed = [str(each) for each in found] if isinstance(found, list | tuple) else None
    which = ", ".join((listed or ["what was not measured"])[:5])
    return compare(
        "features_not_compared",
        None if listed is None else len(listed),
        0,
        Direction.AT_MOST,
        unit="features",
        required=False,
        reason=f"the champion's profile does not hold {which}, so nobody can say whether they drifted",
    )


def _joint(seen: Mapping[str, Json], thresholds: Thresholds, which: str) -> list[Check]:
    """Show how well a classifier tells the rows from the champion's; advisory, as drift of features is."""
    low, high, estimate = (number(seen, f"domain.auc.{each}") for each in ("low", "high", "estimate"))
    why = value_at(seen, "domain.not_measured")
    by = value_at(seen, "domain.by")
    listed = [each for each in by if isinstance(each, Mapping)] if isinstance(by, list | tuple) else []
    told = ", ".join(str(each.get("feature")) for each in listed[:3])
    return [
        compare(
            "joint_shift",
            low,
            thresholds.joint_auc,
            Direction.AT_MOST,
            slice=which,
            required=False,
            n=count(seen, "domain.n"),
            estimate=estimate,
            interval=None if low is None or high is None else (low, high),
            reason=f"a classifier tells these rows from the champion's, going by {told or 'no one feature'}"
            if not isinstance(why, str)
            else why,
        )
    ]


def _chance(seen: Mapping[str, Json], name: str, psi: float, fdr: float) -> bool:
    """Tell whether a feature's index may be chance. What was not tested is not called chance."""
    facts = value_at(seen, "features")
    of_feature = facts.get(name) if isinstance(facts, Mapping) else None
    if not isinstance(of_feature, Mapping):
        return False
    q, floor = number(of_feature, "q_value"), number(of_feature, "noise_floor")
    return (q is not None and q >= fdr) or (floor is not None and psi <= floor)


def _no_champion(thresholds: Thresholds) -> Check:
    reason, most = "there never was a champion to compare with", thresholds.unrelated_share
    return not_applicable("unrelated_features", Direction.AT_MOST, reason, threshold=most, unit="fraction")


def _psi_by_feature(seen: Mapping[str, Json]) -> dict[str, float] | None:
    """Return each feature's index; None when there is none, or one of them is no number."""
    features = value_at(seen, "features")
    if not isinstance(features, Mapping) or not features:
        return None
    found = {name: number(facts, "psi") if isinstance(facts, Mapping) else None for name, facts in features.items()}
    known = {name: index for name, index in found.items() if index is not None}
    return known if len(known) == len(found) else None


def _share(found: Mapping[str, float] | None, counts: Callable[[str, float], bool]) -> float | None:
    return None if found is None else sum(counts(name, psi) for name, psi in found.items()) / len(found)


def _farthest(seen: Mapping[str, Json], found: Mapping[str, float] | None, most: int = 3) -> str:
    if not found:
        return "not measured"
    names = sorted(found, key=lambda name: -found[name])[:most]
    facts = value_at(seen, "features")
    by_name = facts if isinstance(facts, Mapping) else {}
    floors = {name: number(each, "noise_floor") for name, each in by_name.items() if isinstance(each, Mapping)}
    beside = {name: "" if floors.get(name) is None else f", chance {floors[name]:.2g}" for name in names}
    return ", ".join(f"{name} ({found[name]:.2f}{beside[name]})" for name in names)


GATE = Gate(
    name="drift",
    stage=Stage.VALIDATE_DATA,
    thresholds=Thresholds,
    judge=judge,
    title="The newest rows resemble the champion's",
)
