"""Train-serve skew, from what the release's gate measures: logged requests against the rows that landed later."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.core.estimates import number, within
from lockgate.core.gates.skew import Thresholds
from lockgate.core.ids import Json, ModelName
from lockgate.core.monitoring.findings import Finding, State, Subject


def judge_skew(model: ModelName, measured: Mapping[str, Json] | None, why: str = "") -> Finding:
    """Judge what `stages.skew.measure_skew` measured.

    Args:
        model: Whose.
        measured: Its measurements; None: it could not be measured.
        why: What went wrong then.
    """
    if measured is None:
        return Finding(model=model, name="input.skew", subject=Subject.INPUT, state=State.NO_DATA, reason=why)
    features = within(measured, "features")
    joined, share = number(within(features, "joined")), number(within(features, "match_fraction"))
    least = Thresholds().match_fraction
    if not joined or share is None:
        reason = "no logged request names a landed row (by x-request-id or entity)"
        return Finding(model=model, name="input.skew", subject=Subject.INPUT, state=State.NO_DATA, reason=reason,
                       next="send the row's key as x-request-id")  # fmt: skip
    by_feature = within(features, "by_feature")
    evidence: dict[str, Json] = {
        "joined": joined,
        "by_feature": dict(by_feature) if isinstance(by_feature, Mapping) else {},
    }
    off = share < least
    return Finding(
        model=model, name="input.skew", subject=Subject.INPUT, state=State.NOISE if off else State.OK, observed=share,
        threshold=least, unit="fraction", harm=1.0 - share if off else 0.0, evidence=evidence,
        reason=f"{share:.2%} of logged values are those of the landed rows ({joined:.0f} rows)",
        next="mend what prepares requests; the next release's gate `skew` would block" if off else "",
    )  # fmt: skip
