"""One declared error for the whole rollout, split over its guardrails.

Each guardrail is a test that may be looked at for ever with error at most its own share; the chance that any of them
calls a good challenger bad is at most the sum (union bound), however they depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Who has how much of it.

    Attributes:
        alpha: The declared error of all guardrails together, in 0..1.
        shares: By guardrail, each above 0; their sum is at most `alpha`.
    """

    alpha: float
    shares: Mapping[str, float]

    def lines(self) -> tuple[str, ...]:
        """Return the allocation as printed: a line a guardrail, with the e-value at which it stops the rollout.

        >>> allocate(0.05, {"errors": 3, "latency": 1}).lines()[0]
        'errors: false alarm at most 0.0375, stops at an e-value of 26.7'

        Those of sub-populations have their part split again, see `populations`.
        """
        return tuple(
            f"{name}: false alarm at most {share:.3g}, {_stops(name, share)}" for name, share in self.shares.items()
        )


def _stops(name: str, share: float) -> str:
    return "split over its values" if name.startswith("population:") else f"stops at an e-value of {1.0 / share:.3g}"


def allocate(alpha: float, weights: Mapping[str, float]) -> Allocation:
    """Split an error over guardrails in proportion to weights.

    Args:
        alpha: In 0..1, both excluded.
        weights: By guardrail, each above 0 and finite. A heavier one is seen sooner.

    Raises:
        ValueError: No guardrail, or a weight or alpha that is none; nothing is decided without a declared error.

    Source: Bonferroni 1936, weighted.

    >>> allocate(0.05, {"errors": 1, "latency": 1, "score": 2}).shares
    {'errors': 0.0125, 'latency': 0.0125, 'score': 0.025}
    """
    if not 0 < alpha < 1:
        raise ValueError(f"an error of {alpha} is outside 0..1; declare one such as 0.05")
    if not weights:
        raise ValueError("no guardrail to split the error over; declare at least one")
    wrong = {name: weight for name, weight in weights.items() if not (math.isfinite(weight) and weight > 0)}
    if wrong:
        raise ValueError(f"weights must be above 0 and finite, these are not: {wrong}; leave the guardrail out instead")
    whole = math.fsum(weights.values())
    shares = {name: alpha * weight / whole for name, weight in weights.items()}
    heaviest = max(shares, key=lambda name: shares[name])
    while math.fsum(shares.values()) > alpha:  # rounding of doubles; the promise is "at most"
        shares[heaviest] = math.nextafter(shares[heaviest], 0.0)
    return Allocation(alpha=alpha, shares=shares)
