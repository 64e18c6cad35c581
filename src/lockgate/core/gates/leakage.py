"""The leakage gate: does any feature know the answer, and do the parts of the split stay apart?

Judges `stages/validate_data.py`'s measurements. It needs no list of forbidden columns to find a leak: a column that is
known only after the event gives itself away by how well it predicts alone, or by when it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lockgate.core.contract import TaskKind
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, names, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Fraction
from lockgate.core.verdict import Check, Direction, GateReport, compare, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """How much one feature may know.

    Attributes:
        auc: Largest AUC of one feature alone (binary; macro one-vs-rest for multiclass). 0.80: ours, chosen because no
            honest feature of the demo data reaches 0.68, on three days as on a year, and its leak has 0.85 to 0.90.
        class_auc: Largest one-vs-rest AUC of one feature for any one class; multiclass. Higher, because one rare class
            is often well marked by an honest feature.
        r2: Largest share of variance that one feature alone explains; regression.
        missing_purity: How surely a missing value may mean one class: 0 not at all, 1 always (the lower bound of its
            95 % interval); classification.
        known_strong: Features that a person looked at and found strong for an honest reason (a distance, for the time
            of a flight). They are shown, and do not block.
    """

    auc: Fraction = 0.80
    class_auc: Fraction = 0.95
    r2: Fraction = 0.95
    missing_purity: Fraction = 0.90
    known_strong: tuple[str, ...] = ()


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.validate_data.measure_leakage`'s measurements; what is not there is an ERROR check."""
    seen = evidence.measurements
    checks = [*_alone(seen, thresholds), *_declared(seen), *_apart(seen), *_in_order(seen)]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _alone(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    kind = value_at(seen, "kind")
    limit = thresholds.r2 if kind == TaskKind.REGRESSION.value else thresholds.auc
    what = "share of variance" if kind == TaskKind.REGRESSION.value else "AUC"
    why = (
        f"alone predict the label too well ({what}): known only after the event? Take them out of the features, or list"
    )
    after = "in gates.leakage.known_strong with the reason beside it"
    purity = "are missing just when the label is one class: {}; a value that is lost by the event leaks it"
    marked = "alone mark one class too well: {}; known only after the event? Take them out of the features"
    wanted = [("single_feature_score", "score", limit, f"{why} {{}} {after}")]
    if kind != TaskKind.REGRESSION.value:
        wanted.append(("missing_purity", "missing.purity", thresholds.missing_purity, purity))
    if kind not in (TaskKind.REGRESSION.value, TaskKind.BINARY.value):
        wanted.append(("class_auc", "worst_score", thresholds.class_auc, marked))
    return [
        _highest(seen, name, path, limit=most, known_strong=thresholds.known_strong, why=said)
        for name, path, most, said in wanted
    ]


def _highest(  # noqa: PLR0913 - what to look at and how to say it; the last three are keywords
    seen: Mapping[str, Json], name: str, path: str, *, limit: float, known_strong: tuple[str, ...], why: str
) -> Check:
    """Compare the highest number of any feature that is not known to be strong; one that is not there is an ERROR."""
    scores = _scores(seen, path)
    judged = {feature: score for feature, score in scores.items() if feature not in known_strong}
    unmeasured = sorted(feature for feature, score in scores.items() if score is None)
    known = {feature: score for feature, score in judged.items() if score is not None}
    highest = None if unmeasured or not scores else max(known.values(), default=0.0)
    above = sorted((f for f in known if known[f] > limit), key=lambda f: -known[f])
    if above and highest is None:
        highest = known[above[0]]  # a leak that was seen is a leak, whatever else could not be measured
    told = ", ".join(f"{feature} ({known[feature]:.3f})" for feature in above)
    reason = why.format(told) if above else f"no measurement for {', '.join(unmeasured[:5]) or 'any feature'}"
    return compare(
        name, highest, limit, Direction.AT_MOST, reason=f"features {reason}", n=count(seen, "train_rows"), n_min=1
    )


def _scores(seen: Mapping[str, Json], path: str) -> dict[str, float | None]:
    """Return each expected feature's number, None where it was not measured."""
    expected = value_at(seen, "expected")
    if not isinstance(expected, Sequence) or isinstance(expected, str):
        return {}
    measured = value_at(seen, "features")
    by_feature = measured if isinstance(measured, Mapping) else {}
    found: dict[str, float | None] = {}
    for feature in expected:
        facts = by_feature.get(str(feature))
        found[str(feature)] = number(facts, path) if isinstance(facts, Mapping) else None
    return found


def _declared(seen: Mapping[str, Json]) -> list[Check]:
    found = value_at(seen, "forbidden_features")
    counted = len(found) if isinstance(found, Sequence) and not isinstance(found, str) else None
    return [
        compare(
            "forbidden_features",
            counted,
            0,
            Direction.EQUAL,
            unit="columns",
            reason=f"the spec forbids columns that it names as features: {names(seen, 'forbidden_features')}",
        )
    ]


def _apart(seen: Mapping[str, Json]) -> list[Check]:
    return [
        compare(
            "shared_keys",
            number(seen, f"shared_keys.{pair}"),
            0,
            Direction.EQUAL,
            unit="keys",
            slice=f"parts={pair}",
            reason=f"rows with one key stand in two parts ({pair}): what is evaluated was trained on",
        )
        for pair in ("train_validation", "train_holdout", "validation_holdout")
    ]


def _in_order(seen: Mapping[str, Json]) -> list[Check]:
    if value_at(seen, "method") in ("group", "random"):
        return []
    return [
        compare(
            "time_order",
            number(seen, f"gap_s.{pair}"),
            0,
            Direction.AT_LEAST,
            unit="s",
            slice=f"parts={pair}",
            reason=f"the later part of {pair} starts before the earlier one ends: the future is trained on",
        )
        for pair in ("train_validation", "validation_holdout")
    ]


GATE = Gate(
    name="leakage",
    stage=Stage.VALIDATE_DATA,
    thresholds=Thresholds,
    judge=judge,
    title="No feature knows the answer",
)
