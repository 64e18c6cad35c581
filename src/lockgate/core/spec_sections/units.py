"""The kinds of number and value that keys of a spec hold."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le

Fraction = Annotated[float, Ge(0), Le(1)]
Seconds = Annotated[float, Gt(0)]
Positive = Annotated[int, Gt(0)]
Scalar = bool | int | float | str | None
