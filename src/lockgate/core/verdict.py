"""What a gate says: a check compares one observed number with one threshold, a gate folds its checks.

Precedence is spelled out once, in `fold`: FAIL > ERROR > INCONCLUSIVE > PASS. No checks at all fold to INCONCLUSIVE:
absence of evidence is never a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from lockgate.core.ids import Digest, Stage


class Verdict(StrEnum):
    """The outcome of a check or a gate.

    `NOT_APPLICABLE` is allowed for a check in one case only: it compares with a champion and the ledger shows that
    there never was one. A gate never has it.
    """

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"
    NOT_APPLICABLE = "NOT_APPLICABLE"


class Direction(StrEnum):
    """On which side of the threshold the observed number must be."""

    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    EQUAL = "equal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One observed number against one threshold.

    Attributes:
        name: What was measured, in snake_case, unique within its gate and slice.
        observed: The number that was compared: for a statistic, the pessimistic interval bound. None if not measured.
        threshold: The number it was compared with; None only where nothing could be compared.
        direction: On which side of the threshold `observed` must be.
        unit: "1" for a dimensionless number, "fraction" for a share in 0..1, else an SI or count unit.
        verdict: The outcome.
        reason: One sentence for a person; for anything but PASS it says what to do next.
        required: An advisory check (False) is shown and never blocks.
        slice: The subset of rows, as `column=value`, or "all".
        n: How many rows, requests or tries stand behind `observed`.
        estimate: The point estimate, where `observed` is a bound of it.
        interval: Its confidence interval, lower and upper.
    """

    name: str
    observed: float | None
    threshold: float | None
    direction: Direction
    verdict: Verdict
    reason: str
    unit: str = "1"
    required: bool = True
    slice: str = "all"
    n: int | None = None
    estimate: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """The verdict of one gate over one piece of evidence.

    Attributes:
        gate: The gate's name, as in `GATES`.
        stage: The stage that measured.
        verdict: `fold` of the required checks.
        checks: Every check, advisory ones included.
        evidence: Digest of the evidence that was judged; None when measuring itself broke (verdict ERROR).
        reason: One sentence: the worst check's reason.
    """

    gate: str
    stage: Stage
    verdict: Verdict
    checks: tuple[Check, ...]
    evidence: Digest | None
    reason: str


def holds(observed: float, threshold: float, direction: Direction) -> bool:
    """Tell whether an observed number is on the right side of its threshold; NaN never is."""
    if math.isnan(observed) or math.isnan(threshold):
        return False
    match direction:
        case Direction.AT_LEAST:
            return observed >= threshold
        case Direction.AT_MOST:
            return observed <= threshold
        case Direction.EQUAL:
            return observed == threshold


def compare(  # noqa: PLR0913 - a check has this many facts; all are keywords
    name: str,
    observed: float | None,
    threshold: float,
    direction: Direction,
    *,
    reason: str,
    unit: str = "1",
    required: bool = True,
    slice: str = "all",  # noqa: A002 - the design's word
    n: int | None = None,
    n_min: int = 0,
    estimate: float | None = None,
    interval: tuple[float, float] | None = None,
) -> Check:
    """Make a check: PASS or FAIL by the threshold, INCONCLUSIVE below `n_min`, ERROR when nothing was measured.

    A number without end, or one that needs rows behind it which nobody counted, may fail and never passes: ERROR.

    Args:
        name: See `Check`.
        observed: The measured number; None or NaN is ERROR, never a pass.
        threshold: What it is compared with.
        direction: On which side of the threshold it must be.
        reason: Said when the check does not pass; "what is wrong, and what to do next".
        n_min: Fewer than this many rows behind the number say nothing.
    """
    verdict = Verdict.FAIL
    if observed is None or math.isnan(observed):
        verdict, reason = Verdict.ERROR, f"{name} could not be measured: {reason}"
    elif n is not None and n < n_min:
        verdict, reason = Verdict.INCONCLUSIVE, f"only {n} of the {n_min} needed for {name}: {reason}"
    elif holds(observed, threshold, direction):
        verdict, reason = Verdict.PASS, "within the threshold"
        if math.isinf(observed) or (n is None and n_min > 0):
            what = "is no finite number" if math.isinf(observed) else "has no count of what stands behind it"
            verdict, reason = Verdict.ERROR, f"{name} {what}; measure again"
    return Check(
        name=name,
        observed=observed,
        threshold=threshold,
        direction=direction,
        verdict=verdict,
        reason=reason,
        unit=unit,
        required=required,
        slice=slice,
        n=n,
        estimate=estimate,
        interval=interval,
    )


def not_applicable(  # noqa: PLR0913 - as `compare`
    name: str,
    direction: Direction,
    reason: str,
    *,
    threshold: float | None = None,
    unit: str = "1",
    required: bool = True,
) -> Check:
    """Make the check of a comparison with a champion, when the ledger shows that there never was one.

    Args:
        name: See `Check`, as the rest.
        reason: Why there is nothing to compare with.
    """
    return Check(
        name=name,
        observed=None,
        threshold=threshold,
        direction=direction,
        verdict=Verdict.NOT_APPLICABLE,
        reason=reason,
        unit=unit,
        required=required,
    )


def doubted(check: Check, reason: str | None = None) -> Check:
    """Return a check that failed as INCONCLUSIVE, for what can show doubt and no fault; any other as it is.

    Args:
        check: As compared.
        reason: Said instead of the check's own; None keeps that.
    """
    if check.verdict is not Verdict.FAIL:
        return check
    return replace(check, verdict=Verdict.INCONCLUSIVE, reason=check.reason if reason is None else reason)


_PRECEDENCE = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE)


def fold(verdicts: Iterable[Verdict]) -> Verdict:
    """Fold verdicts into one: FAIL > ERROR > INCONCLUSIVE > PASS; nothing to fold is INCONCLUSIVE.

    >>> fold([Verdict.PASS, Verdict.ERROR, Verdict.FAIL])
    <Verdict.FAIL: 'FAIL'>
    >>> fold([])
    <Verdict.INCONCLUSIVE: 'INCONCLUSIVE'>
    """
    seen = {v for v in verdicts if v is not Verdict.NOT_APPLICABLE}
    for verdict in _PRECEDENCE:
        if verdict in seen:
            return verdict
    return Verdict.PASS if seen else Verdict.INCONCLUSIVE


def report(gate: str, stage: Stage, checks: Sequence[Check], evidence: Digest) -> GateReport:
    """Fold the required checks of one gate into its report.

    A gate whose only required checks are not applicable (a first release has no champion) passes: that case is
    proved by the ledger. A gate with no required check at all is INCONCLUSIVE.
    """
    required = [c for c in checks if c.required]
    verdict = fold(c.verdict for c in required)
    worst = next((c for c in required if c.verdict is verdict), None)
    if required and all(c.verdict is Verdict.NOT_APPLICABLE for c in required):
        verdict, worst = Verdict.PASS, required[0]
    reason = worst.reason if worst else "no required check was made; add one, or measure what it needs"
    return GateReport(gate=gate, stage=stage, verdict=verdict, checks=tuple(checks), evidence=evidence, reason=reason)


def could_not_measure(gate: str, stage: Stage, reason: str) -> GateReport:
    """Return the ERROR report of a gate whose measurement broke."""
    return GateReport(gate=gate, stage=stage, verdict=Verdict.ERROR, checks=(), evidence=None, reason=reason)
