"""What a spec's retraining section may ask for, together with the rest of the spec; and what it means for approval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lockgate.core.alerting.cron import problem
from lockgate.core.learning.windows import span_of
from lockgate.core.spec import Automation, ReleaseSpec, Risk, RolloutStrategy, SplitMethod, Window
from lockgate.core.spec_sections.release import ApprovalMode
from lockgate.errors import BadInput

GRADUAL = (RolloutStrategy.CANARY, RolloutStrategy.LINEAR)
"""Strategies by which a release that nobody looked at may take over: a small share of clients first."""


def with_automation(spec: ReleaseSpec) -> ReleaseSpec:
    """Return the spec in which passing gates approve, where `retraining.automation` says so; else the same."""
    if not spec.retraining.automation.approves:
        return spec
    return replace(spec, approval=replace(spec.approval, mode=ApprovalMode.WHEN_ALL_PASS))


def retraining_problems(spec: ReleaseSpec, *, asks_for_people: bool) -> Iterator[str]:
    """Yield what is wrong with the section.

    Args:
        spec: The whole spec.
        asks_for_people: Whether the file itself says `approval.mode: human`.
    """
    section = spec.retraining
    for key, schedule in (("retraining", section.schedule), ("monitoring", spec.monitoring.schedule)):
        wrong = None if schedule is None else problem(schedule)
        if wrong is not None:
            yield f"{key}.schedule: {wrong}"
    yield from _automation(spec, asks_for_people=asks_for_people)
    yield from _window(spec)
    for place, incident in enumerate(section.quarantine):
        where = f"retraining.quarantine.{place}"
        if not incident.reason.strip():
            yield f"{where}.reason is empty; say what was wrong, it goes on record"
        try:
            span_of(incident)
        except BadInput as wrong:
            yield f"{where}: {wrong.message}"


def _automation(spec: ReleaseSpec, *, asks_for_people: bool) -> Iterator[str]:
    level = spec.retraining.automation
    if not level.approves:
        return
    where = f"retraining.automation: {level}"
    if spec.model.risk is Risk.HIGH:
        yield f"{where} is not allowed for a model of risk: high; use train, and people approve"
    if asks_for_people:
        yield f"{where} approves without people, and approval.mode: human asks for them; leave one of them out"
    if spec.approval.four_eyes:
        yield f"{where} approves without people, and approval.four_eyes asks for two; use train"
    if level is Automation.FULL and spec.rollout.strategy not in GRADUAL:
        gradual = " or ".join(GRADUAL)
        yield f"{where} needs rollout.strategy: {gradual}; {spec.rollout.strategy} would give it all clients at once"


def _window(spec: ReleaseSpec) -> Iterator[str]:
    section = spec.retraining
    for window, key, given in (
        (Window.ROLLING, "window_days", section.window_days),
        (Window.WEIGHTED, "half_life_days", section.half_life_days),
    ):
        if section.window is window and given is None:
            yield f"retraining.window: {window} needs retraining.{key}"
        if section.window is not window and given is not None:
            yield f"retraining.{key} is for window: {window}; it is {section.window}"
    if section.window is Window.ROLLING and spec.split.method is not SplitMethod.TIME:
        yield f"retraining.window: rolling needs split.method: time; it is {spec.split.method}"
    if section.window is Window.ROLLING and spec.split.train_window_days is not None:
        yield "retraining.window_days and split.train_window_days say the same thing; leave one of them out"
