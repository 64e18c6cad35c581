"""The answer that stands behind every arm: fixed outputs that the routing names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lockgate.core.ids import Json
from lockgate.serving.dataplane import Answer, Output


def constant_answer(outputs: Mapping[str, Json], rows: int) -> Answer:
    """Return the constant as the answer to so many rows.

    Args:
        outputs: What one row is answered, by output name; was held against the contract when it was put in place.
        rows: How many rows were asked.
    """
    named: dict[str, Output] = {}
    for name, value in outputs.items():
        named[name] = [value] * rows if isinstance(value, str) else np.array([value] * rows, np.float32)
    return Answer(named, rows, ())
