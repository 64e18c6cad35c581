"""Is a step's bake over, is the last one's, is the time up? Told by the state and the clock of an event."""

from __future__ import annotations

from lockgate.core.rollout.state import Phase, Rollout
from lockgate.core.rollout.steps import Course, Step, StepKind


def step_of(course: Course, rollout: Rollout) -> Step | None:
    """Return the step a rollout is at; None where there is none."""
    return course.steps[rollout.step] if 0 <= rollout.step < len(course.steps) else None


def waits(course: Course, rollout: Rollout) -> bool:
    """Tell whether the step is a pause that nobody has resumed."""
    step = step_of(course, rollout)
    return step is not None and step.kind is StepKind.PAUSE and not rollout.released


def bake_is_over(course: Course, rollout: Rollout, now: float) -> bool:
    """Tell whether the step was in force for as long as it asks, and nobody holds it (that would be `PAUSED`)."""
    step = step_of(course, rollout)
    if step is None or rollout.phase is not Phase.BAKING or waits(course, rollout):
        return False
    return now - rollout.step_began >= step.bake_s


def steps_done(course: Course, rollout: Rollout, now: float) -> bool:
    """Tell whether the last step's bake is over and nobody holds it: `Look.steps_done`."""
    return rollout.step >= len(course.steps) - 1 and bake_is_over(course, rollout, now)


def time_is_up(course: Course, rollout: Rollout, now: float) -> bool:
    """Tell whether the rollout's longest duration is over: `Look.time_is_up`."""
    return now - rollout.began >= course.max_duration_s
