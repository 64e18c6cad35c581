"""What a spec asks of a promotion beside plan and guardrails, checked before the start: sub-populations and days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lockgate.core.rollout.step_list import Step, StepKind, refusal
from lockgate.core.spec_sections.rollout import Metric, RolloutSection
from lockgate.core.spec_sections.rollout_conditions import StabilitySection, SubpopulationSection

POPULATION: Final = "population:"
STABILITY: Final = "stability"
MOST_STRATA: Final = 900
"""Shares times days that can be told apart. Ours: a tally has a thousand strata (`tally_strata`)."""


def population_name(column: str) -> str:
    """Return what the sub-populations of a column are called among guardrails.

    >>> population_name("carrier")
    'population:carrier'
    """
    return f"{POPULATION}{column}"


def population_weights(section: RolloutSection) -> dict[str, float]:
    """Return the weights of the sub-populations' guardrails.

    Raises:
        ConfigError: They cannot be told apart; names the key.
    """
    weights: dict[str, float] = {}
    for index, each in enumerate(section.subpopulations):
        key, name = f"rollout.subpopulations[{index}]", population_name(each.column)
        if name in weights:
            raise refusal(f"{key}.column", f"is {each.column}, as another's; give each column once")
        _refuse_muddled(key, each)
        weights[name] = each.weight
    return weights


def stability_of(
    section: RolloutSection, steps: Sequence[Step], metric: Metric | None, max_duration_s: float
) -> StabilitySection | None:
    """Return how alike the days must be; None where the spec does not ask for it.

    Raises:
        ConfigError: The rollout cannot tell its days apart, or is over before there are enough; names the key.
    """
    asked, key = section.stability, "rollout.stability"
    if asked is None:
        return None
    shares = {step.share for step in steps if step.kind is StepKind.WEIGHT}
    if not shares or any(step.kind is StepKind.ADAPT for step in steps):
        raise refusal(key, "compares days of entities that met one arm or the other at fixed shares; use a_b or canary")
    if metric is Metric.DISAGREEMENT:
        raise refusal(key, "is about the plan's metric, and disagreement is known of shadow steps alone; use errors")
    if max_duration_s < (asked.days + 1) * asked.day_s:
        told = f"is {asked.days} whole days, and the rollout ends after {max_duration_s / asked.day_s:.3g}"
        raise refusal(f"{key}.days", f"{told}; raise rollout.max_duration_s to {asked.days + 1} days or more")
    if len(shares) * (max_duration_s / asked.day_s + 2) > MOST_STRATA:
        raise refusal(f"{key}.day_s", f"is {asked.day_s:g}, and so many days cannot be told apart; lengthen it")
    return asked


def _refuse_muddled(key: str, section: SubpopulationSection) -> None:
    if section.values is not None and section.edges is not None:
        raise refusal(key, "has values and edges; give one of them")
    if section.values is not None and (not section.values or len(set(section.values)) < len(section.values)):
        raise refusal(f"{key}.values", f"is {list(section.values)}; name at least one, each once, or leave it out")
    edges = section.edges
    if edges is not None and (not edges or list(edges) != sorted(set(edges))):
        raise refusal(f"{key}.edges", f"is {list(edges)}; ranges ascend, each once; or leave it out")
    if edges is not None and len({f"{each:g}" for each in edges}) < len(edges):
        raise refusal(
            f"{key}.edges", f"is {list(edges)}; populations are named by six digits, which must tell them apart"
        )
