"""What is watched of a champion, what it is held to, and who is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from lockgate.core.spec_sections.units import Amount, Days, Fraction, Milliseconds, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SloSection:
    """What callers are promised of the service.

    Attributes:
        available: Share of requests that are answered, over `window_days`; the rest is the error budget.
        latency_ms: A request that took longer counts as slow.
        fast: Share of requests that are not slow.
        window_days: Over how long the promise holds.
        burn_fast: Rate of spending the error budget that is alarmed at once (over an hour and the last five minutes).
        burn_slow: Rate that is alarmed when it lasts (over six hours and the last half hour).
    """

    available: Annotated[float, Gt(0), Lt(1)] = 0.999
    latency_ms: Milliseconds = 250.0
    fast: Annotated[float, Gt(0), Lt(1)] = 0.99
    window_days: Days = 30
    burn_fast: Annotated[float, Gt(1), Le(1_000_000)] = 14.4
    burn_slow: Annotated[float, Gt(1), Le(1_000_000)] = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsSection:
    """Who is told, and how often for nothing.

    Attributes:
        owner: Who acts on an alert; null: the model's owner.
        false_per_month: How many false alarms a month of unchanged quality may bring; every statistical alarm has its
            part of it.
        repeat_s: An alert that lasts is sent again after so many seconds.
        silent_after_s: The monitor is itself alarmed about when it has said nothing for this long.
    """

    owner: str | None = None
    false_per_month: Annotated[float, Gt(0), Le(30)] = 1.0
    repeat_s: Seconds = 86_400.0
    silent_after_s: Seconds = 7_200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JointSection:
    """Whether features are watched together: has their combination moved though each alone has not.

    Attributes:
        enabled: Once a day and bundle, some seconds of one processor; false: it is measured at each release alone.
        rows: Rows of a side that are compared at most; they bound time and memory.
        excess_auc: By how much more AUC a classifier that sees features together must tell the days from training than
            one that sees each alone (lower bound of the interval by day). 0.03: ours; months of the same law stay
            below it, a correlation that moves by 0.5 is above it.
    """

    enabled: bool = True
    rows: Annotated[int, Ge(1_000), Le(50_000)] = 10_000
    excess_auc: Annotated[float, Gt(0), Lt(0.5)] = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringSection:
    """What is watched of a champion while it serves.

    Attributes:
        schedule: Cron of five fields in UTC for the scheduled run; null: by hand alone.
        min_rows: Fewer rows in a window say nothing of drift.
        reference_days: Windows of so many days are judged; older ones are history.
        psi: Change of a feature's distribution that is shown, as population stability index beyond its noise.
        loss_tolerated: How much worse than at release the loss may be (Brier score for classes, absolute error for
            numbers in the label's unit); null: 5 % of what it was at release.
        coverage: Least share of rows old enough to have a label that must have one.
        unseen: Share of rows with a value that training never saw, per feature, that is shown.
        joint: Whether features are watched together, too.
        max_model_age_days: A champion that is older is told of; null: it is not.
        max_data_age_days: Training data that is older is told of; null: it is not.
        slo: What callers are promised.
        alerts: Who is told.
    """

    schedule: str | None = None
    min_rows: Annotated[int, Ge(30), Le(1_000_000_000)] = 200
    reference_days: Days = 28
    psi: Annotated[float, Gt(0), Le(1_000)] = 0.2
    loss_tolerated: Amount | None = None
    coverage: Fraction = 0.5
    unseen: Fraction = 0.05
    joint: JointSection = field(default_factory=JointSection)
    max_model_age_days: Days | None = None
    max_data_age_days: Days | None = None
    slo: SloSection = field(default_factory=SloSection)
    alerts: AlertsSection = field(default_factory=AlertsSection)
