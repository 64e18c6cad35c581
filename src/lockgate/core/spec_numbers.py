"""Which numbers of a spec, as it was written, cannot be meant: without an end, or too great to be reckoned with.

What a key itself allows is checked by its type. Parameters of an estimator, and what a search may try, are free.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from lockgate.core.spec_sections.units import GREATEST

LARGEST_SPEC_BYTES: Final = 256 << 10  # ours: a spec is a page or two; more is a wrong file
_FREE = ("training.parameters", "training.search.space")


def endless(given: object) -> Iterator[tuple[str, str]]:
    """Yield the path of every number that is infinite or NaN, and what is wrong with it."""
    for path, value in _numbers(given):
        if not _finite(value):
            yield path, f"must be a finite number, without an end nothing could fail by it; got {value!r}"


def too_great(given: object) -> Iterator[tuple[str, str]]:
    """Yield the path of every number that no sum could hold, and what is allowed."""
    for path, value in _numbers(given):
        if not abs(value) <= GREATEST:
            yield path, f"must be between {-GREATEST:g} and {GREATEST:g}; got {value!r}"


def _finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)  # an int may be greater than any float


def _numbers(given: object, path: str = "") -> Iterator[tuple[str, float]]:
    if path in _FREE:
        return
    if isinstance(given, int | float) and not isinstance(given, bool):
        yield path, given
    elif isinstance(given, Mapping):
        for name, each in given.items():
            yield from _numbers(each, f"{path}.{name}" if path else str(name))
    elif isinstance(given, list):
        for place, each in enumerate(given):
            yield from _numbers(each, f"{path}.{place}")
