"""The latency curve of an arm along the offered rate, and its knee: the largest rate that keeps the service level.

"Find the knee, then stop", as inference recommenders do, on stairs too short for a fit: a stair keeps the level or it
does not, and a stair that the generator itself could not send says nothing and ends the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lockgate.core.ids import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLevel:
    """What is promised at the target rate; see the thresholds of the stress gate.

    Attributes:
        p95_ms: 95th percentile of latency from the intended start.
        p99_ms: The same for the 99th.
        error_fraction: Share of requests that may fail.
        achieved_fraction: Share that must be answered well and in time.
        late_ms: How late the generator itself may send (95th percentile) before a stair says nothing.
    """

    p95_ms: float
    p99_ms: float
    error_fraction: float
    achieved_fraction: float
    late_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happened at one offered rate.

    Attributes:
        phase: Of the plan.
        offered_rps: What was asked for.
        asked: Requests of the open loop.
        achieved_rps: What was answered well and in time.
        error_fraction: Share that failed.
        p50_ms: Median latency from the intended start.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        late_p95_ms: How late the generator sent.
    """

    phase: str
    offered_rps: float
    asked: int
    achieved_rps: float
    error_fraction: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    late_p95_ms: float


def keeps(step: Step, level: ServiceLevel) -> bool | None:
    """Tell whether a stair keeps the service level; None when the generator was too late to say so."""
    kept = (
        step.p95_ms <= level.p95_ms
        and step.p99_ms <= level.p99_ms
        and step.error_fraction <= level.error_fraction
        and step.achieved_rps >= level.achieved_fraction * step.offered_rps
    )
    return None if not kept and step.late_p95_ms > level.late_ms else kept


def knee(steps: Sequence[Step], level: ServiceLevel) -> dict[str, Json]:
    """Return the knee of a curve.

    Returns:
        rps (the largest offered rate that keeps the level, as do all below it; 0 when the lowest does not, None
        without stairs); first_beyond_rps (the next stair, which does not keep it; None when it was not reached);
        limited_by: "server" (a stair broke the level), "generator" (it could not send faster) or "plan" (every stair
        kept it: the knee is at least `rps`).
    """
    ordered = sorted(steps, key=lambda each: each.offered_rps)
    if not ordered:
        return {"rps": None, "first_beyond_rps": None, "limited_by": None}
    reached = 0.0
    for each in ordered:
        kept = keeps(each, level)
        if not kept:
            limit = "generator" if kept is None else "server"
            return {"rps": reached, "first_beyond_rps": None if kept is None else each.offered_rps, "limited_by": limit}
        reached = each.offered_rps
    return {"rps": reached, "first_beyond_rps": None, "limited_by": "plan"}
