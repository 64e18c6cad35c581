"""When several challengers may be beside one champion at once, as the spec's `rollout` allows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lockgate.core.rollout.step_list import refusal
from lockgate.core.spec_sections.rollout import RolloutSection, RolloutStrategy

AT_MOST: Final = 7
"""Challengers beside one champion: a server holds eight arms, every one of them a model in memory."""


def refuse_unless_split(section: RolloutSection, many: int) -> None:
    """Refuse several challengers where they cannot be compared.

    Raises:
        ConfigError: The strategy is no fixed split, a step is a shadow, or there are too many; names the key.
    """
    for key, what in _refusals(section, many):
        raise refusal(key, what)


def _refusals(section: RolloutSection, many: int) -> Iterator[tuple[str, str]]:
    if section.strategy is not RolloutStrategy.A_B:
        told = "and several challengers at once are compared by a fixed split; choose a_b, or roll out one at a time"
        yield "rollout.strategy", f"is {section.strategy.value}, {told}"
    for index, step in enumerate(section.steps):
        if step.shadow is not None:
            told = "copies requests to one challenger, and there are several at once; leave it out"
            yield f"rollout.steps[{index}].shadow", told
    if not 2 <= many <= AT_MOST:
        yield "rollout.challengers", f"would be {many}; at once there may be 2 to {AT_MOST}"
