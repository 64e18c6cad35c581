"""Sub-populations that must not be harmed: the sufficient statistic of one column, and its tests with their errors.

Every population is a small rollout of its own, judged by the tests of the whole: first failures of its entities, and
their means of score and loss. The column's error is split evenly over all tests that there may be (Bonferroni 1936),
not over those that have data by now, so that no outcome can influence who has how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lockgate.core.online.failures import FailureCounts
from lockgate.core.online.means import Contrast, StepSums, Sums

ERRORS, LOSS, SCORE_UP, SCORE_DOWN = "errors", "loss", "score:up", "score:down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """One value of a column.

    Attributes:
        value: The value, as logged; a range of numbers in words.
        challenger: Entities that the challenger met first.
        champion: The champion's.
        failures: First failures of its entities, by step.
        score: Scores by step; None where they are not compared.
        loss: Losses by step; None where they are not compared.
    """

    value: str
    challenger: int
    champion: int
    failures: FailureCounts
    score: Contrast | None = None
    loss: Contrast | None = None

    @property
    def smaller(self) -> int:
        """How many entities the arm with fewer has."""
        return min(self.challenger, self.champion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Populations:
    """All values of one column.

    Attributes:
        column: The column.
        most: How many values there may be; the error is split over so many.
        fewest: Entities of either arm that each must have.
        may_be_small: Whether one that has fewer may be passed by.
        score_tolerated: Difference of mean scores that is no harm; None: not compared.
        loss_tolerated: Difference of mean losses that is no harm yet; None: not compared.
        values: Those declared, or those that have come.
    """

    column: str
    most: int
    fewest: int
    may_be_small: bool = False
    score_tolerated: float | None = None
    loss_tolerated: float | None = None
    values: tuple[Population, ...] = ()

    @property
    def tests(self) -> int:
        """How many tests the error is split over; the score may drift either way, which is two."""
        return self.most * (1 + (self.loss_tolerated is not None) + 2 * (self.score_tolerated is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationTest:
    """One test of one population.

    Attributes:
        value: Of which.
        name: What of it: errors, loss, score:up or score:down.
        failures: Its statistic, of errors.
        contrast: Its statistic, of a mean.
        tolerated: Difference of means that is no harm.
    """

    value: Population
    name: str
    failures: FailureCounts | None = None
    contrast: Contrast | None = None
    tolerated: float = 0.0


def population_tests(populations: Populations) -> Iterator[PopulationTest]:
    """Yield the tests of all populations that have come.

    >>> seen = Population(value="a", challenger=9, champion=9, failures=FailureCounts(steps=()))
    >>> some = Populations(column="c", most=3, fewest=9, score_tolerated=0.1, values=(seen,))
    >>> [test.name for test in population_tests(some)], some.tests
    (['errors', 'score:up', 'score:down'], 9)
    """
    nothing = Contrast(steps=())
    for each in populations.values:
        yield PopulationTest(value=each, name=ERRORS, failures=each.failures)
        if populations.score_tolerated is not None:
            score = each.score or nothing
            yield PopulationTest(value=each, name=SCORE_UP, contrast=score, tolerated=populations.score_tolerated)
            yield PopulationTest(
                value=each, name=SCORE_DOWN, contrast=_negative(score), tolerated=populations.score_tolerated
            )
        if populations.loss_tolerated is not None:
            yield PopulationTest(
                value=each, name=LOSS, contrast=each.loss or nothing, tolerated=populations.loss_tolerated
            )


def _negative(contrast: Contrast) -> Contrast:
    def turned(sums: Sums) -> Sums:
        return Sums(n=sums.n, total=-sums.total, squares=sums.squares)

    return Contrast(
        steps=tuple(
            StepSums(challenger=turned(step.challenger), champion=turned(step.champion)) for step in contrast.steps
        )
    )
