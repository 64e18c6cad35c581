"""Gate `skew`: does production compute what training computed?

Logged requests are recomputed offline: their inputs against the landed row of the same key, their answers against the
champion's own graph. A champion that is fed other numbers than it learned from, or answers otherwise than its bundle,
makes every comparison with it, and every retraining from the same pipeline, worth nothing.

Where production was asked too little to say, the two comparisons are shown and do not block, unless the spec says
`required: true`: a model that is served to nobody yet could else never be released again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Gt, Le

from lockgate.core.estimates import count, number, within
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import Json, Stage, is_digest
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, not_applicable, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the skew gate asks for.

    Attributes:
        match_fraction: Least share of logged feature values that are exactly those of the landed rows. Some rows are
            corrected after they were asked about, so not all must be.
        feature_match_fraction: The same for each feature alone: one broken column hides among many whole ones.
        answer_difference: Most that a logged answer may be off what the champion's graph says to the same inputs.
        min_rows: With fewer rows a comparison says nothing.
        required: Whether too few rows block (INCONCLUSIVE) instead of being shown.
        psi: Most population stability index of a feature, production's logged inputs against the training rows;
            advisory, because seasons move it as well. 0.25: the usual level to act at.
    """

    match_fraction: Annotated[float, Gt(0), Le(1)] = 0.99
    feature_match_fraction: Annotated[float, Gt(0), Le(1)] = 0.95
    answer_difference: Annotated[float, Ge(0)] = 1e-5
    min_rows: Annotated[int, Ge(10)] = 100
    required: bool = False
    psi: Annotated[float, Gt(0)] = 0.25


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge the two comparisons; NOT_APPLICABLE only where `champion` is measured as null."""
    found = evidence.measurements
    if "champion" in found and found["champion"] is None:
        return report(GATE.name, GATE.stage, [_nothing_served()], evidence.digest)
    checks = [_log_read(found), *_features(found, thresholds), _answers(found, thresholds), *_moved(found, thresholds)]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _nothing_served() -> Check:
    reason = "the ledger shows that there never was a champion, so nothing was asked of one"
    return not_applicable("champion", Direction.AT_LEAST, reason)


def _log_read(found: Mapping[str, Json]) -> Check:
    champion = found.get("champion")
    named = isinstance(champion, str) and is_digest(champion)
    requests = count(found.get("requests"))
    return compare(
        "log_read",
        float(requests) if named and requests is not None else None,
        0.0,
        Direction.AT_LEAST,
        unit="requests",
        reason="production's prediction log could not be read; look at the server's state folder and retry the stage",
    )


def _features(found: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    features = found.get("features")
    joined = count(within(features, "joined"))
    by_feature = within(features, "by_feature")
    shares = {name: number(share) for name, share in by_feature.items()} if isinstance(by_feature, Mapping) else None
    least: float | None = None
    worst = "none"
    if shares is not None and all(share is not None for share in shares.values()):
        known = {name: share for name, share in shares.items() if share is not None}
        worst = min(known, key=lambda name: known[name], default="none")
        # only shares below 1 are listed: none listed is "all the same" where the share of all values says so too
        least = known.get(worst, 1.0 if number(within(features, "match_fraction")) == 1.0 else None)
    how = (
        "callers name the row they ask about by sending its key as x-request-id; "
        "compare the function that prepares rows for training with the one that prepares requests"
    )
    asked = (
        ("feature_match_fraction", number(within(features, "match_fraction")), thresholds.match_fraction, how),
        ("worst_feature_match_fraction", least, thresholds.feature_match_fraction, f"farthest apart: {worst}; {how}"),
    )
    return [
        _bound(
            compare(name, seen, limit, Direction.AT_LEAST, unit="fraction", n=joined, reason=reason),
            joined,
            thresholds,
        )
        for name, seen, limit, reason in asked
    ]


def _answers(found: Mapping[str, Json], thresholds: Thresholds) -> Check:
    answers = found.get("answers")
    compared = count(within(answers, "compared"))
    check = compare(
        "answer_difference",
        number(within(answers, "largest_difference")),
        thresholds.answer_difference,
        Direction.AT_MOST,
        n=compared,
        reason="production answered otherwise than the bundle it names; look at what serves with `lockgate at now`",
    )
    return _bound(check, compared, thresholds)


def _bound(check: Check, rows: int | None, thresholds: Thresholds) -> Check:
    """Return a check that says nothing, and whether that blocks, where too few rows stand behind it."""
    if rows is None and check.verdict is Verdict.PASS:
        reason = "nobody counted the rows behind it; retry the stage"
        return replace(check, verdict=Verdict.ERROR, reason=reason)
    if rows is None or rows >= thresholds.min_rows:
        return check
    return replace(
        check,
        verdict=Verdict.INCONCLUSIVE,
        required=thresholds.required,
        reason=f"only {rows} of the {thresholds.min_rows} rows needed to say: {check.reason.split(': ', 1)[-1]}",
    )


def _moved(found: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Return the advice about features whose distribution in production is another one than in training."""
    drift = found.get("drift")
    if not isinstance(drift, Mapping) or not drift:
        return []
    sizes = {name: number(within(facts, "psi")) for name, facts in drift.items()}
    known = {name: size for name, size in sizes.items() if size is not None}
    worst = max(known, key=lambda name: known[name], default="none")
    return [
        compare(
            "production_psi",
            known.get(worst),
            thresholds.psi,
            Direction.AT_MOST,
            required=False,
            n=count(within(drift.get(worst), "n")),
            reason=f"{worst} is distributed otherwise in production than in the rows trained on; another season, other "
            "callers, or a column that is filled otherwise?",
        )
    ]


GATE = Gate(
    name="skew",
    stage=Stage.VALIDATE_DATA,
    thresholds=Thresholds,
    judge=judge,
    title="Production is asked, and answers, what training saw",
)
