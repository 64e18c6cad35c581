"""Simulated rollouts: entities with buckets, steps of growing weight, first failures by step and arm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lockgate.core.online.failures import FailureCounts, StepFailures

GROWING = (0.01, 0.05, 0.2, 0.5)
LOOKS = 200


def shares_at(shares: tuple[float, ...], looks: int = LOOKS) -> np.ndarray:
    """The step in force before each look: equal numbers of looks a step."""
    return np.minimum(np.arange(looks) * len(shares) // looks, len(shares) - 1)


def first_failures(
    rng: np.random.Generator, shares: tuple[float, ...], *, entities: int, hazard: float, risk: float, burst: int = 1
) -> Iterator[tuple[FailureCounts, FailureCounts]]:
    """Yield at each look the counts by entity, and those of someone who counts every failed request.

    Entities differ (gamma, variance 1); an entity that fails does so `burst` times in a row, and may fail again.
    """
    step_of, bucket = shares_at(shares), rng.random(entities)
    rate = hazard * rng.gamma(1.0, 1.0, entities)
    failed = np.zeros(entities, dtype=bool)
    firsts, requests = np.zeros((len(shares), 2), dtype=int), np.zeros((len(shares), 2), dtype=int)
    for look in range(LOOKS):
        step = int(step_of[look])
        ours = bucket < shares[step]
        fails = rng.random(entities) < np.minimum(rate * np.where(ours, risk, 1.0), 1.0)
        for arm, mine in enumerate((ours, ~ours)):
            firsts[step, arm] += int((fails & ~failed & mine).sum())
            requests[step, arm] += burst * int((fails & mine).sum())
        failed |= fails
        yield counts(shares, firsts), counts(shares, requests)


def counts(shares: tuple[float, ...], found: np.ndarray) -> FailureCounts:
    return FailureCounts(
        steps=tuple(
            StepFailures(share=share, challenger=int(ours), champion=int(theirs))
            for share, (ours, theirs) in zip(shares, found, strict=True)
        )
    )
