"""What a spec's rollout must agree with, said as soon as the spec is read and not when a release is to be promoted."""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.core.ids import ReleaseId
from lockgate.core.rollout.several import arm_name, course_beside
from lockgate.core.rollout.steps import Course, course_of
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.errors import ConfigError

_ANY_SD = 1.0  # what recent traffic will say; any will do for what is checked here


def rollout_problems(section: RolloutSection, label_delay_s: float) -> Iterator[str]:
    """Yield why a rollout could not be carried out as declared, one sentence each.

    Args:
        section: The spec's `rollout`.
        label_delay_s: The spec's `data.label_delay_s`.

    >>> from lockgate.core.spec_sections.rollout import RolloutStrategy
    >>> list(rollout_problems(RolloutSection(), 0.0))
    []
    >>> list(rollout_problems(RolloutSection(strategy=RolloutStrategy.A_B, max_duration_s=60.0), 0.0))
    ['rollout.max_duration_s is 60 and the bakes take 3600; it must be longer, best twice as long']
    """
    try:
        course = _course(section)
    except ConfigError as refused:
        yield refused.message
        return
    if section.plan.proxy is not None:
        yield from _proxy_problems(section, course, label_delay_s)


def _course(section: RolloutSection) -> Course:
    if section.challengers == 1:
        return course_of(section, sd=_ANY_SD)
    others = [ReleaseId(f"other-{place}") for place in range(1, section.challengers)]
    return course_beside(section, sd=_ANY_SD, arm=arm_name(1), beside=others)


def _proxy_problems(section: RolloutSection, course: Course, label_delay_s: float) -> Iterator[str]:
    """Yield why a declared proxy is refused."""
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
