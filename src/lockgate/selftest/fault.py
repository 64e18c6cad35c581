"""What a known-bad candidate is: where it enters, how large it is, and which gate must stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from lockgate.core.ids import Stage
from lockgate.core.spec import ReleaseSpec
from lockgate.core.verdict import Verdict
from lockgate.selftest.world import Candidate

SEED = 20130101
"""Draws everything that a fault draws; fixed, so that a fault is the same candidate every time."""


class Size(StrEnum):
    """How large a fault is, as a share of its full amount. Fixed before any threshold was looked at."""

    FULL = "full"
    HALF = "half"
    QUARTER = "quarter"

    @property
    def share(self) -> float:
        """The share of the full amount."""
        return {Size.FULL: 1.0, Size.HALF: 0.5, Size.QUARTER: 0.25}[self]


class Entry(Protocol):
    """Where a fault enters."""

    @property
    def before(self) -> Stage:
        """The first stage that sees it."""
        ...

    def enter(self, candidate: Candidate, amount: float) -> Candidate:
        """Put the fault of this amount into a clean candidate, and return the bad one."""
        ...


@dataclass(frozen=True, slots=True)
class By:
    """A gate that may rightly stop a fault.

    Attributes:
        gate: Its name.
        checks: The checks that may say so; empty: any.
    """

    gate: str
    checks: tuple[str, ...] = ()


def always(spec: ReleaseSpec) -> str | None:  # noqa: ARG001 - the form of `Fault.needs`
    """Return None: the fault can be made of any spec."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One known-bad candidate.

    Attributes:
        name: Its name, in snake_case.
        story: What went wrong, in a few words.
        by: The gates that may rightly stop it, the named one first.
        entry: Where it enters, and how.
        amount: How large it is at full size.
        unit: What the amount counts.
        needs: Says why the fault cannot be made of a spec; None when it can.
        verdicts: What counts as stopped. INCONCLUSIVE only where too little to say is the fault itself; ERROR only
            where the program must refuse to measure at all.
        grows: False where a smaller fault has the larger amount: the amount is then divided by the share.
    """

    name: str
    story: str
    by: tuple[By, ...]
    entry: Entry
    amount: float
    unit: str
    needs: Callable[[ReleaseSpec], str | None] = always
    verdicts: tuple[Verdict, ...] = (Verdict.FAIL,)
    grows: bool = True

    def amount_at(self, size: Size) -> float:
        """Return how large the fault is at a size."""
        return self.amount * size.share if self.grows else self.amount / size.share
