"""From what a tally has counted to the effect that a plan's look judges: "challenger worse by", with its error."""

from __future__ import annotations

import math
from dataclasses import replace

from lockgate.core.online.means import FEWEST, Effect, Sums, difference_effect, mean_effect
from lockgate.core.online.plan import Plan
from lockgate.core.online.rates import rate_effect
from lockgate.core.rollout.tally_counted import Counted
from lockgate.core.spec_sections.rollout import Metric

_NONE = Effect(value=math.nan, se=math.nan, effective=0.0)


def effect_of(counted: Counted, metric: Metric, plan: Plan) -> Effect:
    """Return by how much the challenger is worse.

    errors: `rates.rate_effect` at the plan's margin. disagreement: one rate, its standard error likewise that at the
    margin, sqrt(m (1 - m) / n), because a challenger that never disagrees would else have none. loss and kpi:
    `means.difference_effect`, or `means.mean_effect` of pairs; where nothing varies at all, such as a model against
    itself, the plan's own standard deviation stands in.

    Returns:
        NaN where nothing was counted.
    """
    if metric is Metric.DISAGREEMENT:
        return _NONE if counted.paired is None else _rate(counted.paired, plan.margin)
    if counted.contrast is not None:
        if metric is Metric.ERRORS:
            return rate_effect(counted.contrast, plan.margin)
        return _varied(difference_effect(counted.contrast), plan)
    return _NONE if counted.paired is None else _varied(mean_effect(counted.paired), plan)


def _rate(sums: Sums, margin: float) -> Effect:
    if sums.n < FEWEST or not 0 < margin < 1:
        return _NONE
    se = math.sqrt(margin * (1.0 - margin) / sums.n)
    return Effect(value=sums.total / sums.n, se=se, effective=float(sums.n))


def _varied(effect: Effect, plan: Plan) -> Effect:
    return effect if effect.se != 0 else replace(effect, se=plan.sd / math.sqrt(effect.effective))
