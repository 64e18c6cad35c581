"""Parameters that a family takes: a name, a range, and the reason where one is refused.

Only parameters under which the conversion was measured to be faithful are taken (`tests/contract/test_trainers.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockgate.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number within a range, both ends included.

    Attributes:
        lowest: Smallest allowed.
        highest: Largest allowed.
        whole: Whether it must be an integer.
    """

    lowest: float
    highest: float = math.inf
    whole: bool = False

    def allows(self, value: object) -> bool:
        """Tell whether a value is allowed."""
        kinds = (int,) if self.whole else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and self.lowest <= value <= self.highest

    def __str__(self) -> str:
        return f"{'a whole number' if self.whole else 'a number'} from {self.lowest:g} to {self.highest:g}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some values."""

    values: tuple[object, ...]

    def allows(self, value: object) -> bool:
        """Tell whether a value is allowed."""
        return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.values)

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.values))}"


def check_parameters(
    given: Mapping[str, Any], allowed: Mapping[str, Number | OneOf], refused: Mapping[str, str], *, family: str
) -> None:
    """Refuse a parameter that is not allowed.

    Args:
        given: Name to value.
        allowed: Name to range.
        refused: Name to the reason, for parameters that exist and cannot be taken.
        family: Named in the message.

    Raises:
        ConfigError: Says which parameter, why, and what is allowed.
    """
    for name, value in given.items():
        if name in refused:
            raise ConfigError(f"training.parameters.{name} is not taken by {family}: {refused[name]}")
        if name not in allowed:
            raise ConfigError(
                f"training.parameters.{name} is no parameter of {family}; allowed: {', '.join(sorted(allowed))}"
            )
        if not allowed[name].allows(value):
            raise ConfigError(f"training.parameters.{name} is {value!r}; it must be {allowed[name]}")
