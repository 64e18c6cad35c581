"""Counts and sums by the share that was in force: the strata in which arms are compared.

The share is read from the logged propensity: p of the challenger, 1 - p of the champion. Equal shares (`TOLERANCE`) are
one stratum, however many steps had them. A propensity of 1 of the champion is *outside*: nothing was leased, so nobody
could have met the challenger. Stratum 0 holds pairs: requests that both answered, the challenger in the shadow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lockgate.core.ids import Json
from lockgate.core.online.means import StepSums, Sums

TOLERANCE: Final = 1e-6
"""Shares that are nearer are the same. Ours: a share is asked for in hundredths; 1 - 0.95 is not 0.05 in binary."""
OUTSIDE: Final = -1
PAIRS: Final = 0
EVEN: Final = 0.5  # of two discordant answers to one request either is as likely the failed one, if both are alike
MAX_STRATA: Final = 1000
"""Ours: ten bits of an entity's state; a bandit of a day has 288 periods."""
_REMEMBERED: Final = 4096  # propensities whose stratum is not looked for again


@dataclass(slots=True)
class Moments:
    """Sums that grow: number, total, squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Take up a value."""
        self.n += 1
        self.total += value
        self.squares += value * value

    def sums(self, sign: float = 1.0) -> Sums:
        """Return them as they are recorded, of the values times a sign."""
        return Sums(n=self.n, total=sign * self.total, squares=self.squares)

    def state(self) -> list[Json]:
        """Return them as JSON."""
        return [self.n, self.total, self.squares]


def _two() -> tuple[Moments, Moments]:
    return Moments(), Moments()


@dataclass(slots=True)
class Stratum:
    """One share; pairs of numbers are champion's, then challenger's.

    Attributes:
        share: The challenger's share of entities.
        entities: Entities first seen here.
        unanswered: Those of them whose first request failed.
        failures: Entities whose first failure happened here.
        flags: Entities whose first flag did.
        values: Sums of one value an entity, by what they are of: score, loss, kpi:NAME.
        day: Which day, where days are told apart.
    """

    share: float
    entities: list[int] = field(default_factory=lambda: [0, 0])
    unanswered: list[int] = field(default_factory=lambda: [0, 0])
    failures: list[int] = field(default_factory=lambda: [0, 0])
    flags: list[int] = field(default_factory=lambda: [0, 0])
    values: dict[str, tuple[Moments, Moments]] = field(default_factory=dict)
    day: int = 0

    def add(self, name: str, arm: int, value: float) -> None:
        """Take up an entity's value; arm 1 is the challenger."""
        found = self.values.get(name)
        if found is None:
            found = self.values[name] = _two()
        found[arm].add(value)

    def contrast(self, name: str, sign: float = 1.0) -> StepSums:
        """Return both arms' sums of a value, times a sign."""
        champion, challenger = self.values.get(name) or _two()
        return StepSums(challenger=challenger.sums(sign), champion=champion.sums(sign))

    def first_answers(self) -> StepSums:
        """Return zeros and ones: whether the first request of an entity failed."""
        ours, theirs = (
            Sums(n=n, total=float(failed), squares=float(failed))
            for n, failed in zip(reversed(self.entities), reversed(self.unanswered), strict=True)
        )
        return StepSums(challenger=ours, champion=theirs)

    def counts(self) -> tuple[list[int], ...]:
        """Return what is counted, to be added to."""
        return self.entities, self.unanswered, self.failures, self.flags

    def state(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "share": self.share,
            "day": self.day,
            "counts": list(self.counts()),
            "values": {name: [each.state() for each in both] for name, both in self.values.items()},
        }


