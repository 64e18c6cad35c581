"""The exact interval of a share."""

from __future__ import annotations

from scipy.stats import beta  # type: ignore[import-untyped]  # no stubs published


def clopper_pearson(hits: int, tries: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a binomial share (Clopper and Pearson 1934, Biometrika 26).

    Args:
        hits: How often it happened, from 0 to `tries`.
        tries: How often it could have; 0 gives (0, 1): nothing is known.
        confidence: Two-sided, in (0, 1).

    Returns:
        Lower and upper bound, fractions.

    >>> low, high = clopper_pearson(0, 60)  # nothing seen: the upper bound is 1 - 0.025 ** (1 / 60)
    >>> low, round(high, 4)
    (0.0, 0.0596)
    """
    tail = (1.0 - confidence) / 2.0
    if not tries:
        return 0.0, 1.0
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, tries - hits + 1))
    high = 1.0 if hits == tries else float(beta.ppf(1.0 - tail, hits + 1, tries - hits))
    return low, high
