r"""Latency by blocks of time: is the challenger's 95th or 99th percentile worse, whatever follows upon what?

Requests that follow each other share a machine, a cache and a burst: they are not independent, blocks of time (a
minute) nearly are. In each block the champion's order statistic at the quantile, times the ratio that is tolerated, is
the line; the block is a *plus* if more of the challenger's n requests lie above it than the median number if both were
alike. That number follows the negative hypergeometric law whatever the latencies look like, so a plus has chance at
most 1/2, and less when requests clump. The e-process over blocks bets on pluses:

    E = sum_j w_j prod_blocks 2 pi_j or 2 (1 - pi_j),   pi in `CHANCES`

Source: Ville 1939; Wilks 1942 (exceedances of an order statistic).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

CHANCES = (0.6, 0.7, 0.8, 0.9, 0.98)
"""Chances of a plus that are bet on, with equal weights. Ours: at 1/alpha = 100 nine pluses in a row are enough."""
FEWEST_REQUESTS = 5
"""Requests that either arm needs in a block. Ours: below, one request decides it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of time.

    Attributes:
        challenger: Its requests.
        champion: The champion's requests.
        over: Requests of the challenger above the line: the champion's order statistic at `line_rank`, times the
            tolerated ratio.
    """

    challenger: int
    champion: int
    over: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The sufficient statistic.

    Attributes:
        quantile: Which one, in 0..1.
        blocks: In any order; empty ones may be left out.
        pluses: Blocks of earlier looks that were a plus, see `folded`.
        minuses: Blocks of earlier looks that were not.
    """

    quantile: float
    blocks: tuple[Block, ...] = ()
    pluses: int = 0
    minuses: int = 0


def line_rank(champion: int, quantile: float) -> int:
    """Return which of the champion's sorted latencies in a block is the line, counting from 1.

    >>> line_rank(270, 0.95), line_rank(10, 0.99)  # the smallest that at least 95 % are not above: 256.5
    (257, 10)
    """
    return min(max(math.ceil(champion * quantile), 1), champion)


def is_plus(block: Block, quantile: float) -> bool | None:
    """Tell whether more of the challenger's requests lie above the line than would in half of all blocks.

    Returns:
        None where either arm has fewer than `FEWEST_REQUESTS`.

    Source: Wilks 1942: of n further values, k exceed the r-th of N with chance
    C(k + N - r, k) C(n - k + r - 1, n - k) / C(n + N, n).

    >>> [is_plus(Block(challenger=30, champion=270, over=over), 0.95) for over in (1, 2)]
    [False, True]
    >>> is_plus(Block(challenger=2, champion=270, over=2), 0.95) is None
    True
    """
    if min(block.challenger, block.champion) < FEWEST_REQUESTS:
        return None
    return block.over > _median_over(block.challenger, block.champion, line_rank(block.champion, quantile))


def log_e(counts: Blocks) -> float:
    """Return the natural logarithm of the e-value against "the challenger's quantile is at most the tolerated ratio".

    Args:
        counts: Exceedances by block.

    Returns:
        0 without a block that tells; NaN where counts or quantile are impossible.

    Source: the module's docstring.

    >>> slow = Block(challenger=30, champion=270, over=9)
    >>> round(math.exp(log_e(Blocks(quantile=0.95, blocks=(slow,)))), 4)  # 2 * (.6 + .7 + .8 + .9 + .98) / 5
    1.592
    """
    if not _sound(counts):
        return math.nan
    whole = folded(counts)
    pluses, minuses = whole.pluses, whole.minuses
    logs = [pluses * math.log(2.0 * chance) + minuses * math.log(2.0 * (1.0 - chance)) for chance in CHANCES]
    top = max(logs)
    return top + math.log(math.fsum(math.exp(each - top) for each in logs) / len(CHANCES))


def folded(counts: Blocks) -> Blocks:
    """Return the same evidence with its blocks as two counts, so that a record of a thousand looks stays small.

    Impossible blocks are kept as they are, so that `log_e` stays NaN.

    >>> slow, few = Block(challenger=30, champion=270, over=9), Block(challenger=2, champion=270, over=2)
    >>> folded(Blocks(quantile=0.95, blocks=(slow, slow, few), minuses=4))
    Blocks(quantile=0.95, blocks=(), pluses=2, minuses=4)
    """
    if not _sound(counts):
        return counts
    signs = [is_plus(block, counts.quantile) for block in counts.blocks]
    pluses, minuses = counts.pluses + signs.count(True), counts.minuses + signs.count(False)
    return replace(counts, blocks=(), pluses=pluses, minuses=minuses)


def _sound(counts: Blocks) -> bool:
    possible = all(0 <= block.over <= block.challenger and block.champion >= 0 for block in counts.blocks)
    return possible and 0 < counts.quantile < 1 and min(counts.pluses, counts.minuses) >= 0


def _median_over(n: int, champion: int, rank: int) -> int:
    """Return the least c with P(more than c of n exceed the rank-th of the champion's) at most 1/2."""
    whole = _log_choose(n + champion, n)
    below = 0.0
    for k in range(n + 1):
        below += math.exp(_log_choose(k + champion - rank, k) + _log_choose(n - k + rank - 1, n - k) - whole)
        if below >= 0.5 - 1e-12:
            return k
    return n


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