class Strata:
    """All strata of a rollout, in the order they were met.

    Attributes:
        all: Stratum 0 is that of pairs.
        paired: Sums of the challenger's less the champion's value on one request, by what they are of.
        refused: Requests of a share too many.
        day: The day that is under way; None where days are not told apart.
    """

    def __init__(self) -> None:
        self.all = [Stratum(EVEN)]
        self.paired: dict[str, Moments] = {}
        self.refused = 0
        self.day: int | None = None
        self._known: tuple[dict[float, int], dict[float, int]] = ({}, {})

    def of(self, arm: int, propensity: float) -> int:
        """Return the stratum of a propensity that the chosen arm had; `OUTSIDE` where none applies.

        >>> strata = Strata()
        >>> strata.of(1, 0.05), strata.of(0, 0.95), strata.of(0, 1.0), strata.of(1, 0.2)
        (1, 1, -1, 2)
        """
        found = self._known[arm].get(propensity)
        return self._look_up(arm, propensity) if found is None else found

    def begin_day(self, day: int) -> None:
        """Let what is first seen from here on be of strata of its own."""
        self.day = day
        self._known = ({}, {})

    def whole(self) -> Strata:
        """Return them with the days of one share added up."""
        if self.day is None:
            return self
        found = Strata()
        found.all, found.paired, found.refused = [self.all[PAIRS], *merged(self.live())], self.paired, self.refused
        return found

    def add_pair(self, name: str, challenger: float, champion: float) -> None:
        """Take up both values of one request."""
        self.all[PAIRS].add(name, 1, challenger)
        self.all[PAIRS].add(name, 0, champion)
        self.paired.setdefault(name, Moments()).add(challenger - champion)

    def live(self) -> list[Stratum]:
        """Return the strata in which entities met one arm or the other."""
        return self.all[1:]

    def _look_up(self, arm: int, propensity: float) -> int:
        share = propensity if arm else 1.0 - propensity
        if not TOLERANCE < share <= 1.0 + TOLERANCE:  # NaN is outside too
            return OUTSIDE
        today = self.day or 0
        gaps = [abs(each.share - share) if each.day == today else math.inf for each in self.live()]
        index = 1 + gaps.index(min(gaps)) if gaps and min(gaps) <= TOLERANCE else len(self.all)
        if index == len(self.all):
            if index > MAX_STRATA:
                self.refused += 1
                return OUTSIDE
            self.all.append(Stratum(min(round(share, 9), 1.0), day=today))
        if len(self._known[arm]) < _REMEMBERED:
            self._known[arm][propensity] = index
        return index

    def state(self) -> dict[str, Json]:
        """Return them as JSON."""
        return {
            "all": [each.state() for each in self.all],
            "paired": {name: each.state() for name, each in self.paired.items()},
            "refused": self.refused,
            "day": self.day,
            "known": [[[propensity, index] for propensity, index in known.items()] for known in self._known],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.all = [stratum_from(each) for each in state["all"]]
        self.paired = {name: Moments(*each) for name, each in state["paired"].items()}
        self.refused, self.day = state["refused"], state["day"]
        self._known = (dict(state["known"][0]), dict(state["known"][1]))


def merged(strata: Iterable[Stratum]) -> list[Stratum]:
    """Return strata with those of one share added up, in the order in which the shares were met.

    >>> some = [Stratum(0.2, entities=[8, 2]), Stratum(0.5, entities=[1, 1]), Stratum(0.2, entities=[4, 1])]
    >>> [(each.share, each.entities) for each in merged(some)]
    [(0.2, [12, 3]), (0.5, [1, 1])]
    """
    found: dict[float, Stratum] = {}
    for each in strata:
        one = found.setdefault(each.share, Stratum(each.share))
        for mine, other in zip(one.counts(), each.counts(), strict=True):
            mine[0] += other[0]
            mine[1] += other[1]
        for name, both in each.values.items():
            for own, more in zip(one.values.setdefault(name, _two()), both, strict=True):
                own.n, own.total, own.squares = own.n + more.n, own.total + more.total, own.squares + more.squares
    return list(found.values())


def stratum_from(state: Mapping[str, Any]) -> Stratum:
    """Return the stratum whose `state` this is."""
    values: Mapping[str, Sequence[Sequence[Any]]] = state["values"]
    entities, unanswered, failures, flags = (list(each) for each in state["counts"])
    return Stratum(
        share=state["share"],
        day=state["day"],
        entities=entities,
        unanswered=unanswered,
        failures=failures,
        flags=flags,
        values={name: (Moments(*both[0]), Moments(*both[1])) for name, both in values.items()},
    )
