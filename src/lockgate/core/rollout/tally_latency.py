"""Latencies while they come: blocks of time that close and are folded, and a histogram for the page.

A block closes when the log's own time passes its end by `SLACK_S`; what comes later is counted as late, nowhere else.
Then the champion's order statistic at `latency_blocks.line_rank`, times the tolerated ratio and at least the tolerated
milliseconds more, is the line. A failed request has no latency here: how long it took to fail is no answer's. A copy
has one where `Course.times_copies` says so, in the block in which the later of it and its live answer came.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from lockgate.core.ids import Json
from lockgate.core.online.latency_blocks import Block, Blocks, folded, line_rank
from lockgate.core.spec_sections.rollout import LatencyGuardrail

SLACK_S: Final = 5.0
"""Ours: a server writes its log within half a second, and its workers' clocks are one."""
MAX_A_BLOCK: Final = 100_000
"""Latencies of one arm that a block keeps, the first ones; ours: 3,000 a second for half a minute."""
_STEPS: Final = 8  # of the histogram, an octave: a bin is an eighth of its power of two wide
_BINS: Final = 48 * _STEPS


class OpenBlocks:
    """Blocks that have not closed, and what the closed ones came to.

    Attributes:
        counted: Closed blocks, folded.
        late: Latencies that came after their block had closed, or were too many for it.
    """

    def __init__(self, section: LatencyGuardrail) -> None:
        self.counted = Blocks(quantile=section.quantile)
        self.late = 0
        self.next_close = float("-inf")
        self._section = section
        self._open: dict[int, tuple[list[int], list[int]]] = {}
        self._closed = -1  # blocks below this index take nothing more

    def add(self, arm: int, time: float, latency_us: int) -> None:
        """Take up a latency; arm 1 is the challenger."""
        index = int(time // self._section.block_s)
        block = self._open.get(index)
        if block is None:
            if index < self._closed:
                self.late += 1
                return
            block = self._open[index] = ([], [])
        if len(block[arm]) < MAX_A_BLOCK:
            block[arm].append(latency_us)
        else:
            self.late += 1

    def close(self, time: float) -> None:
        """Close what ended `SLACK_S` before a time of the log."""
        self._closed = max(self._closed, int((time - SLACK_S) // self._section.block_s))
        self.next_close = (self._closed + 1) * self._section.block_s + SLACK_S
        for index in sorted(each for each in self._open if each < self._closed):
            champion, challenger = self._open.pop(index)
            self._fold(sorted(champion), challenger)

    def _fold(self, champion: Sequence[int], challenger: Sequence[int]) -> None:
        if not champion:
            return
        at = champion[line_rank(len(champion), self._section.quantile) - 1]
        line = max(at * self._section.tolerated_ratio, at + 1000.0 * self._section.tolerated_ms)
        over = sum(each > line for each in challenger)
        block = Block(challenger=len(challenger), champion=len(champion), over=over)
        whole = self.counted
        self.counted = folded(
            Blocks(quantile=whole.quantile, blocks=(block,), pluses=whole.pluses, minuses=whole.minuses)
        )

    def state(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "signs": [self.counted.pluses, self.counted.minuses],
            "open": [[index, champion, challenger] for index, (champion, challenger) in self._open.items()],
            "closed": self._closed,
            "late": self.late,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        pluses, minuses = state["signs"]
        self.counted = Blocks(quantile=self._section.quantile, pluses=pluses, minuses=minuses)
        self._open = {index: (champion, challenger) for index, champion, challenger in state["open"]}
        self._closed, self.late = state["closed"], state["late"]
        self.next_close = (self._closed + 1) * self._section.block_s + SLACK_S if self._closed >= 0 else float("-inf")


class Histogram:
    """Latencies of one arm in bins an eighth of an octave wide: quantiles for a page, to 6 %."""

    def __init__(self, bins: Sequence[int] = ()) -> None:
        self.bins = list(bins) or [0] * _BINS

    def add(self, latency_us: int) -> None:
        """Take up a latency."""
        length = latency_us.bit_length()
        low = length * _STEPS + (latency_us >> (length - 4) & 7) if length > 3 else 3 * _STEPS + max(latency_us, 0)
        self.bins[low if low < _BINS else _BINS - 1] += 1

    def quantiles_ms(self, quantiles: Iterable[float]) -> list[float | None]:
        """Return quantiles in milliseconds, each the middle of its bin; None without latencies.

        >>> some = Histogram()
        >>> for latency_us in (1000, 1000, 1000, 9000): some.add(latency_us)
        >>> some.quantiles_ms((0.5, 0.99))  # bins 960..1024 and 8192..9216
        [0.992, 8.704]
        """
        passed = list(accumulate(self.bins))
        return [_at_ms(passed, quantile) if passed[-1] else None for quantile in quantiles]


def _at_ms(passed: Sequence[int], quantile: float) -> float:
    length, step = divmod(bisect_left(passed, max(quantile * passed[-1], 1)), _STEPS)
    return (2.0 ** (length - 4) * (_STEPS + step + 0.5) if length > 3 else float(step)) / 1000.0
