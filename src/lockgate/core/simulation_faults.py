"""What goes wrong in the simulated world: which faults there are, how they are written, and when each holds. Pure.

    skew=COLUMN*FACTOR    a number column comes in another unit
    dead_labels           no label comes
    late_labels=SECONDS   labels come so much later
    wrong_labels=SHARE    this share of labels says something else
    stop                  no request comes
    burst=RATE            one client sends so many broken requests a second besides

Any of them may end in `@FROM` or `@FROM+FOR`, in seconds from the start: `stop@20+10`. Left out: from the start, to the
end. Several are joined by commas. What goes wrong with a *model* is rehearsed by drills, not here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lockgate.core.ids import Json
from lockgate.core.spec_sections.units import LONGEST_S
from lockgate.errors import BadInput


class FaultKind(StrEnum):
    """What may go wrong."""

    SKEW = "skew"
    DEAD_LABELS = "dead_labels"
    LATE_LABELS = "late_labels"
    WRONG_LABELS = "wrong_labels"
    STOP = "stop"
    BURST = "burst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault and when it holds.

    Attributes:
        kind: Which.
        value: Its size: the factor, the seconds, the share or the requests a second; 0 for a kind without one.
        column: Of a skew: which column.
        start_s: From the start of the simulation.
        end_s: Likewise; inf: it lasts.
    """

    kind: FaultKind
    value: float = 0.0
    column: str = ""
    start_s: float = 0.0
    end_s: float = math.inf

    def holds(self, at_s: float) -> bool:
        """Tell whether it holds at a time."""
        return self.start_s <= at_s < self.end_s


_FORMS: Mapping[FaultKind, str] = {
    FaultKind.SKEW: "skew=COLUMN*FACTOR",
    FaultKind.DEAD_LABELS: "dead_labels",
    FaultKind.LATE_LABELS: "late_labels=SECONDS",
    FaultKind.WRONG_LABELS: "wrong_labels=SHARE",
    FaultKind.STOP: "stop",
    FaultKind.BURST: "burst=RATE",
}
_BOUNDS: Mapping[FaultKind, tuple[Callable[[float], bool], str]] = {
    FaultKind.SKEW: (
        lambda value: value != 1.0 and abs(value) <= 1e6,
        "a factor other than 1 and at most 1e6, such as 1.609",
    ),
    FaultKind.LATE_LABELS: (lambda value: 0 < value <= LONGEST_S, f"seconds above 0, at most {LONGEST_S}"),
    FaultKind.WRONG_LABELS: (lambda value: 0 < value <= 1, "a share above 0, at most 1"),
    FaultKind.BURST: (lambda value: 0 < value <= 1000, "requests a second above 0, at most 1000"),
}


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Read faults as a person writes them.

    Raises:
        BadInput: One is none; says which, why, and what there is.

    >>> [(fault.kind.value, fault.value, fault.start_s, fault.end_s) for fault in parse_faults("stop@20+10,burst=50")]
    [('stop', 0.0, 20.0, 30.0), ('burst', 50.0, 0.0, inf)]
    """
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip())


def of_kind(faults: Sequence[Fault], kind: FaultKind, at_s: float) -> tuple[Fault, ...]:
    """Return the faults of a kind that hold at a time."""
    return tuple(fault for fault in faults if fault.kind is kind and fault.holds(at_s))


def skewed(row: Mapping[str, Json], faults: Sequence[Fault], at_s: float) -> Mapping[str, Json]:
    """Return a row as it is sent at a time: numbers of a skewed column in the other unit, everything else as it is.

    >>> skewed({"distance": 100, "carrier": "UA"}, parse_faults("skew=distance*1.5@10"), 12.0)
    {'distance': 150.0, 'carrier': 'UA'}
    """
    changed: dict[str, Json] = {}
    for fault in of_kind(faults, FaultKind.SKEW, at_s):
        before = changed.get(fault.column, row.get(fault.column))
        if isinstance(before, int | float) and not isinstance(before, bool):
            changed[fault.column] = before * fault.value
    return {**row, **changed} if changed else row


def _parse(text: str) -> Fault:
    what, at, when = text.partition("@")
    name, given, value = what.partition("=")
    if name not in list(FaultKind):
        raise _wrong(text, f"there is no fault {name!r}")
    kind = FaultKind(name)
    start_s, end_s = _window(text, when) if at else (0.0, math.inf)
    column, size = "", 0.0
    if kind in _BOUNDS:
        column, size = _size(text, kind, value)
    elif given:
        raise _wrong(text, f"{name} takes no value")
    return Fault(kind=kind, value=size, column=column, start_s=start_s, end_s=end_s)


def _size(text: str, kind: FaultKind, value: str) -> tuple[str, float]:
    column, star, factor = value.rpartition("*")
    if (kind is FaultKind.SKEW) != bool(star) or (star and not column):
        raise _wrong(text, f"write {_FORMS[kind]}")
    allowed, words = _BOUNDS[kind]
    size = _number(text, factor)
    if not allowed(size):
        raise _wrong(text, f"{factor} is not {words}")
    return column, size


def _window(text: str, when: str) -> tuple[float, float]:
    start, plus, length = when.partition("+")
    start_s = _number(text, start)
    for_s = _number(text, length) if plus else math.inf
    if start_s < 0 or for_s <= 0:
        raise _wrong(text, "it must begin at 0 s or later and last longer than 0 s")
    return start_s, start_s + for_s


def _number(text: str, given: str) -> float:
    try:
        number = float(given)
    except ValueError:
        raise _wrong(text, f"{given!r} is no number") from None
    if not math.isfinite(number):
        raise _wrong(text, f"{given} is not finite")
    return number


def _wrong(text: str, why: str) -> BadInput:
    forms = ", ".join(_FORMS.values())
    return BadInput(f"fault {text!r}: {why}. There are {forms}; each may end in @FROM or @FROM+FOR, in seconds")
