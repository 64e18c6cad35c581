"""What became of simulated requests: counts and latencies, in bounded memory however long it goes on. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from lockgate.core.ids import Json

_GROWTH = 1.05  # ours: a quantile is at most 5 % above what it was
_LEAST_MS = 0.01


@dataclass(slots=True)
class Counts:
    """What became of the requests of a stretch of time.

    Attributes:
        due: Requests that were to be sent, broken ones of a burst too.
        unsent: Of these, those that could not be sent in time: too many were open, or the sender was behind.
        statuses: Answers by HTTP status.
        lost: Requests that were sent and never answered, by what happened.
        arms: Answers (200) by the arm that gave them.
        fallbacks: Answers that another arm gave because the chosen one failed.
        broken: Requests that no server can answer; a refusal of one is no error.
        labels: Labels that the server has.
        labels_refused: Labels that it did not take.
        behind_ms: How late the latest request was sent.
    """

    due: int = 0
    unsent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    arms: Counter[str] = field(default_factory=Counter)
    fallbacks: int = 0
    broken: int = 0
    labels: int = 0
    labels_refused: int = 0
    behind_ms: float = 0.0
    _latencies: Counter[int] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """Requests that were answered with 200."""
        return self.statuses[200]

    @property
    def errors(self) -> int:
        """Requests that deserved an answer and got none: not sent in time apart, refusals of broken ones apart."""
        return sum(self.lost.values()) + self.statuses.total() - self.answered - self._rightly_refused

    @property
    def _rightly_refused(self) -> int:
        return min(self.broken, sum(n for status, n in self.statuses.items() if 400 <= status < 500))

    def took(self, latency_ms: float) -> None:
        """Count the latency of an answer, from when the request was due, in milliseconds."""
        self._latencies[math.ceil(math.log(max(latency_ms, _LEAST_MS) / _LEAST_MS, _GROWTH))] += 1

    def quantile_ms(self, fraction: float) -> float | None:
        """Return the latency that this share of the answers did not exceed, in milliseconds; None without answers.

        >>> counts = Counts()
        >>> for latency_ms in range(1, 101):
        ...     counts.took(latency_ms)
        >>> 50 <= (counts.quantile_ms(0.5) or 0) < 53
        True
        """
        left = fraction * self._latencies.total()
        for index, count in sorted(self._latencies.items()):
            left -= count
            if left <= 0:
                return round(_LEAST_MS * _GROWTH**index, 3)
        return None

    def add(self, other: Counts) -> None:
        """Add what became of other requests."""
        for name in ("due", "unsent", "fallbacks", "broken", "labels", "labels_refused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("statuses", "lost", "arms", "_latencies"):
            getattr(self, name).update(getattr(other, name))
        self.behind_ms = max(self.behind_ms, other.behind_ms)

    @property
    def content(self) -> dict[str, Json]:
        """The same as JSON."""
        return {
            "due": self.due,
            "unsent": self.unsent,
            "answered": self.answered,
            "errors": self.errors,
            "broken": self.broken,
            "fallbacks": self.fallbacks,
            "arms": dict(sorted(self.arms.items())),
            "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
            "lost": dict(sorted(self.lost.items())),
            "p50_ms": self.quantile_ms(0.5),
            "p95_ms": self.quantile_ms(0.95),
            "p99_ms": self.quantile_ms(0.99),
            "behind_ms": round(self.behind_ms, 1),
            "labels": self.labels,
            "labels_refused": self.labels_refused,
        }
