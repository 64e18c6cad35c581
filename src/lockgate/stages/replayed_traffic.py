"""Recent traffic once more, as a rollout of the champion against itself would meet it: other buckets, no waiting.

A run begins at any moment of the stretch and walks it as a circle. Who comes round again is somebody else: the stretch
says how traffic looks, not that nobody new ever comes. The challenger's answers are the champion's own.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation, Seen
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Traffic to be replayed.

    Attributes:
        live: What the champion answered or failed, oldest first.
        labels: By prediction id: how long after the answer, in seconds, and what.
        kpis: Numbers of the business within the stretch, oldest first.
        span_s: Its length in seconds.
    """

    live: tuple[Observation, ...]
    labels: dict[str, tuple[tuple[float, LabelSeen], ...]] = field(default_factory=dict)
    kpis: tuple[KpiSeen, ...] = ()
    span_s: float

    @classmethod
    def of(cls, live: Sequence[Observation], labels: Sequence[LabelSeen], kpis: Sequence[KpiSeen]) -> Stretch:
        """Return the champion's part of some live traffic, which is not empty, with what belongs to it."""
        ours = tuple(each for each in live if each.arm == CHAMPION and not each.shadow)
        at = {each.prediction_id: each.time for each in ours}
        of_answer: dict[str, list[tuple[float, LabelSeen]]] = defaultdict(list)
        for label in labels:
            if label.prediction_id in at:
                of_answer[label.prediction_id].append((label.received - at[label.prediction_id], label))
        span_s = max(ours[-1].time - ours[0].time, 1.0) if ours else 1.0
        # a request an average distance behind the last one is the first one again
        span_s *= 1.0 + 1.0 / max(len(ours), 1)
        return cls(
            live=ours,
            labels={name: tuple(found) for name, found in of_answer.items()},
            kpis=tuple(each for each in kpis if ours and ours[0].time <= each.time <= ours[-1].time),
            span_s=span_s,
        )


class Replay:
    """One run through a stretch; time is in seconds after its start."""

    def __init__(self, stretch: Stretch, rng: np.random.Generator, *, harm_fraction: float = 0.0) -> None:
        """Choose where it begins; who is in which bucket is drawn when somebody comes.

        Args:
            stretch: What is replayed; not empty.
            rng: Draws beginning, buckets, copies and planted failures.
            harm_fraction: Share of the challenger's requests that fail besides, 0..1.
        """
        self._stretch, self._harm = stretch, harm_fraction
        self._rng = np.random.default_rng(rng.integers(2**63))
        self._buckets: dict[str, float] = {}
        start = float(self._rng.uniform(0.0, stretch.span_s))
        self._requests = _Circle([each.time for each in stretch.live], stretch, start)
        self._kpis = _Circle([each.time for each in stretch.kpis], stretch, start)
        self._labels: list[tuple[float, int, LabelSeen]] = []
        self._number = 0

    def until(self, now_s: float, *, share: float, shadow: float) -> Seen:
        """Return what comes by a time after what was returned before, routed with one share all the while."""
        found: list[Observation] = []
        for at, index, turn in self._requests.until(now_s):
            found += self._routed(self._stretch.live[index], at, turn, share=share, shadow=shadow)
        kpis = []
        for at, index, turn in self._kpis.until(now_s):
            kpi = self._stretch.kpis[index]
            kpis.append(replace(kpi, time=at, entity=_turned(kpi.entity, turn)))
        labels = []
        while self._labels and self._labels[0][0] <= now_s:
            labels.append(heapq.heappop(self._labels)[2])
        return Seen(observations=tuple(found), labels=tuple(labels), kpis=tuple(kpis), cursor="")

    def _routed(self, seen: Observation, at: float, turn: int, *, share: float, shadow: float) -> Iterator[Observation]:
        name = _turned(seen.prediction_id, turn)
        for delay_s, label in self._stretch.labels.get(seen.prediction_id, ()):
            self._number += 1
            told = replace(label, prediction_id=name, received=at + delay_s)
            heapq.heappush(self._labels, (at + delay_s, self._number, told))
        entity = None if seen.entity is None else _turned(seen.entity, turn)
        is_challenged = share > 0 and self._bucket(entity) < share
        arm, propensity = (CHALLENGER, share) if is_challenged else (CHAMPION, 1.0 - share)
        live = replace(seen, time=at, prediction_id=name, entity=entity, arm=arm, propensity=propensity)
        yield self._planted(live) if is_challenged else live
        if shadow > 0 and self._rng.random() < shadow:
            copy = replace(live, arm=CHALLENGER, propensity=shadow, shadow=True)
            yield self._planted(copy)

    def _planted(self, seen: Observation) -> Observation:
        if not self._harm or self._rng.random() >= self._harm:
            return seen
        return replace(seen, failed=True, scores=(), labels=())

    def _bucket(self, entity: str | None) -> float:
        if entity is None:
            return float(self._rng.random())
        found = self._buckets.get(entity)
        if found is None:
            found = self._buckets[entity] = float(self._rng.random())
        return found


class _Circle:
    """Times of a stretch, walked as a circle from a start."""

    def __init__(self, times: Sequence[float], stretch: Stretch, start_s: float) -> None:
        begin = stretch.live[0].time if stretch.live else 0.0
        self._offsets = [time - begin for time in times]
        self._span_s, self._start_s = stretch.span_s, start_s
        self._turn = 0
        self._next = int(np.searchsorted(self._offsets, start_s))

    def until(self, now_s: float) -> Iterator[tuple[float, int, int]]:
        """Yield time after the start, index and turn of what comes by then."""
        while self._offsets:
            if self._next == len(self._offsets):
                self._next, self._turn = 0, self._turn + 1
            at = self._offsets[self._next] + self._turn * self._span_s - self._start_s
            if at > now_s:
                return
            yield at, self._next, self._turn
            self._next += 1


def _turned(name: str, turn: int) -> str:
    return f"{name}~{turn}" if turn else name
