"""The answer that stands behind every arm: fixed outputs that the routing names, under an arm of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from lockgate.core.ids import Json
from lockgate.serving.model.dataplane import Answer, Output
from lockgate.serving.routing.router import Arm

CONSTANT: Final = "constant"


def constant_arm(failed: Arm) -> Arm:
    """Return the arm under which the constant answers for one that failed; no model is counted by it."""
    headers = tuple((name, CONSTANT.encode() if name == b"x-lockgate-arm" else value) for name, value in failed.headers)
    return replace(failed, name=CONSTANT, weight=0.0, headers=headers, tags=())


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
