"""Two answers to one request: the live one and the copy's, joined while both are remembered, and how far they agree.

A *pair* is a live answer of the champion, met while nothing else was in force, and the challenger's to a copy of the
same request. Whichever is read first waits in a window of bounded number; what falls out of it was no pair.

A *flip* is a pair whose decisions differ: labels, or values further apart than a tenth of the champion's. What truly
happened is not known then, so a flip costs what it would if the champion were right: the price of the challenger's
decision where the champion's happened; without prices 1, and for values their distance.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lockgate.core.ids import Json, to_json
from lockgate.core.records import read_record
from lockgate.core.rollout.observations import Observation

WINDOW: Final = 20_000
"""Requests of either kind that wait for the other; 20 s at 1,000 a second. Ours: about 20 MB with slices."""
MAX_SLICES: Final = 2_000
"""Values of slice columns that are counted, those met first; ours: more are no page's."""
SHOWN_SLICES: Final = 10
FEWEST_SHOWN: Final = 20
"""Pairs that a slice must have to be ranked. Ours: below, one flip is all there is to say."""
NEAR: Final = 0.1  # as a replay in staging tells values apart

Costs = Mapping[str, Mapping[str, float]]
"""What happened, to what was decided, to its cost."""


class Window:
    """Requests that wait for their other half.

    Attributes:
        unpaired: Copies whose live answer was not met.
    """

    def __init__(self, size: int = WINDOW) -> None:
        self.unpaired = 0
        self._size = size
        self._live: OrderedDict[str, Observation] = OrderedDict()  # a dict forgets its oldest ever more slowly
        self._copies: OrderedDict[str, Observation] = OrderedDict()

    def join(self, seen: Observation) -> Observation | None:
        """Return the other half of a request, both forgotten; None where it has not come, and this one waits."""
        mine, others = (self._copies, self._live) if seen.shadow else (self._live, self._copies)
        other = others.pop(seen.prediction_id, None)
        if other is None:
            mine[seen.prediction_id] = seen
            if len(mine) > self._size:
                mine.popitem(last=False)
                self.unpaired += seen.shadow
        return other

    def state(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "live": [to_json(each) for each in self._live.values()],
            "copies": [to_json(each) for each in self._copies.values()],
            "unpaired": self.unpaired,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        for kept, name in ((self._live, "live"), (self._copies, "copies")):
            kept.clear()
            kept.update((each["prediction_id"], read_record(Observation, each)) for each in state[name])
        self.unpaired = state["unpaired"]


@dataclass(slots=True)
class Agreement:
    """How far the arms agree, over all pairs that both answered; for people, not for verdicts.

    Attributes:
        pairs: Pairs.
        flips: Those whose decisions differ.
        cost: What flips cost, see the module's docstring.
        moments: Sums of the champion's and the challenger's mean score: x, y, xx, yy, xy.
        slices: Pairs, flips and cost by column and value.
        not_sliced: Pairs of slice values too many.
    """

    pairs: int = 0
    flips: int = 0
    cost: float = 0.0
    moments: list[float] = field(default_factory=lambda: [0.0] * 5)
    slices: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    not_sliced: int = 0

    def add(self, live: Observation, score: tuple[float, float], cost: float | None) -> None:
        """Take up a pair.

        Args:
            live: The champion's half, with its slices.
            score: Champion's and challenger's.
            cost: Of the flip; None where they agree.
        """
        self.pairs += 1
        self.flips += cost is not None
        self.cost += cost or 0.0
        x, y = score
        self.moments = [a + b for a, b in zip(self.moments, (x, y, x * x, y * y, x * y), strict=True)]
        for key in live.slices.items():
            found = self.slices.get(key)
            if found is None:
                if len(self.slices) >= MAX_SLICES:
                    self.not_sliced += 1
                    continue
                found = self.slices[key] = [0, 0, 0.0]
            found[0] += 1
            found[1] += cost is not None
            found[2] += cost or 0.0

    def correlation(self) -> float | None:
        """Return Pearson's correlation of the scores; None below two pairs or where one arm's do not vary.

        >>> some = Agreement(pairs=3, moments=[6.0, 12.0, 14.0, 56.0, 28.0])  # 1, 2, 3 and 2, 4, 6
        >>> some.correlation()
        1.0
        """
        n, (x, y, xx, yy, xy) = self.pairs, self.moments
        spread = (n * xx - x * x) * (n * yy - y * y)
        return (n * xy - x * y) / math.sqrt(spread) if n > 1 and spread > 0 else None

    def shown(self) -> dict[str, Json]:
        """Return what a page shows: the slices whose flips cost most a pair come first."""
        told = [(key, each) for key, each in self.slices.items() if each[0] >= FEWEST_SHOWN and each[1]]
        told.sort(key=lambda one: (-one[1][2] / one[1][0], one[0]))
        return {
            "pairs": self.pairs,
            "agreement_fraction": 1.0 - self.flips / self.pairs if self.pairs else None,
            "flip_cost": self.cost,
            "score_correlation": self.correlation(),
            "flips_by_slice": [
                {"column": column, "value": value, "pairs": pairs, "flips": flips, "cost": cost}
                for (column, value), (pairs, flips, cost) in told[:SHOWN_SLICES]
            ],
            "slice_values_not_counted": self.not_sliced,
        }

    def state(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "counts": [self.pairs, self.flips, self.cost, self.moments],
            "slices": [[*key, *each] for key, each in self.slices.items()],
            "not_sliced": self.not_sliced,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.pairs, self.flips, self.cost, self.moments = state["counts"]
        self.slices = {(column, value): counts for column, value, *counts in state["slices"]}
        self.not_sliced = state["not_sliced"]


def flip_cost(live: Observation, copy: Observation, costs: Costs | None) -> float | None:
    """Return what it costs that two answers to one request differ, over its rows; None where they agree.

    >>> told = {"time": 1.0, "prediction_id": "1", "arm": "champion", "propensity": 1.0, "scores": (0.5,)}
    >>> live, copy = Observation(**told, labels=("late",)), Observation(**told, labels=("on time",))
    >>> flip_cost(live, live, None), flip_cost(live, copy, None), flip_cost(live, copy, {"late": {"on time": 5.0}})
    (None, 1.0, 5.0)
    """
    if live.labels or copy.labels:
        prices = _label_prices(live.labels, copy.labels, costs)
    else:
        prices = _distances(live.scores, copy.scores)
    return math.fsum(prices) if prices else None


def _label_prices(live: Sequence[str], copy: Sequence[str], costs: Costs | None) -> list[float]:
    if len(live) != len(copy):
        return [1.0]
    differ = [(one, other) for one, other in zip(live, copy, strict=True) if one != other]
    return [1.0 if costs is None else float(costs.get(one, {}).get(other, 1.0)) for one, other in differ]


def _distances(live: Sequence[float], copy: Sequence[float]) -> list[float]:
    if len(live) != len(copy):
        return [1.0]
    return [abs(x - y) for x, y in zip(live, copy, strict=True) if not abs(x - y) <= NEAR * abs(x)]
