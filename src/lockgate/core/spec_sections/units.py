"""The kinds of number and value that keys of a spec hold, each with its least and its greatest.

A number without an end is an overflow somewhere, or a wait that never ends: every one has bounds that are far from what
anybody means and far from where times and counts overflow.
"""

from __future__ import annotations

from typing import Annotated, Final

from annotated_types import Ge, Gt, Le

LONGEST_S: Final = 10 * 365 * 86_400
"""Ten years. Ours: longer than anything that is waited for, and no time overflows by it."""
GREATEST: Final = 1e15
"""Ours: sums of squares of such numbers are exact enough, and no money or measure of a row is greater."""

Fraction = Annotated[float, Ge(0), Le(1)]
Seconds = Annotated[float, Gt(0), Le(LONGEST_S)]
MaybeSeconds = Annotated[float, Ge(0), Le(LONGEST_S)]
Milliseconds = Annotated[float, Gt(0), Le(86_400_000)]  # a day
Days = Annotated[int, Gt(0), Le(36_500)]  # a hundred years: three such spans after one another are within pandas' time
Positive = Annotated[int, Gt(0), Le(1_000_000_000)]
Bytes = Annotated[int, Gt(0), Le(10**15)]  # far below where limits of a process overflow
Weight = Annotated[float, Gt(0), Le(1_000_000)]
Ratio = Annotated[float, Gt(0), Le(1_000_000)]
Amount = Annotated[float, Ge(0), Le(GREATEST)]
AboveZero = Annotated[float, Gt(0), Le(GREATEST)]
Signed = Annotated[float, Ge(-GREATEST), Le(GREATEST)]
Scalar = bool | int | float | str | None
