"""What a comparison of this size can show: said beside every verdict, so that "not shown" is not read as "not so"."""

from __future__ import annotations

import math

from lockgate.core.intervals import CONFIDENCE, t_quantile


def power_to_show(margin: float, se: float, blocks: int, *, confidence: float = CONFIDENCE) -> float:
    """Return the chance that the lower bound of a gain lies above `-margin` if the two are truly equally good.

    Args:
        margin: How much worse is acceptable, at least 0, in the gain's unit.
        se: Standard error of the gain, at least 0.
        blocks: Blocks behind it, G; Student's t has G - 1 degrees of freedom.
        confidence: Two-sided confidence of the interval.

    Returns:
        In 0..1; NaN with fewer than two blocks or where a number is not finite. 1 at an SE of 0 with a margin above 0.

    Source: power of the one-sided t test by the non-central t (Chow, Shao, Wang and Lokhnytska 2017, Sample Size
    Calculations in Clinical Research, 3.1.3), checked against statsmodels in the tests.

    >>> round(power_to_show(margin=0.0, se=1.0, blocks=21), 3)  # no margin: the level itself, one-sided 2.5 %
    0.025
    >>> round(power_to_show(margin=3.0, se=1.0, blocks=21), 2)  # about P(Z > 2.09 - 3)
    0.81
    """
    if blocks < 2 or not math.isfinite(margin) or not math.isfinite(se) or se < 0:
        return float("nan")
    if se == 0:
        return 1.0 if margin > 0 else 0.0
    from scipy import special  # type: ignore[import-untyped]  # no stubs installed

    bound = t_quantile((1.0 + confidence) / 2, blocks - 1)
    return float(1.0 - special.nctdtr(blocks - 1, margin / se, bound))
