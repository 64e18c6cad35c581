"""Gate `champion`: is the challenger at least as good as what serves now, on the same rows?

Rows the champion was fitted on have left the comparison before anything was measured. The gain is challenger against
champion, oriented so that positive is better, with an interval clustered by block:

    gain's interval      -margin          0
    -----------------------+-------------+------------
                           |      [====.====]             PASS        not worse by more than the margin
                    [======|======.======]                INCONCLUSIVE  estimate within the margin, bound is not
        [======.======]    |                              FAIL        worse by more than the margin
              [====.====]  |  and upper bound below 0     FAIL        surely worse, perhaps by more than the margin

One metric binds, declared before; the others are shown. They may conflict, and then a person reads both. Beside the
verdict stands what these blocks could have shown at all: the chance to pass of a challenger that is exactly as good,
and the smallest difference that would be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from lockgate.core.estimates import at_least, count, enough, number, read_estimate, same_confidence, unit_of, within
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import Json, Stage, is_digest
from lockgate.core.power import power_to_show
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, not_applicable, report

_MOST_INVALID = 0.1  # ours: what is left out is chosen by how the champion broke, so a tenth is much
_WIDE = 0.1  # ours: five times the margin that a spec gets by itself


class Design(StrEnum):
    """What must be shown."""

    NON_INFERIORITY = "non_inferiority"
    SUPERIORITY = "superiority"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the champion gate asks for.

    Attributes:
        metric: The metric that binds; null: log_loss for classes, rmse for values.
        design: non_inferiority (not worse than the champion by more than the margin) or superiority (better than it).
        margin_fraction: The margin as a share of the champion's own value of the metric. Fix it before looking: it is
            how much worse is acceptable in exchange for fresher data.
        margin: The margin in the metric's own unit; null: use `margin_fraction`.
        min_rows: Fewer rows than this, after those the champion knew have left, say nothing.
        min_blocks: Fewer blocks than this say nothing.
        confidence: Two-sided confidence of every interval.
        power: Advisory: least chance that a challenger exactly as good as the champion is shown to be non-inferior.
            0.8 is the convention (Cohen 1988); below it, "inconclusive" is the likely answer to any good challenger.
    """

    metric: str | None = None
    design: Design = Design.NON_INFERIORITY
    margin_fraction: Annotated[float, Ge(0), Lt(1)] = 0.02
    margin: Annotated[float, Gt(0)] | None = None
    min_rows: Annotated[int, Ge(30)] = 500
    min_blocks: Annotated[int, Ge(5)] = 20
    confidence: Annotated[float, Ge(0.8), Lt(1)] = 0.95
    power: Annotated[float, Gt(0), Lt(1)] = 0.8


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge the challenger against the champion; NOT_APPLICABLE only where `champion` is measured as null."""
    found = evidence.measurements
    if "champion" in found and found["champion"] is None:
        return report(GATE.name, GATE.stage, [_none_there()], evidence.digest)
    compared = _was_compared(found)
    if compared.verdict is not Verdict.PASS:
        return report(GATE.name, GATE.stage, [compared], evidence.digest)
    counts = enough(found, thresholds.min_rows, thresholds.min_blocks)
    shown = not any(check.verdict is Verdict.INCONCLUSIVE for check in counts)
    checks = [compared, *counts, same_confidence(found, thresholds.confidence), _invalid(found)]
    checks += _gains(found, thresholds, shown)
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _none_there() -> Check:
    reason = "the ledger shows that there never was a champion; the absolute checks bind instead"
    return not_applicable("champion", Direction.AT_LEAST, reason)


def _was_compared(found: Mapping[str, Json]) -> Check:
    champion = found.get("champion")
    named = isinstance(champion, str) and is_digest(champion)
    why = found.get("unscored_because")
    said = why if isinstance(why, str) and why else "the measurements do not say why"
    return compare(
        "champion_scored",
        1.0 if named and found.get("scored") is True else None,
        1.0,
        Direction.EQUAL,
        reason=f"the champion was not scored on the same rows ({said}); mend that and retry the stage",
    )


def _invalid(found: Mapping[str, Json]) -> Check:
    """Tell of rows that the champion answered with no number; of many, that the rest cannot speak for all."""
    invalid, compared = count(found.get("invalid_champion_answers")), count(found.get("n"))
    check = compare(
        "invalid_champion_answers",
        None if invalid is None or compared is None else float(invalid),
        0.0,
        Direction.AT_MOST,
        unit="rows",
        n=compared,
        reason="the champion answered rows with no number; they were left out of the comparison",
    )
    if check.verdict is not Verdict.FAIL or invalid is None or compared is None:
        return check
    if invalid <= _MOST_INVALID * (invalid + compared):
        return replace(check, required=False)
    reason = f"{check.reason}, and {compared} of {invalid + compared} rows cannot speak for all; roll the champion back"
    return replace(check, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _gains(found: Mapping[str, Json], thresholds: Thresholds, shown: bool) -> list[Check]:
    measured = found.get("metrics")
    names = sorted(measured) if isinstance(measured, Mapping) else []
    binding = thresholds.metric or found.get("binding_metric")
    if binding not in names or within(within(measured, str(binding)), "higher_is_better") is None:
        allowed = [each for each in names if within(within(measured, each), "higher_is_better") is not None]
        reason = f"{binding!r} was not measured for both; set gates.champion.metric to one of {', '.join(allowed)}"
        return [compare("gain", None, 0.0, Direction.AT_LEAST, reason=reason)]
    bound = str(binding)
    others = [_shown_only(name, within(measured, name), found) for name in names if name != bound]
    given = within(measured, bound)
    asked_for = [_power(bound, given, found, thresholds), _wide(bound, given, thresholds)]
    power = [] if thresholds.design is Design.SUPERIORITY else asked_for
    return [_binding(bound, given, found, thresholds, shown), *power, *filter(None, others)]


def _power(name: str, given: Json, found: Mapping[str, Json], thresholds: Thresholds) -> Check:
    """What the comparison could show: the chance to pass of an equal challenger, and the least difference seen."""
    margin, gain, blocks = _margin(given, thresholds), read_estimate(within(given, "gain")), count(found.get("blocks"))
    power = None
    if margin is not None and gain is not None and blocks is not None:
        power = power_to_show(margin, gain["se"], blocks, confidence=thresholds.confidence)
    least = number(within(given, "detectable"))
    seen = "" if least is None else f"; the smallest difference these blocks show is {least:.3g} (80 % power)"
    reason = "the gain or the champion's own value is no number"
    if power is not None:
        reason = f"a challenger exactly as good passes the margin of {margin:.3g} in {power:.0%} of such holdouts{seen}"
    mend = "; lengthen split.holdout_days, or agree on a wider margin before looking"
    check = compare(
        f"power_{name}",
        power,
        thresholds.power,
        Direction.AT_LEAST,
        unit="fraction",
        required=False,
        n=blocks,
        reason=reason if power is None else reason + mend,
    )
    return replace(check, reason=reason) if check.verdict is Verdict.PASS else check


def _wide(name: str, given: Json, thresholds: Thresholds) -> Check:
    """Tell of a margin so wide that hardly any challenger could be outside it."""
    margin, champion = _margin(given, thresholds), number(within(given, "champion"))
    return compare(
        "margin_of_own_value",
        None if margin is None or not champion else margin / abs(champion),
        _WIDE,
        Direction.AT_MOST,
        unit="fraction",
        required=False,
        reason=f"the margin of {name} is so wide beside the champion's own value that a much worse challenger passes; "
        "lower gates.champion.margin or margin_fraction",
    )


def _binding(
    name: str,
    given: Json,
    found: Mapping[str, Json],
    thresholds: Thresholds,
    shown: bool,
) -> Check:
    margin = _margin(given, thresholds)
    gain = within(given, "gain")
    superior = thresholds.design is Design.SUPERIORITY
    if margin is None and not superior and shown:
        return compare(f"gain_{name}", None, 0.0, Direction.AT_LEAST, reason="the champion's own value is no number")
    floor = 0.0 if superior or margin is None else -margin
    check = at_least(
        f"gain_{name}",
        gain,
        floor,
        n=found.get("n"),
        shown=shown,
        unit=unit_of(given),
        reason=_why(name, given, thresholds.design),
    )
    estimate = read_estimate(gain)
    if estimate is None or not shown:
        return check
    surely_worse = check.verdict is not Verdict.PASS and estimate["high"] < 0
    no_better = superior and (estimate["low"] <= 0 and estimate["estimate"] <= 0)  # equal is not superior
    if surely_worse or no_better:
        return replace(check, verdict=Verdict.FAIL, reason=_why(name, given, thresholds.design))
    return check


def _margin(given: Json, thresholds: Thresholds) -> float | None:
    if thresholds.margin is not None:
        return thresholds.margin
    champion = number(within(given, "champion"))
    return None if champion is None else thresholds.margin_fraction * abs(champion)


def _why(name: str, given: Json, design: Design) -> str:
    asked = "better than" if design is Design.SUPERIORITY else "within the margin of"
    least = number(within(given, "detectable"))
    seen = "" if least is None else f"; these blocks can show a difference of {least:.3g} (80 % power)"
    metric = name.replace("_", " ")
    return f"{metric} is not shown to be {asked} the champion's{seen}; keep the champion, or retrain on more data"


def _shown_only(name: str, given: Json, found: Mapping[str, Json]) -> Check | None:
    gain = read_estimate(within(given, "gain"))
    if gain is None or within(given, "higher_is_better") is None:
        return None
    check = compare(
        f"gain_{name}",
        gain["high"],
        0.0,
        Direction.AT_LEAST,
        unit=unit_of(given),
        required=False,
        n=count(found.get("n")),
        estimate=gain["estimate"],
        interval=(gain["low"], gain["high"]),
        reason=f"{name} is worse than the champion's beyond doubt; weigh it against the metric that binds",
    )
    return replace(check, reason="not worse beyond doubt") if check.verdict is Verdict.PASS else check


GATE = Gate(
    name="champion",
    stage=Stage.EVALUATE,
    thresholds=Thresholds,
    judge=judge,
    title="At least as good as what serves now",
)
