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

_NULLS = "null_patterns"


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
        unlabelled_null_gap: By how much more often a value may be missing in rows without a label than in the others
            (lower bound of the difference): what arrives with the label was not there before it. 0.5: ours; on the
            demo data the departure delay has 0.85, the aircraft of cancelled flights 0.31.
        twin_excess: Largest share of a later part's rows that have a twin in train (features to 1 in 4,096, and label)
            beyond what is natural within train. 0.05: ours.
        observed_at: Columns that tell when a row's features were observed: none may be later than `data.time`. Other
            columns of times are shown only, because an outcome's own time is later by nature.
        known_strong: Features that a person looked at and found strong for an honest reason (a distance, for the time
            of a flight). They are shown, and do not block.
    """

    auc: Fraction = 0.80
    class_auc: Fraction = 0.95
    r2: Fraction = 0.95
    missing_purity: Fraction = 0.90
    unlabelled_null_gap: Fraction = 0.5
    twin_excess: Fraction = 0.05
    observed_at: tuple[str, ...] = ()
    known_strong: tuple[str, ...] = ()


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.validate_data.measure_leakage`'s measurements; what is not there is an ERROR check."""
    seen = evidence.measurements
    checks = [
        *_alone(seen, thresholds),
        *_by_missing(seen, thresholds),
        *_declared(seen),
        *_apart(seen),
        *_twins(seen, thresholds),
        *_groups(seen),
        *_in_order(seen),
        *_times(seen, thresholds),
    ]
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


def _by_missing(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Judge when values are missing: with the label's value, with a label that is not there yet, in the newest rows."""
    event = "; a value that comes with the event, or after it, leaks it"
    late = f"are missing where the label is: {{}}{event}. Take them out of the features"
    new = "are missing in the newest rows of the batch: {}; are they filled in later, or did a source stop?"
    wanted = [
        ("missing_without_label", "unlabelled.gap", thresholds.unlabelled_null_gap, late, True),
        ("missing_when_new", "newest.gap", thresholds.unlabelled_null_gap, new, False),
    ]
    if value_at(seen, "kind") == TaskKind.REGRESSION.value:
        told = f"are missing where the label is high, or where it is low: {{}}{event}"
        wanted.append(("missing_label_gap", "label_gap", thresholds.missing_purity, told, True))
    else:
        told = f"are there just when the label is one class: {{}}{event}"
        wanted.append(("filled_purity", "filled.purity", thresholds.missing_purity, told, True))
    strong = thresholds.known_strong
    return [
        _highest(seen, name, path, limit=most, known_strong=strong, why=said, of=_NULLS, required=binds)
        for name, path, most, said, binds in wanted
    ]


def _highest(  # noqa: PLR0913 - what to look at and how to say it; all but three are keywords
    seen: Mapping[str, Json],
    name: str,
    path: str,
    *,
    limit: float,
    known_strong: tuple[str, ...],
    why: str,
    of: str = "features",
    required: bool = True,
) -> Check:
    """Compare the highest number of any feature that is not known to be strong; one that is not there is an ERROR."""
    scores = _scores(seen, path, of)
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
        name,
        highest,
        limit,
        Direction.AT_MOST,
        reason=f"features {reason}",
        required=required,
        n=count(seen, "train_rows"),
        n_min=1,
    )


def _scores(seen: Mapping[str, Json], path: str, of: str) -> dict[str, float | None]:
    """Return each expected feature's number, None where it was not measured."""
    expected = value_at(seen, "expected")
    if not isinstance(expected, Sequence) or isinstance(expected, str):
        return {}
    measured = value_at(seen, of)
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
            reason="the spec forbids columns that it names as features, take them out of data.numeric and "
            f"data.categorical: {names(seen, 'forbidden_features')}",
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
            reason=f"rows with one key stand in two parts ({pair}): what is evaluated was trained on; does data.key "
            "name one row, and is it the same in every file?",
        )
        for pair in ("train_validation", "train_holdout", "validation_holdout")
    ]


def _twins(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    return [
        compare(
            "twin_excess",
            number(seen, f"twins.{pair}.excess"),
            thresholds.twin_excess,
            Direction.AT_MOST,
            unit="fraction",
            slice=f"parts={pair}",
            n=count(seen, f"twins.{pair}.n"),
            estimate=number(seen, f"twins.{pair}.share"),
            reason="rows have a twin among the training rows, features and label alike, more often than training rows "
            "have among themselves: were they copied under other keys? Take the copies out",
        )
        for pair in ("train_validation", "train_holdout")
    ]


def _groups(seen: Mapping[str, Json]) -> list[Check]:
    """Judge whether what belongs together stands in two parts; by time and at random it is shown where it matters."""
    method = value_at(seen, "method")
    if method == "group":
        what, required = "shared_groups", True
        why = "the split keeps groups together, and yet some stand in two parts; freeze the table again"
    elif method == "random" and number(seen, "shared_entities.train_holdout") is not None:
        what, required = "shared_entities", False
        why = "one entity stands in train and holdout; what was learnt of it by heart counts. Use split.method: group"
    else:
        return []
    return [
        compare(
            what,
            number(seen, f"{what}.{pair}"),
            0,
            Direction.EQUAL,
            unit="values",
            slice=f"parts={pair}",
            required=required,
            reason=why,
        )
        for pair in ("train_validation", "train_holdout", "validation_holdout")
    ]


def _times(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Compare other columns of times with the row's own: those that tell when features were observed bind."""
    times = value_at(seen, "times")
    found = times if isinstance(times, Mapping) else {}
    return [
        compare(
            "observed_later",
            number(facts, "later_share") if isinstance(facts := found.get(column), Mapping) else None,
            0,
            Direction.EQUAL,
            unit="fraction",
            slice=f"column={column}",
            required=column in thresholds.observed_at,
            n=count(facts, "n") if isinstance(facts, Mapping) else None,
            reason=f"{column} is later than the row's own time: what is observed after an answer is due is not known "
            "then. Join features as they were at that time; list the column in gates.leakage.observed_at to bind it",
        )
        for column in sorted({*found, *thresholds.observed_at})
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
            reason=f"the later part of {pair} starts before the earlier one ends: the future is trained on; is "
            "data.time when the answer is needed, in UTC?",
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
