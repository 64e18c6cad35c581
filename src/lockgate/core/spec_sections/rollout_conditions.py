"""What a promotion asks for beside the guardrails: sub-populations unharmed, days alike, a stand-in for late labels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from lockgate.core.spec_sections.units import AboveZero, Amount, Fraction, Positive, Seconds, Signed, Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class SubpopulationSection:
    """Requests that must not be harmed on their own: those of every value of a column.

    Watched at every look as one guardrail, `population:COLUMN`, whose error is split over its values. One that is
    harmed rolls back; a promotion waits while one is too small, or has no data.

    Attributes:
        column: Of the requests' inputs. A request without a value is of the population `(missing)`.
        values: Only these; null: all that come, in the order in which they do.
        edges: Ranges of a number instead: below the first edge, between two, from the last.
        most: How many populations are told apart where `values` and `edges` are null; all that come later are one.
        fewest: Entities of either arm that a population must have.
        may_be_small: Whether a promotion may go by one that has fewer; it is named all the same.
        score_tolerated: Difference of mean scores that is no harm, either way; null: scores are not compared.
        loss_tolerated: Difference of mean losses that is no harm yet, once labels come; null: losses are not compared.
        weight: Its part of `rollout.guardrails.alpha`, relative to the guardrails'.
    """

    column: str
    values: tuple[str, ...] | None = None
    edges: tuple[Signed, ...] | None = None
    most: Annotated[int, Ge(2), Le(100)] = 20
    fewest: Positive = 100
    may_be_small: bool = False
    score_tolerated: AboveZero | None = None
    loss_tolerated: Amount | None = None
    weight: Weight = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilitySection:
    """How alike the days of a rollout must be before its challenger is promoted.

    Judged on the plan's metric, day by day, of days that are over and have 50 entities of either arm. A promotion waits
    until enough of them are there, a day to come is expected within the margin, and no day was worse than it.

    Attributes:
        days: Fewest days that must count.
        day_s: Length of a day, in seconds; shorter for rehearsals.
        begins_s: When a day begins, in seconds after midnight UTC: 18000 for a model that lives by UTC-5.
        day_within: Chance with which the effect of a day to come must lie within `rollout.plan.margin`.
        worst_alpha: Chance that any day at all is called worse than the margin where none is.
    """

    days: Annotated[int, Ge(4), Le(36_500)] = 7
    day_s: Seconds = 86_400.0
    begins_s: Annotated[float, Ge(0), Le(86_400)] = 0.0
    day_within: Annotated[float, Gt(0.5), Lt(1)] = 0.9
    worst_alpha: Annotated[float, Gt(0), Lt(0.5)] = 0.05


class ProxyMetric(StrEnum):
    """What may stand in for the loss: the metrics of `rollout.plan.metric` that need no labels."""

    ERRORS = "errors"
    DISAGREEMENT = "disagreement"
    KPI = "kpi"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySection:
    """What the plan tests instead of the loss, whose labels come after the rollout has ended.

    A promotion by it rests on somebody's word that the one tells of the other. That is said wherever the decision is,
    and `lockgate rollout status` compares the losses of both arms once their labels are there.

    Attributes:
        metric: What is tested: errors, disagreement or kpi.
        because: Why it may stand in for the loss: what was compared before, by whom, where that is written down.
        margin: How much worse is still acceptable, in this metric's unit; `rollout.plan.margin` is the loss's.
        sd: Standard deviation of this metric between entities; null: as for `rollout.plan.sd`.
        coverage: Least share of due answers of either arm that must have a label before the losses are said to tell
            anything.
    """

    metric: ProxyMetric
    because: str
    margin: AboveZero = 0.02
    sd: AboveZero | None = None
    coverage: Fraction = 0.8
