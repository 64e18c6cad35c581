"""What a reader of a rollout's page has to know of its course beside the numbers."""

from __future__ import annotations

from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.steps import Course


def attempt_words(course: Course) -> str:
    """Say which try of its bundle a rollout is, and what its plan may err; nothing of one from before they counted."""
    if not course.attempt or course.plan is None:
        return ""
    return f", attempt {course.attempt} of this bundle, at an error of {course.plan.alpha:.3g}"


def untimed(course: Course) -> str:
    """Say that latency is not judged, where nobody but copies meets the challenger."""
    if not course.is_shadow_alone or course.times_copies:
        return ""
    return " Latency is not judged: a copy is timed in the model alone."


def proxy_words(record: RolloutRecord) -> tuple[str, ...]:
    """Say what a promotion of a rollout rests on, where its plan tests a proxy; nothing where it does not."""
    truth, metric = record.course.truth, record.course.metric
    if truth is None or metric is None:
        return ()
    said = [
        f"The plan tests the proxy {metric.value} in place of {truth.metric.value}, accepted because: {truth.because}"
    ]
    if record.labels is not None:
        said.append(f"At look {record.rollout.looks} {record.labels.words}")
    if record.ended:
        model = record.rollout.release.rpartition("-")[0]
        said.append(f"What labels say since then: lockgate rollout status --model {model}")
    return tuple(said)


def by_proxy(record: RolloutRecord) -> str:
    """Say of a promotion that a proxy decided it; empty of anything else."""
    truth, metric = record.course.truth, record.course.metric
    if truth is None or metric is None or record.rollout.verdict is not RolloutVerdict.PROMOTE:
        return ""
    return f" by the proxy {metric.value}, not by {truth.metric.value}"
