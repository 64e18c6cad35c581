"""Which pictures the page of a rollout shows: from what is on record, and from what its last look counted for pages."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lockgate.adapters import rollout_plots
from lockgate.core.estimates import items, number, within
from lockgate.core.ids import Json
from lockgate.core.online.plan import design
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.rollout.steps import StepKind

E_VALUES = frozenset({"errors", "latency", "contract", "arrivals"})
"""Guardrails whose observed number is a log e-value; the others' is a bound on a difference of means."""


def rollout_pictures(record: RolloutRecord, shown: Mapping[str, Json]) -> tuple[tuple[str, str], ...]:
    """Return title and address of each picture; none of what has no data."""
    drawn = (
        ("evidence of harm", _evidence(record)),
        ("share", _share(record)),
        ("promotion plan", _plan(record)),
        ("latency", _latency(shown)),
        ("shadow", _shadow(shown)),
    )
    return tuple((title, address) for title, address in drawn if address is not None)


def _evidence(record: RolloutRecord) -> str | None:
    began = record.rollout.began
    lines: dict[str, list[tuple[float, float]]] = {}
    thresholds: dict[str, float] = {}
    for look in record.looked:
        for each in look.look.findings:
            if each.guardrail in E_VALUES and math.isfinite(each.threshold):
                lines.setdefault(each.guardrail, []).append((look.now - began, each.observed))
                thresholds[each.guardrail] = each.threshold
    return rollout_plots.evidence_picture(lines, thresholds)


def _share(record: RolloutRecord) -> str | None:
    """Draw shares as planned and as they were in force at each look; copies of a shadow apart."""
    steps, began = record.course.steps, record.rollout.began
    planned, at = [], 0.0
    for step in steps:
        planned.append((at, 0.0 if step.kind is StepKind.SHADOW else step.share))
        at += step.bake_s
    live, copied, before = [(0.0, 0.0)], [(0.0, 0.0)], 0.0
    for look in record.looked:  # what a look found in force was so since the look before
        is_copied = look.step < len(steps) and steps[look.step].kind is StepKind.SHADOW
        live.append((before, 0.0 if is_copied else look.look.share))
        copied.append((before, look.look.share if is_copied else 0.0))
        before = look.now - began
    until_s = max(before, 1.0)
    if record.ended:
        live.append((until_s, record.rollout.share))
        copied.append((until_s, record.rollout.shadow))
    shadowed = any(share for _, share in copied)
    known = [each for each in planned if each[0] <= until_s]
    return rollout_plots.weight_picture(known, live, until_s=until_s, shadow=copied if shadowed else ())


def _plan(record: RolloutRecord) -> str | None:
    plan = record.course.plan
    told = [each.plan for each in record.looked if each.plan is not None]
    if plan is None:
        return None
    return rollout_plots.plan_picture(plan.fractions, design(plan).upper, [(each.fraction, each.z) for each in told])


def _latency(shown: Mapping[str, Json]) -> str | None:
    by_arm: dict[str, dict[str, float]] = {}
    for arm in (CHAMPION, CHALLENGER):
        told = within(within(dict(shown), arm), "latency_ms")
        if isinstance(told, Mapping):
            found = {f"p{100.0 * float(name):g}": number(value) for name, value in told.items()}
            by_arm[arm] = {name: value for name, value in found.items() if value is not None}
    return rollout_plots.latency_picture(by_arm)


def _shadow(shown: Mapping[str, Json]) -> str | None:
    pairs = within(dict(shown), "pairs")
    return rollout_plots.shadow_picture(number(within(pairs, "agreement_fraction")), slice_flips(pairs))


def slice_flips(pairs: Json) -> list[tuple[str, float]]:
    """Return each slice with the share of its pairs whose decisions differ, as they are ranked: the costliest first."""
    found = []
    for each in items(within(pairs, "flips_by_slice")):
        flips, of = number(within(each, "flips")), number(within(each, "pairs"))
        if flips is not None and of:
            found.append((f"{within(each, 'column')}={within(each, 'value')}", flips / of))
    return found
