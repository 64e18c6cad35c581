"""The course of a drill: the model's own guardrails over one step that is held until they speak, and never promoted.

What differs from the model's own rollout, and why: one step (the fault is there at once), looks every half second and
short blocks of latency (a drill has seconds), no numbers of the business for a shadow (nobody sees its answers), a plan
that nothing can fulfil in time. Errors of guardrails, what they tolerate and the lease are the model's.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from lockgate.core.drills import Fault, Mode
from lockgate.core.online import failures, latency_blocks
from lockgate.core.online.failures import FailureCounts, StepFailures
from lockgate.core.online.latency_blocks import FEWEST_REQUESTS, Blocks
from lockgate.core.rollout.steps import Course, course_of
from lockgate.core.rollout.tally_latency import SLACK_S
from lockgate.core.spec_sections.rollout import PlanSection, RolloutSection, RolloutStrategy, StepSection
from lockgate.errors import BadInput

SHARE: Final = 0.5
"""Share of the rows that a fault hits. Ours: plain enough to be seen in seconds at a few requests a second."""
LOOK_S: Final = 0.5
LOG_DELAY_S: Final = 1.0  # an answer is in the log within half a second, and is read at most half a second later
BLOCK_S: Final = 0.25  # ours: nine blocks in a row show harm, and a drill has ten seconds
_SCORES: Final = 150  # ours: enough pairs to tell a mean that is 0.22 off at the least from one that is 0.1 off
_MARGIN: Final = 1e-4  # of the plan: so small that no drill ever has the requests to show it
_MANY: Final = 10_000


def drill_section(section: RolloutSection, fault: Fault, mode: Mode, requests_per_s: float) -> RolloutSection:
    """Return the rollout that a drill carries out.

    Args:
        section: The model's.
        fault: What is planted.
        mode: Where.
        requests_per_s: The model's traffic.

    Raises:
        BadInput: No guardrail of the model looks at what the fault changes, or its spec keeps faults out of production.
    """
    guardrails, drill = section.guardrails, section.drill
    watching = {Fault.LATENCY: guardrails.latency, Fault.WRONG: guardrails.score}.get(fault, guardrails.errors)
    if watching is None:
        key = f"rollout.guardrails.{'latency' if fault is Fault.LATENCY else 'score'}"
        raise BadInput(f"nothing in the spec watches for fault {fault.value}; declare {key}, or drill another fault")
    if mode is Mode.PRODUCTION and not drill.production:
        raise BadInput(
            "the spec keeps planted faults out of production: rollout.drill.production is false; drill without "
            "--production, or set it"
        )
    if guardrails.latency is not None:
        block_s = max(BLOCK_S, 2 * FEWEST_REQUESTS / max(requests_per_s * share_of(section, mode), 1e-9))
        latency = replace(guardrails.latency, block_s=min(block_s, guardrails.latency.block_s))
        guardrails = replace(guardrails, latency=latency)
    watched_s = 2.0 * drill.restored_within_s
    is_shadow = mode is Mode.SHADOW
    return replace(
        section,
        strategy=RolloutStrategy.SHADOW if is_shadow else RolloutStrategy.CANARY,
        steps=(
            StepSection(
                shadow=1.0 if is_shadow else None, set_weight=None if is_shadow else drill.weight, bake_s=watched_s
            ),
        ),
        guardrails=replace(
            guardrails,
            kpi=() if is_shadow else guardrails.kpi,
            patience=math.ceil(drill.restored_within_s / LOOK_S),  # few requests between two looks are no silence
        ),
        plan=PlanSection(margin=_MARGIN),
        stability=None,  # it takes a minute and promotes nothing
        look_s=LOOK_S,
        max_duration_s=watched_s + LOOK_S,
    )


def drill_course(section: RolloutSection) -> Course:
    """Return the course of what `drill_section` gave."""
    return course_of(section, sd=None, times_copies=True)


def share_of(section: RolloutSection, mode: Mode) -> float:
    """Return the share of requests that the faulty copy answers, seen or not."""
    return 1.0 if mode is Mode.SHADOW else section.drill.weight


def seen_after_s(section: RolloutSection, fault: Fault, mode: Mode, requests_per_s: float) -> float:
    """Return in how many seconds the fault should be seen; inf without traffic.

    Args:
        section: From `drill_section`.
        fault: What is planted.
        mode: Where.
        requests_per_s: The traffic.
    """
    alpha = drill_course(section).guardrails
    challenger = requests_per_s * share_of(section, mode)
    if challenger <= 0:
        return math.inf
    if fault is Fault.ERRORS:
        split = 0.5 if mode is Mode.SHADOW else section.drill.weight
        return _failures_needed(split, alpha["errors"]) / (SHARE * challenger) + LOG_DELAY_S
    if fault is Fault.LATENCY and section.guardrails.latency is not None:
        blocks_s = _blocks_needed(alpha["latency"]) * section.guardrails.latency.block_s
        return blocks_s + SLACK_S + LOG_DELAY_S
    return _SCORES / challenger + LOG_DELAY_S


def _failures_needed(share: float, alpha: float) -> int:
    """Return how many first failures, all of the challenger, show harm."""

    def shows(count: int) -> bool:
        step = StepFailures(share=share, challenger=count, champion=0)
        return failures.log_e(FailureCounts(steps=(step,))) >= math.log(1.0 / alpha)

    return next((count for count in range(1, _MANY) if shows(count)), _MANY)


def _blocks_needed(alpha: float) -> int:
    """Return how many slow blocks in a row show harm."""

    def shows(count: int) -> bool:
        return latency_blocks.log_e(Blocks(quantile=0.5, pluses=count)) >= math.log(1.0 / alpha)

    return next((count for count in range(1, _MANY) if shows(count)), _MANY)
