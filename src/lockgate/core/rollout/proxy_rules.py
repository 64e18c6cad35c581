"""What a spec that declares a proxy must agree with, said as soon as it is read."""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.core.rollout.steps import course_of
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.errors import ConfigError


def proxy_problems(section: RolloutSection, label_delay_s: float) -> Iterator[str]:
    """Yield why a declared proxy is refused, one sentence each; nothing where none is declared.

    Args:
        section: The spec's `rollout`.
        label_delay_s: The spec's `data.label_delay_s`.

    >>> list(proxy_problems(RolloutSection(), 0.0))
    []
    """
    if section.plan.proxy is None:
        return
    try:
        course = course_of(section, sd=1.0)  # what recent traffic will say; any will do for what is checked here
    except ConfigError as refused:
        yield refused.message
        return
    due = f"by data.label_delay_s labels are due {label_delay_s:g} s after an answer"
    lasts, watched = f"{course.max_duration_s:g} s that the rollout may take", section.guardrails.quality is not None
    if label_delay_s <= course.max_duration_s and not watched:
        yield (
            f"rollout.plan.proxy stands in for labels that come too late, and {due}, within the {lasts}: leave the "
            "proxy out and let the plan test the loss; or declare rollout.guardrails.quality, so that harm in those "
            "that come is seen; or say in data.label_delay_s how late they are"
        )
    if label_delay_s > course.max_duration_s and watched:
        yield (
            f"rollout.guardrails.quality would never have data beside rollout.plan.proxy, and a promotion needs every "
            f"guardrail clear: {due}, after the {lasts}; leave it out, or raise rollout.max_duration_s"
        )
