"""What the server itself says in a load test, for the stress gate: the second witness, and its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Json
from lockgate.core.verdict import Check, Direction, Verdict, compare, doubted

_ONCE_BYTES = 4 * 1024**2  # ours: pools took up to 3.1 MB once, in runs without a leak
_BETWEEN = 4.0  # ours: the server's time and the floor must explain a quarter of what was seen at the limit


def witnessed(seen: Mapping[str, Json]) -> Check:
    """Compare how many requests the server counted with how many were sent: a contradiction beyond 5 %."""
    sent, counted = number(seen, "challenger.server.sent"), number(seen, "challenger.server.asked")
    share = counted / sent if counted is not None and sent else None
    check = compare(
        "witnessed_fraction",
        None if share is None else min(share, 1 / share if share else 0.0),
        0.95,
        Direction.AT_LEAST,
        unit="fraction",
        n=count(seen, "challenger.server.sent"),
        reason="the server did not count as many requests as the generators say they sent; see both logs",
    )
    return doubted(check)


def witness(seen: Mapping[str, Json], limit_ms: float) -> Check:
    """Hold the server's own histogram against what the generators saw.

    A server cannot take longer over its requests than whoever waits for the answers; and where the generators saw the
    service level broken that the server and the generator's own floor together keep, the time was lost between them.
    """
    low, high = number(seen, "challenger.server.p95_low_ms"), number(seen, "challenger.server.p95_ms")
    saw, floor = number(seen, "challenger.steady.both_p95_ms"), number(seen, "generator.p95_ms")
    check = compare(
        "server_contradicts",
        None if low is None or saw is None else low - saw,
        0.0,
        Direction.AT_MOST,
        unit="ms",
        n=count(seen, "challenger.server.asked"),
        reason="the server says it took longer than the generators waited: one of the clocks is wrong; see both logs",
    )
    if check.verdict is Verdict.FAIL:
        return replace(check, verdict=Verdict.INCONCLUSIVE)
    own = None if high is None or floor is None else high + floor
    if saw is not None and own is not None and saw > limit_ms >= _BETWEEN * own:
        reason = (
            f"the generators waited {saw:.3g} ms for what the server did in {high:.3g} ms: the time was lost between "
            "them; end other work and run stress_test again"
        )
        return replace(check, verdict=Verdict.INCONCLUSIVE, reason=reason)
    return check


def survived(seen: Mapping[str, Json]) -> Check:
    """Check that the challenger's server was still there at the end: it may be slow, not gone."""
    died = value_at(seen, "died")
    gone = "challenger" in died if isinstance(died, Mapping) else None
    code = died.get("challenger") if isinstance(died, Mapping) else None
    return compare(
        "server_died",
        None if gone is None else float(gone),
        0.0,
        Direction.EQUAL,
        unit="servers",
        reason=f"the server ended with code {code} under load; see its log in the release folder",
    )


def memory_growth(seen: Mapping[str, Json], limit_bytes: float) -> Check:
    """Compare the memory gained a request with the limit: FAIL only where the interval lies beyond it."""
    low, high = number(seen, "memory.challenger.low"), number(seen, "memory.challenger.high")
    check = compare(
        "memory_growth",
        number(seen, "memory.challenger.estimate"),
        limit_bytes,
        Direction.AT_MOST,
        unit="B/request",
        n=count(seen, "memory.challenger.requests"),
        interval=None if low is None or high is None else (low, high),
        reason="the server's memory grows with every request; look for what the server or its runtime never lets go",
    )
    grown = number(seen, "memory.challenger.grown_bytes")
    if check.verdict is Verdict.FAIL and grown is not None and grown <= _ONCE_BYTES:
        return replace(check, verdict=Verdict.PASS, reason="what grew is what an allocator takes once")
    if check.verdict is Verdict.FAIL and (low is None or low <= limit_bytes):
        reason = "memory grew, and this run is too short to say whether it goes on; set gates.stress.soak_s"
        return replace(check, verdict=Verdict.INCONCLUSIVE, reason=reason)
    return check
