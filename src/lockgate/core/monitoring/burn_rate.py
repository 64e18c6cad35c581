"""The service: how fast the error budget of a promise is spent, over two windows at once.

A burn rate of 1 spends exactly the budget in the promise's window. It is alarmed where a long window shows that it
matters and a short one that it still goes on: 1 h with 5 min, 6 h with 30 min (Google, The Site Reliability Workbook,
chapter 5, multiwindow multi-burn-rate alerts; 14.4 spends 2 % of 30 days in an hour, 6 spends 5 % in six).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from lockgate.core.ids import Json
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.judged import Window
from lockgate.core.monitoring.summary import SPAN_S, DaySummary, Span

PAIRS: Final = (("fast", 12, 1), ("slow", 72, 6))
"""Name of the rate in the spec, spans of the long window and of the short one; a span is five minutes."""
LOOKED_BACK: Final = 13
"""Ends of spans at which the windows are looked at, so that an hourly run misses nothing between two runs."""
LEAST_REQUESTS: Final = 20
"""In the long window; ours: one failure of fewer requests is a rate that nothing follows from."""


@dataclass(frozen=True, slots=True)
class _Burn:
    """The worst look of one pair of windows."""

    name: str
    rate: float
    limit: float
    requests: int


def judge_service(window: Window) -> tuple[Finding, ...]:
    """Judge failures and slow answers against the promise."""
    slo = window.section.slo
    found = {_end(day, at): span for day in window.days for at, span in enumerate(day.spans) if span.requests}
    budget_from = window.now - timedelta(days=slo.window_days)
    told = [span for ends, span in found.items() if ends > budget_from]
    if not told:
        reason = f"no request in {slo.window_days} days"
        return (window.finding("service", Subject.SERVICE, state=State.NO_DATA, reason=reason,
                               next="see that production answers: lockgate status"),)  # fmt: skip
    return (
        _judge(window, "service.errors", "without an answer", found, told, slo.available),
        _judge(window, "service.latency", f"slower than {slo.latency_ms:g} ms", found, told, slo.fast),
    )


def burn(spans: Sequence[Span], bad: str, target: float) -> float:
    """Return how many times faster than allowed the budget is spent; 0 without a request.

    >>> burn([Span(requests=1000, failed=10)], "failed", 0.999)  # 1 % fail, 0.1 % may
    10.0
    """
    requests = sum(span.requests for span in spans)
    share = sum(int(getattr(span, bad)) for span in spans) / requests if requests else 0.0
    return round(share / (1.0 - target), 9)


def _judge(  # noqa: PLR0913, PLR0917 - one promise, and what there is of it
    window: Window, name: str, what: str, found: dict[datetime, Span], told: Sequence[Span], target: float
) -> Finding:
    bad = "failed" if name.endswith("errors") else "slow"
    slo = window.section.slo
    burns = [_worst(window, found, bad, target, pair) for pair in PAIRS]
    over = [each for each in burns if each.rate >= each.limit]
    spent = burn(told, bad, target)
    requests = sum(span.requests for span in told)
    share = spent * (1.0 - target)
    state = State.HARM if over else State.NOISE if spent > 1.0 else State.OK
    worst = max(burns, key=lambda each: each.rate / each.limit)
    evidence: dict[str, Json] = {
        "requests": requests, "share": share, "promised": target, "budget_spent": spent, "days": slo.window_days,
        **{f"burn_{each.name}": each.rate for each in burns}, **{f"limit_{each.name}": each.limit for each in burns},
    }  # fmt: skip
    said = f"{share:.3%} of requests {what} in {slo.window_days} days, {spent:.0%} of the error budget"
    return window.finding(
        name, Subject.SERVICE, state=state, observed=worst.rate, threshold=worst.limit, unit="burn rate",
        harm=min(worst.rate / worst.limit, 10.0) if over else spent / 10.0 if spent > 1.0 else 0.0,
        reason=f"{said}; now spent {worst.rate:.1f} times as fast as allowed" if over else said, evidence=evidence,
        next=f"lockgate status; where the newest release brought it: lockgate rollback {window.reference.model}"
        if over else "",
    )  # fmt: skip


def _worst(window: Window, found: dict[datetime, Span], bad: str, target: float, pair: tuple[str, int, int]) -> _Burn:
    """Return the pair's highest rate, the lower of both windows', over the last ends of spans."""
    name, long, short = pair
    slo = window.section.slo
    limit = slo.burn_fast if name == "fast" else slo.burn_slow
    newest = datetime.fromtimestamp(-(-window.now.timestamp() // SPAN_S) * SPAN_S, UTC)
    rate, requests = 0.0, 0
    for back in range(LOOKED_BACK):
        ends = [newest - timedelta(seconds=SPAN_S * (back + at)) for at in range(long)]
        spans = [found[end] for end in ends if end in found]
        asked = sum(span.requests for span in spans)
        if asked < LEAST_REQUESTS:
            continue
        recent = [found[end] for end in ends[:short] if end in found]
        both = min(burn(spans, bad, target), burn(recent, bad, target))
        if both >= rate:
            rate, requests = both, asked
    return _Burn(name, rate, limit, requests)


def _end(day: DaySummary, at: int) -> datetime:
    return datetime.fromisoformat(day.day).replace(tzinfo=UTC) + timedelta(seconds=SPAN_S * (at + 1))
