"""Judges answers by what was published: each must be by a bundle that was current at some instant of its request.

    publication k:   begin ────────── acknowledged
                       └ may answer from here ...        ... until k + 1 is acknowledged

An answer's value must be the one that its bundle gives to its own connection's row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.integration.saturation import Answer

TOLERANCE = 1e-5


class Publication(NamedTuple):
    """A change of the champion; times in seconds, monotonic.

    Attributes:
        digest: The champion from then on.
        begin: When it was asked for: nobody can be answered by it earlier.
        acknowledged: When the server said that it is served: nobody may be answered by the one before later.
    """

    digest: str
    begin: float
    acknowledged: float


def misrouted(
    answers: Sequence[Answer], published: Sequence[Publication], value: Callable[[str, int], float]
) -> Iterator[str]:
    """Yield what is wrong with answers.

    Args:
        answers: In any order.
        published: In the order of their sequence; the first one before any answer.
        value: The right answer by digest and connection.
    """
    windows = _windows(published)
    for each in answers:
        if each.status != 200:
            yield f"connection {each.connection} got {each.status}"
        elif not any(begin <= each.received and each.sent <= end for begin, end in windows.get(each.digest, ())):
            yield f"connection {each.connection}: bundle {each.digest[:8]} was not published between send and receipt"
        elif each.value is None or abs(each.value - value(each.digest, each.connection)) > TOLERANCE:
            yield f"connection {each.connection}: {each.value} is not what bundle {each.digest[:8]} says to its row"


def _windows(published: Sequence[Publication]) -> Mapping[str, list[tuple[float, float]]]:
    """Return when each bundle may have answered."""
    ends = [*(each.acknowledged for each in published[1:]), float("inf")]
    windows: dict[str, list[tuple[float, float]]] = {}
    for each, end in zip(published, ends, strict=True):
        windows.setdefault(each.digest, []).append((each.begin, end))
    return windows
