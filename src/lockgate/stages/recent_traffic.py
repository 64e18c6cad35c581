"""What recent traffic tells a plan: how much of it there is, whose, how often it fails, and how soon new entities come.

Counted as a rollout counts: by entity, first failures, live answers only; a request that names no entity is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.routing import CHAMPION

SILENCE_S = 600.0
"""A longer silence parts the log: before it the service was off, or another time of day. Ours: ten minutes are longer
than any restart and shorter than any night."""
FEWEST_REQUESTS = 100
"""Requests since the last silence that are worth more than a longer window with silences in it. Ours: below, a rate is
known to a tenth at best."""
_STARTS = 8  # the curve of new entities is averaged over so many starts, so that no hour of the window weighs alone
_POINTS = 400
_MINUTE_S = 60.0

Floats: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentTraffic:
    """Recent traffic in figures.

    Attributes:
        since: The first request that counts, seconds since the epoch.
        until: The last one.
        requests: How many there were, all arms together.
        entities: How many distinct ones there were.
        named_fraction: Share of the requests that name their entity.
        requests_per_minute: Over the whole stretch.
        entities_per_minute: Distinct entities within a minute, on average.
        failure_fraction: Share of these that the champion failed in that minute.
        first_failure_fraction: Share of the champion's entities whose first request it failed.
        population: How many entities there are at all, those not seen yet included: a lower bound.
        flagged_fraction: Share of the requests that did not keep to the contract.
        score_sd: Standard deviation of the champion's first score of a request (of several classes: the first's); None
            where it answered fewer than two.
        latency_p95_ms: The champion's, in milliseconds; None where it answered nothing.
    """

    since: float
    until: float
    requests: int
    entities: int
    named_fraction: float
    requests_per_minute: float
    entities_per_minute: float
    failure_fraction: float
    first_failure_fraction: float
    population: float
    flagged_fraction: float
    score_sd: float | None
    latency_p95_ms: float | None

    @property
    def span_s(self) -> float:
        """Length of the stretch in seconds, at least one."""
        return max(self.until - self.since, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntities:
    """How many distinct entities a rollout meets by a time after its start.

    Attributes:
        times_s: After the start, increasing, from 0 to the length of the stretch.
        seen: Distinct entities by then, averaged over starts.
        population: How many there are at all.
        per_s: New ones a second at the end of the stretch.
    """

    times_s: Floats
    seen: Floats
    population: float
    per_s: float

    def by(self, times_s: Floats) -> Floats:
        """Return how many have been met by some times; beyond what was seen, the rest of the population comes slower.

        >>> ever_new = NewEntities(
        ...     times_s=np.array([0.0, 60.0]), seen=np.array([0.0, 30.0]), population=1e9, per_s=0.5
        ... )
        >>> [round(float(each)) for each in ever_new.by(np.array([30.0, 120.0]))]
        [15, 60]
        """
        last, whole = float(self.times_s[-1]), float(self.seen[-1])
        inside = np.interp(times_s, self.times_s, self.seen)
        left = max(self.population - whole, 1e-9)
        beyond = left * -np.expm1(-self.per_s * np.maximum(times_s - last, 0.0) / left)
        return np.asarray(inside + beyond, dtype=np.float64)


def newest_stretch(observations: Sequence[Observation]) -> tuple[Observation, ...]:
    """Return live observations since the last long silence, oldest first; all of them where that leaves too few."""
    live = sorted((each for each in observations if not each.shadow), key=lambda each: each.time)
    for index in range(len(live) - 1, 0, -1):
        if live[index].time - live[index - 1].time > SILENCE_S:
            return tuple(live[index:] if len(live) - index >= FEWEST_REQUESTS else live)
    return tuple(live)


def recent_traffic(live: Sequence[Observation]) -> tuple[RecentTraffic, NewEntities] | None:
    """Return the figures of a stretch of live traffic, oldest first; None where there is none.

    A request at one single instant is taken as a stretch of a second.

    Source: population by Chao 1984 (bias-corrected lower bound) from the number of entities with one and with two
    requests; new entities after the stretch by Good 1953 (the share of requests that are an entity's only one).
    """
    if not live:
        return None
    times = np.array([each.time for each in live], dtype=np.float64)
    times -= times[0]
    codes = _codes(live)
    span_s = max(float(times[-1]), 1.0)
    minutes = (times // _MINUTE_S).astype(np.int64)
    ours = np.array([each.arm == CHAMPION for each in live])
    failed = np.array([each.failed for each in live]) & ours
    new = _new_entities(times, codes, span_s)
    in_a_minute = _pairs(codes, minutes) * _MINUTE_S / span_s
    figures = RecentTraffic(
        since=live[0].time,
        until=live[-1].time,
        requests=len(live),
        entities=int(codes.max()) + 1,
        named_fraction=sum(each.entity is not None for each in live) / len(live),
        requests_per_minute=len(live) * _MINUTE_S / span_s,
        entities_per_minute=in_a_minute if span_s >= _MINUTE_S else float(new.by(np.array([_MINUTE_S]))[0]),
        failure_fraction=_pairs(codes[failed], minutes[failed]) / max(_pairs(codes[ours], minutes[ours]), 1),
        first_failure_fraction=_first_failures(codes[ours], failed[ours]),
        population=new.population,
        flagged_fraction=sum(each.flags > 0 for each in live) / len(live),
        score_sd=_score_sd(live),
        latency_p95_ms=_p95_ms(live),
    )
    return figures, new


def _codes(live: Sequence[Observation]) -> NDArray[np.int64]:
    """Number entities in the order of their first request; one without a name is an entity of its own."""
    numbers: dict[str, int] = {}
    found, following = [], 0
    for each in live:
        number = numbers.get(each.entity) if each.entity is not None else None
        if number is None:
            number, following = following, following + 1
            if each.entity is not None:
                numbers[each.entity] = number
        found.append(number)
    return np.array(found, dtype=np.int64)


def _pairs(codes: NDArray[np.int64], minutes: NDArray[np.int64]) -> int:
    """Return how many pairs of an entity and a minute there are."""
    return int(np.unique(np.stack([codes, minutes]), axis=1).shape[1]) if codes.size else 0


def _first_failures(codes: NDArray[np.int64], failed: NDArray[np.bool_]) -> float:
    _, first = np.unique(codes, return_index=True)
    return float(failed[first].mean()) if codes.size else 0.0


def _new_entities(times: Floats, codes: NDArray[np.int64], span_s: float) -> NewEntities:
    """Return the curve of new entities: the stretch is walked as a circle, from several starts."""
    counts = np.bincount(codes)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    population = len(counts) + once * (once - 1) / (2.0 * (twice + 1))
    grid = np.linspace(0.0, span_s, _POINTS)
    curves = []
    for start in range(_STARTS):
        from_s = span_s * start / _STARTS
        after = np.mod(times - from_s, span_s + 1e-9)
        firsts = np.full(len(counts), np.inf)
        np.minimum.at(firsts, codes, after)
        curves.append(np.searchsorted(np.sort(firsts), grid, side="right"))
    seen = np.mean(curves, axis=0)
    return NewEntities(times_s=grid, seen=seen, population=population, per_s=once / span_s)


def _p95_ms(live: Sequence[Observation]) -> float | None:
    answered = [each.latency_us for each in live if each.arm == CHAMPION and not each.failed]
    return float(np.quantile(answered, 0.95)) / 1000.0 if answered else None


def _score_sd(live: Sequence[Observation]) -> float | None:
    scores = [each.scores[0] for each in live if each.arm == CHAMPION and each.scores]
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None
