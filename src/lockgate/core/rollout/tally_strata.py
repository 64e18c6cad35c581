"""Counts and sums by the share that was in force: the strata in which arms are compared.

The share is read from the logged propensity: p of the challenger, 1 - p of the champion. Equal shares (`TOLERANCE`) are
one stratum, however many steps had them. A propensity of 1 of the champion is *outside*: nothing was leased, so nobody
could have met the challenger. Stratum 0 holds pairs: requests that both answered, the challenger in the shadow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """

    share: float
    entities: list[int] = field(default_factory=lambda: [0, 0])
    unanswered: list[int] = field(default_factory=lambda: [0, 0])
    failures: list[int] = field(default_factory=lambda: [0, 0])
    flags: list[int] = field(default_factory=lambda: [0, 0])
    values: dict[str, tuple[Moments, Moments]] = field(default_factory=dict)

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

    def state(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "share": self.share,
            "counts": [self.entities, self.unanswered, self.failures, self.flags],
            "values": {name: [each.state() for each in both] for name, both in self.values.items()},
        }


class Strata:
    """All strata of a rollout, in the order they were met.

    Attributes:
        all: Stratum 0 is that of pairs.
        paired: Sums of the challenger's less the champion's value on one request, by what they are of.
        refused: Requests of a share too many.
    """

    def __init__(self) -> None:
        self.all = [Stratum(EVEN)]
        self.paired: dict[str, Moments] = {}
        self.refused = 0
        self._known: tuple[dict[float, int], dict[float, int]] = ({}, {})

    def of(self, arm: int, propensity: float) -> int:
        """Return the stratum of a propensity that the chosen arm had; `OUTSIDE` where none applies.

        >>> strata = Strata()
        >>> strata.of(1, 0.05), strata.of(0, 0.95), strata.of(0, 1.0), strata.of(1, 0.2)
        (1, 1, -1, 2)
        """
        found = self._known[arm].get(propensity)
        return self._look_up(arm, propensity) if found is None else found

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
        gaps = [abs(stratum.share - share) for stratum in self.all[1:]]
        index = 1 + gaps.index(min(gaps)) if gaps and min(gaps) <= TOLERANCE else len(self.all)
        if index == len(self.all):
            if index > MAX_STRATA:
                self.refused += 1
                return OUTSIDE
            self.all.append(Stratum(min(round(share, 9), 1.0)))
        if len(self._known[arm]) < _REMEMBERED:
            self._known[arm][propensity] = index
        return index

    def state(self) -> dict[str, Json]:
        """Return them as JSON."""
        return {
            "all": [each.state() for each in self.all],
            "paired": {name: each.state() for name, each in self.paired.items()},
            "refused": self.refused,
            "known": [[[propensity, index] for propensity, index in known.items()] for known in self._known],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.all = [_stratum(each) for each in state["all"]]
        self.paired = {name: Moments(*each) for name, each in state["paired"].items()}
        self.refused = state["refused"]
        self._known = (dict(state["known"][0]), dict(state["known"][1]))


def _stratum(state: Mapping[str, Any]) -> Stratum:
    values: Mapping[str, Sequence[Sequence[Any]]] = state["values"]
    entities, unanswered, failures, flags = (list(each) for each in state["counts"])
    return Stratum(
        share=state["share"],
        entities=entities,
        unanswered=unanswered,
        failures=failures,
        flags=flags,
        values={name: (Moments(*both[0]), Moments(*both[1])) for name, both in values.items()},
    )
