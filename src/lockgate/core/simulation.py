"""Simulated traffic: what is asked when, of which row, by whom, and what is said of it later. Pure and seeded.

    arrivals ── (stops taken out, bursts put in) ──> due time, row, entity ──> answer ──> label, after a delay

The same seed gives the same arrivals and the same entities; a fault changes what it says and nothing else. Sending is
`adapters.traffic_generator`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from lockgate.core.ids import Json
from lockgate.core.simulation_faults import Fault, FaultKind, of_kind
from lockgate.errors import BadInput

ACTIVITY_EXPONENT = 0.8
"""Of Zipf's law: client k is asked for in proportion to k to the minus this. Ours: the busiest of 5,000 clients sends
some 4 % of all requests, and most clients are seen within minutes."""
FIRST_BAD = 0  # a burst comes from the busiest client: what one entity does a hundredfold must count once
_CHUNK = 1024  # draws at a time; part of what a seed means
_ARRIVALS, _ENTITIES, _BURSTS, _LABELS = range(4)  # streams of one seed, so that one does not move the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What is simulated.

    Attributes:
        entities: How many clients there are.
        seed: Of everything that is drawn.
        duration_s: How long; inf: until the arrivals end.
        label_delay_s: From an answer to its label.
        faults: What goes wrong.
    """

    entities: int
    seed: int
    duration_s: float = math.inf
    label_delay_s: float = 0.0
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if self.entities < 1 or self.seed < 0:
            raise BadInput(f"{self.entities} clients and seed {self.seed}: at least 1 and at least 0 are needed")
        if not self.duration_s > 0 or not 0 <= self.label_delay_s < math.inf:
            raise BadInput(
                f"a duration of {self.duration_s} s and labels after {self.label_delay_s} s: the first must be above "
                "0, the second at least 0 and finite"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One request.

    Attributes:
        at_s: When it is due, from the start.
        number: Which one it is, from 0; broken ones of a burst count from 0 on their own.
        row: Which row it asks about; beyond the last one it begins again.
        entity: The client's name.
        broken: Whether it is one that no server can answer.
    """

    at_s: float
    number: int
    row: int
    entity: str
    broken: bool = False


def steady_arrivals(rate_rps: float, seed: int) -> Iterator[float]:
    """Return the times of a Poisson process without end, in seconds.

    Raises:
        BadInput: The rate is none.

    >>> times = [at for at, _ in zip(steady_arrivals(50.0, seed=1), range(5000))]
    >>> 90 < times[-1] < 110, all(a < b for a, b in zip(times, times[1:]))
    (True, True)
    """
    if not 0 < rate_rps < math.inf:
        raise BadInput(f"a rate of {rate_rps} requests a second; it must be above 0 and finite")
    return _poisson(rate_rps, seed)


def _poisson(rate_rps: float, seed: int) -> Iterator[float]:
    rng, now = np.random.default_rng((seed, _ARRIVALS)), 0.0
    while True:
        for gap in rng.exponential(1.0 / rate_rps, _CHUNK).tolist():
            now += gap
            yield now


def replayed_arrivals(times_s: Sequence[float], speed: float) -> Iterator[float]:
    """Return when rows come whose own times are replayed at a speed; the first comes at once.

    Args:
        times_s: The rows' own times, ascending, in seconds.
        speed: How many of their seconds pass in one.

    Raises:
        BadInput: The speed is none.

    >>> list(replayed_arrivals([100.0, 160.0, 220.0], 60.0))
    [0.0, 1.0, 2.0]
    """
    if not 0 < speed < math.inf:
        raise BadInput(f"a speed of {speed}; it must be above 0 and finite, 1 is as it was, 3600 an hour a second")
    return ((at - times_s[0]) / speed for at in times_s)


def requests(simulation: Simulation, arrivals: Iterator[float], rows: int) -> Iterator[Due]:
    """Return every request in the order it is due, until the duration or the arrivals are over.

    Args:
        simulation: What is simulated.
        arrivals: When rows come, ascending; the n-th asks about the n-th row.
        rows: How many rows there are, at least 1.
    """
    bursts = [
        _burst(simulation, fault, index)
        for index, fault in enumerate(simulation.faults)
        if fault.kind is FaultKind.BURST
    ]
    return heapq.merge(_ordinary(simulation, arrivals, rows), *bursts, key=lambda each: each.at_s)


def _ordinary(simulation: Simulation, arrivals: Iterator[float], rows: int) -> Iterator[Due]:
    for number, (at_s, client) in enumerate(zip(arrivals, _clients(simulation), strict=False)):
        if at_s >= simulation.duration_s or _silent_for_ever(simulation, at_s):
            return  # arrivals may have no end
        if not of_kind(simulation.faults, FaultKind.STOP, at_s):
            yield Due(at_s=at_s, number=number, row=number % rows, entity=entity_name(client))


def _silent_for_ever(simulation: Simulation, at_s: float) -> bool:
    return any(fault.end_s == math.inf for fault in of_kind(simulation.faults, FaultKind.STOP, at_s))


def _clients(simulation: Simulation) -> Iterator[int]:
    """Yield who asks, the busiest client being 0."""
    whole = np.cumsum(np.arange(1, simulation.entities + 1) ** -ACTIVITY_EXPONENT)
    rng = np.random.default_rng((simulation.seed, _ENTITIES))
    while True:
        yield from np.searchsorted(whole, rng.random(_CHUNK) * whole[-1], side="right").tolist()


def _burst(simulation: Simulation, fault: Fault, index: int) -> Iterator[Due]:
    rng, at_s = np.random.default_rng((simulation.seed, _BURSTS, index)), fault.start_s
    until_s = min(fault.end_s, simulation.duration_s)
    for number in count():
        at_s += float(rng.exponential(1.0 / fault.value))
        if at_s >= until_s:
            return
        yield Due(at_s=at_s, number=number, row=0, entity=entity_name(FIRST_BAD), broken=True)


def entity_name(client: int) -> str:
    """Return a client's name.

    >>> entity_name(41)
    'client-00041'
    """
    return f"client-{client:05d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A label as it is told.

    Attributes:
        at_s: When, from the start.
        label: What is said, true or not.
    """

    at_s: float
    label: Json


def told(
    simulation: Simulation, *, answered_s: float, number: int, truth: Json, others: Mapping[str, Json]
) -> Told | None:
    """Return what is told of an answered row; None when nothing ever is.

    Args:
        simulation: What is simulated.
        answered_s: When it was answered, from the start.
        number: Which request it was.
        truth: What happened; None: nobody knows.
        others: What might be said instead, by its text.

    >>> calm = Simulation(entities=1, seed=1, label_delay_s=5.0)
    >>> told(calm, answered_s=2.0, number=0, truth="late", others={})
    Told(at_s=7.0, label='late')
    """
    if truth is None:
        return None
    late_s = sum(fault.value for fault in of_kind(simulation.faults, FaultKind.LATE_LABELS, answered_s))
    at_s = answered_s + simulation.label_delay_s + late_s
    if of_kind(simulation.faults, FaultKind.DEAD_LABELS, at_s):
        return None
    label: Json = truth
    for fault in of_kind(simulation.faults, FaultKind.WRONG_LABELS, answered_s):
        rng = np.random.default_rng((simulation.seed, _LABELS, number))
        wrong = [value for text, value in others.items() if text != str(truth)]
        if wrong and rng.random() < fault.value:
            label = wrong[int(rng.integers(len(wrong)))]
    return Told(at_s=at_s, label=label)
