"""What one fault did to the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.integration.saturation import Answer


@dataclass(slots=True)
class Finding:
    """What one fault did.

    Attributes:
        fault: What was done to the server.
        problems: What it should not have done; empty where it held.
        figures: What was measured, by name with its unit.
    """

    fault: str
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float | str] = field(default_factory=dict)

    def expect(self, true: object, otherwise: str) -> None:
        """Note a problem where something does not hold."""
        if not true:
            self.problems.append(otherwise)

    def add_latencies(self, answers: Sequence[Answer], whose: str = "answer") -> None:
        """Note how many answers there were and how long they took."""
        took = sorted(each.received - each.sent for each in answers)
        self.figures[f"{whose}s"] = len(took)
        if took:
            self.figures[f"{whose} p50 ms"] = round(took[len(took) // 2] * 1e3, 2)
            self.figures[f"{whose} p99 ms"] = round(took[len(took) * 99 // 100] * 1e3, 2)
            self.figures[f"{whose} max ms"] = round(took[-1] * 1e3, 1)
