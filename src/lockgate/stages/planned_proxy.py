"""Before the start: what a promotion will rest on, and whether the loss can be known while the rollout lasts."""

from __future__ import annotations

from dataclasses import replace

from lockgate.core.rollout.proxy import rests_on
from lockgate.core.spec_sections.rollout import Metric
from lockgate.stages.rollout_forecast import RolloutForecast, minutes


def with_proxy_words(found: RolloutForecast, label_delay_s: float) -> RolloutForecast:
    """Return a forecast that says, first of all warnings, that a proxy will decide, or that the loss cannot.

    Args:
        found: What was forecast.
        label_delay_s: The spec's `data.label_delay_s`.
    """
    late = f"labels are due {minutes(label_delay_s)} after an answer and the rollout ends after"
    late = f"{late} {minutes(found.max_duration_s)}"
    if found.truth is not None:
        said = f"if it promotes, {rests_on(found.metric, found.truth)}. {late[:1].upper()}{late[1:]}; what they say "
        said += "then is shown by lockgate rollout status"
    elif found.metric is Metric.LOSS and label_delay_s > found.max_duration_s:
        said = f"the plan tests loss, and {late}: nothing can be promoted by it. Raise rollout.max_duration_s, or say "
        said += "in rollout.plan.proxy what may stand in for it, and why"
    else:
        return found
    return replace(found, warnings=(said, *found.warnings))
