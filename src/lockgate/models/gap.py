"""The overfit gap with its uncertainty: by how much better a fit knows the rows it was fitted on.

    share(part)    loss of the fit on the part, over that of its own best constant (0: knows all, 1: nothing)
    gap            share(validation) - share(train)

The parts hold different blocks, so their errors are independent: the variances of the two shares, each by the jackknife
over its blocks, are added, and Student's t takes Welch and Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.ids import Json
from lockgate.core.intervals import CONFIDENCE, Estimate, block_interval, group_blocks, t_quantile
from lockgate.core.spec import ReleaseSpec
from lockgate.core.task_metrics import loss
from lockgate.models.frames import Rows
from lockgate.models.losses import constant_loss


def overfit_gap(parts: Mapping[str, Rows], answers: Mapping[str, NDArray[Any]], spec: ReleaseSpec) -> Json:
    """Return the gap, its interval and the blocks behind it; null where rows carry no block.

    Args:
        parts: `train` and `validation`.
        answers: The fit's answers to them.
        spec: The release's spec.

    Returns:
        `{estimate, low, high, se, blocks: {train, validation}}`; bounds are NaN with fewer than three blocks of a part.
    """
    found: dict[str, Estimate] = {}
    blocks: dict[str, Json] = {}
    for name in ("train", "validation"):
        block = parts[name].block
        if block is None or not len(block):
            return None
        found[name], count = _share(spec, parts[name], answers[name], block)
        blocks[name] = count
    return {**_difference(found, blocks).to_json(), "blocks": blocks}


def _share(spec: ReleaseSpec, rows: Rows, answers: NDArray[Any], block: NDArray[np.int64]) -> tuple[Estimate, int]:
    kind, classes = spec.task.kind, len(spec.task.classes)
    joined, blocks = group_blocks(block, int(block.max()) + 1)
    score = np.asarray(answers, dtype=np.float64)
    own = loss(kind, rows.label, score, block=joined, blocks=blocks)
    constant = constant_loss(kind, rows.label, rows.label, classes)
    scale = 1.0 / constant if constant else float("nan")
    return block_interval(lambda weights: own(weights) * scale, blocks), blocks


def _difference(found: Mapping[str, Estimate], blocks: Mapping[str, Json]) -> Estimate:
    value = found["validation"].value - found["train"].value
    variances = {name: each.se**2 for name, each in found.items()}
    total = sum(variances.values())
    se = float(np.sqrt(total))
    if not np.isfinite(se):
        return Estimate(value=value, low=float("nan"), high=float("nan"), se=float("nan"))
    if se == 0:
        return Estimate(value=value, low=value, high=value, se=0.0)
    spent = sum(variance**2 / (int(str(blocks[name])) - 1) for name, variance in variances.items())
    wide = t_quantile((1.0 + CONFIDENCE) / 2, total**2 / spent) * se
    return Estimate(value=value, low=value - wide, high=value + wide, se=se)
