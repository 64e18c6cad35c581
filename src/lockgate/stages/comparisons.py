"""Section `tests`: what two textbook tests say of challenger against champion, beside the comparison by block.

    champion    digest; null where there is none that was scored, and then `reason` says why and nothing else is there
    word        what these tests leave out, in one sentence
    n, blocks
    mcnemar     classes: {challenger_only_right, champion_only_right, p_value, accuracy_gain}; regression: null
    delong      binary: {challenger, champion, gain, se, low, high, p_value, block_se, design_effect}; else null

`design_effect` is the variance of the AUC gain by block over DeLong's: above 1, rows of one block hang together, and
DeLong is surer than it may be by that factor.
"""

from __future__ import annotations

import numpy as np

from lockgate.core.block_statistics import auc
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.intervals import block_interval, rounded
from lockgate.core.paired_tests import delong, mcnemar
from lockgate.core.spec import ReleaseSpec
from lockgate.stages.deciding import decided_for
from lockgate.stages.examination import Examination
from lockgate.stages.sampling import Comparison

WORD = (
    "McNemar and DeLong take every row as independent; rows of one block are not, so both are surer than they may be. "
    "The comparison by block decides."
)
_NORMAL_95 = 1.959963984540054  # 97.5 % point of the normal distribution


def tests_section(examination: Examination) -> dict[str, Json]:
    """Return the section `tests`."""
    comparison, scored = examination.comparison, examination.scores.champion
    if scored is None:
        return {"champion": None, "reason": "there is no champion to compare with"}
    if comparison is None:
        return {"champion": None, "reason": f"the champion was not scored: {scored.unscored_because}"}
    return {
        "champion": scored.bundle,
        "word": WORD,
        "n": len(comparison.sample.y),
        "blocks": comparison.sample.blocks,
        "mcnemar": _mcnemar(examination.spec, comparison, examination.scores.threshold),
        "delong": _delong(examination.spec, comparison),
    }


def _mcnemar(spec: ReleaseSpec, comparison: Comparison, threshold: float | None) -> Json:
    sample = comparison.sample
    if spec.task.kind is TaskKind.REGRESSION or not len(sample.y):
        return None
    ours = decided_for(spec, sample.score, threshold) == sample.y
    theirs = decided_for(spec, comparison.champion, comparison.threshold) == sample.y
    found = mcnemar(ours, theirs)
    return {
        "challenger_only_right": found.only_first,
        "champion_only_right": found.only_second,
        "p_value": rounded(found.p_value),
        "accuracy_gain": rounded((found.only_first - found.only_second) / len(sample.y)),
    }


def _delong(spec: ReleaseSpec, comparison: Comparison) -> Json:
    sample = comparison.sample
    if spec.task.kind is not TaskKind.BINARY:
        return None
    y = sample.y.astype(np.int64)
    found = delong(y, sample.score, comparison.champion)
    if found is None:
        return None
    ours, theirs = (auc(y, score, sample.block, sample.blocks) for score in (sample.score, comparison.champion))
    by_block = block_interval(lambda weights: ours(weights) - theirs(weights), sample.blocks).se
    gain = found.first - found.second
    effect = (by_block / found.se) ** 2 if found.se > 0 and np.isfinite(by_block) else None
    return {
        "challenger": rounded(found.first),
        "champion": rounded(found.second),
        "gain": rounded(gain),
        "se": rounded(found.se),
        "low": rounded(gain - _NORMAL_95 * found.se),
        "high": rounded(gain + _NORMAL_95 * found.se),
        "p_value": rounded(found.p_value),
        "block_se": rounded(by_block),
        "design_effect": None if effect is None else rounded(effect),
    }
