"""Numbers of the business: an entity's first one after it was first seen, in the step and arm it was first seen in.

"After" is told in whole seconds, which is what is remembered of an entity. A number whose entity the log has not given
yet waits, in bounded number, and counts if it turns out to be later than that.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lockgate.core.ids import Json
from lockgate.core.rollout.observations import KpiSeen
from lockgate.core.rollout.tally_entities import KPI_SHIFT, MAX_KPIS, TIME_SHIFT
from lockgate.core.spec_sections.rollout import KpiGuardrail
from lockgate.errors import ConfigError

MAX_EARLY: Final = 20_000
"""Entities whose numbers wait for the log; ours: seconds of traffic."""
_MOST_WAITING: Final = 8  # numbers of one entity that wait


def value_name(kpi: str) -> str:
    """Return what a business number is called among guardrails and values.

    >>> value_name("bookings")
    'kpi:bookings'
    """
    return f"kpi:{kpi}"


class Kpis:
    """Which numbers there are, and those that wait for their entity.

    Attributes:
        names: As declared, in order; an entity's state has a bit for each.
        unknown: Numbers of a name that was not declared, or that are none.
        early: Numbers by entity's key: name, time, value.
    """

    def __init__(self, declared: Sequence[KpiGuardrail]) -> None:
        if len(declared) > MAX_KPIS:
            told = f"rollout.guardrails.kpi names {len(declared)} metrics; at most {MAX_KPIS} can be followed"
            raise ConfigError(f"{told}, leave out the others", key="rollout.guardrails.kpi")
        self.names = tuple(each.name for each in declared)
        self.unknown = 0
        self.early: OrderedDict[bytes, list[tuple[str, float, float]]] = OrderedDict()

    def known(self, seen: KpiSeen) -> bool:
        """Tell whether a number is one of those declared and finite; count it otherwise."""
        found = seen.name in self.names and math.isfinite(seen.value)
        self.unknown += not found
        return found

    def keep(self, key: bytes, seen: KpiSeen) -> None:
        """Let a number wait for its entity."""
        waiting = self.early.setdefault(key, [])
        if len(waiting) < _MOST_WAITING:
            waiting.append((seen.name, seen.time, seen.value))
        if len(self.early) > MAX_EARLY:
            self.early.popitem(last=False)

    def counts(self, state: int, name: str, time: float, origin: float) -> int | None:
        """Return an entity's state once this number has counted; None where it does not count.

        Args:
            state: The entity's, who has been seen.
            name: Of the number.
            time: When it came about.
            origin: What seconds of states count from.
        """
        bit = 1 << KPI_SHIFT + self.names.index(name)
        return None if state & bit or time < origin + (state >> TIME_SHIFT) else state | bit

    def state(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {"unknown": self.unknown, "early": {key.hex(): told for key, told in self.early.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.unknown = state["unknown"]
        self.early = OrderedDict(
            (bytes.fromhex(key), [(name, time, value) for name, time, value in told])
            for key, told in state["early"].items()
        )
