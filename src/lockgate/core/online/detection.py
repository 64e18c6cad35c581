"""How soon the failure guardrail sees a harm in given traffic: simulated rollouts, each looked at as the real one is.

First failures are taken as Poisson at the rate of recent traffic, the challenger's at the rate of the harm in question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockgate.core.online import failures

LOOKS = 400  # at most so many a simulated rollout: times are exact to a 400th of it
LOOK_S = 10.0  # and none sooner after the other; the controller's own pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Recent traffic, all arms together.

    Attributes:
        requests_per_minute: For the printed line.
        entities_per_minute: Entities that show up in a minute and have not failed before.
        failure_fraction: The share of those that fail in that minute, 0..1, under the champion.
        entities: How many there are at all; inf if they are ever new. Few ones run out of first failures.
    """

    requests_per_minute: float
    entities_per_minute: float
    failure_fraction: float
    entities: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Bake:
    """One step of a rollout.

    Attributes:
        share: The challenger's share, in 0..1.
        bake_s: How long it is held.
        exposure: Multiplies the entities whose failures tell. A shadow of the share s, whose pairs tell by the one of
            two arms that failed, is share 0.5 with exposure 2 s.
    """

    share: float
    bake_s: float
    exposure: float = 1.0


def times_to_detect(  # noqa: PLR0913 - the facts of a simulation; half are keywords
    traffic: Traffic, steps: Sequence[Bake], failure_fraction: float, *, alpha: float, runs: int, seed: int
) -> NDArray[np.float64]:
    """Return when each simulated rollout is rolled back, in seconds after its start, shape [runs]; inf: never.

    Args:
        traffic: Recent traffic.
        steps: Shares and bakes.
        failure_fraction: The challenger's, 0..1; the champion's own gives the false alarms.
        alpha: The guardrail's share of the error.
        runs: Simulated rollouts.
        seed: Of the simulation.

    Source: the e-process of `failures`, looked at as the rollout would.

    >>> certain = Traffic(requests_per_minute=600, entities_per_minute=600, failure_fraction=0.0)
    >>> times_to_detect(certain, [Bake(share=0.5, bake_s=60)], 1.0, alpha=0.05, runs=2, seed=1)  # some 50 by then
    array([10., 10.])
    """
    rng = np.random.default_rng(seed)
    every = max(LOOK_S, math.fsum(step.bake_s for step in steps) / LOOKS)
    log_e = np.zeros((runs, len(failures.RISKS))) + np.log(failures.RISK_WEIGHTS)
    risks, now = np.array(failures.RISKS), 0.0
    found = np.full(runs, np.inf)
    for step in steps:
        looks = max(1, round(step.bake_s / every))
        for _ in range(looks):
            rate = traffic.entities_per_minute / 60 * step.bake_s / looks * left(traffic, now) * step.exposure
            now += step.bake_s / looks
            x = rng.poisson(rate * step.share * failure_fraction, runs)[:, None]
            y = rng.poisson(rate * (1.0 - step.share) * traffic.failure_fraction, runs)[:, None]
            if 0 < step.share < 1:
                log_e += x * np.log(risks) - (x + y) * np.log1p(step.share * (risks - 1.0))
            seen = np.logaddexp.reduce(log_e, axis=1) >= math.log(1.0 / alpha)
            found[seen & np.isinf(found)] = now
    return found


def left(traffic: Traffic, now_s: float) -> float:
    """Return the share of entities that have not failed yet, at the champion's rate, in 0..1.

    >>> some = Traffic(requests_per_minute=100, entities_per_minute=100, failure_fraction=0.01, entities=100)
    >>> round(left(some, 6000.0), 4)  # one failure a minute among 100, for 100 minutes: exp(-1)
    0.3679
    """
    return math.exp(-traffic.entities_per_minute * traffic.failure_fraction * now_s / 60 / traffic.entities)
