"""Numbers of the business, from files of JSON lines that others append to: {"time", "entity", "value"}."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec

from lockgate.adapters.traffic_tail import Budget
from lockgate.core.rollout.observations import KpiSeen

NOWHERE: Final = (0, 0)


class _Kpi(msgspec.Struct, gc=False):
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    entity: str | int
    value: float


_KPI: Final = msgspec.json.Decoder(_Kpi)


@dataclass(slots=True)
class Numbers:
    """What one reading of a file gave.

    Attributes:
        place: Where to read on: inode, and bytes that were read.
        kpis: The numbers.
        lost: Lines that are none.
        behind: Whether there may be more.
    """

    place: tuple[int, int]
    kpis: list[KpiSeen] = field(default_factory=list)
    lost: int = 0
    behind: bool = False


def read_numbers(name: str, path: Path, place: tuple[int, int], budget: Budget) -> Numbers:
    """Read a file on; one that was replaced, or is shorter than before, from its start.

    Args:
        name: What the number is called.
        path: The file; none yet is one without lines.
        place: Where to read on.
        budget: What may be read.

    Raises:
        OSError: It cannot be read.
    """
    found = Numbers(place)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return found
    with file:
        told = os.fstat(file.fileno())
        offset = place[1] if told.st_ino == place[0] and told.st_size >= place[1] else 0
        file.seek(offset)
        for line in file:
            found.behind = budget.is_spent()
            if found.behind or not line.endswith(b"\n"):
                break
            offset += len(line)
            budget.take(len(line))
            number = _read(name, line)
            if number is None:
                found.lost += 1
            else:
                found.kpis.append(number)
        found.place = told.st_ino, offset
    return found


def numbers_end(path: Path) -> tuple[int, int]:
    """Return the place behind the last whole line that a file has now.

    Raises:
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            end = sum(len(line) for line in file if line.endswith(b"\n"))
            return os.fstat(file.fileno()).st_ino, end
    except FileNotFoundError:
        return NOWHERE


def _read(name: str, line: bytes) -> KpiSeen | None:
    try:
        read = _KPI.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return KpiSeen(name=name, time=read.time.timestamp(), entity=str(read.entity), value=read.value)
