"""How a bundle takes over: the steps, what is watched on the way, and the plan by which it is promoted."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from lockgate.core.spec_sections.rollout_conditions import ProxySection, StabilitySection, SubpopulationSection
from lockgate.core.spec_sections.units import (
    AboveZero,
    Amount,
    Days,
    Fraction,
    MaybeSeconds,
    Positive,
    Seconds,
    Weight,
)

Share = Annotated[float, Gt(0), Le(1)]
Error = Annotated[float, Gt(0), Lt(0.5)]


class RolloutStrategy(StrEnum):
    """How a blessed bundle takes over; each gives the steps that a spec leaves out."""

    BLUE_GREEN = "blue_green"
    SHADOW = "shadow"
    CANARY = "canary"
    LINEAR = "linear"
    A_B = "a_b"
    BANDIT = "bandit"

    @property
    def has_steps(self) -> bool:
        """Whether the challenger is looked at beside the champion before it takes over."""
        return self is not RolloutStrategy.BLUE_GREEN


class Metric(StrEnum):
    """What the promotion plan compares, one value an entity; higher is worse.

    `ERRORS` requests that its arm had no answer to (0 or 1), `DISAGREEMENT` answers that differ from the champion's
    on the same request (0 or 1; shadow only), `LOSS` what labels say the answer cost (Brier score for classes, absolute
    error for numbers), `KPI` the first metric of `rollout.guardrails.kpi`.
    """

    ERRORS = "errors"
    DISAGREEMENT = "disagreement"
    LOSS = "loss"
    KPI = "kpi"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSection:
    """One step: one of `shadow`, `set_weight` and `pause`, and how long it is held and looked at.

    Attributes:
        shadow: The challenger answers copies of this share of requests; nobody sees its answers.
        set_weight: The challenger answers this share of entities.
        pause: Waits for `lockgate rollout resume`, with what served before; says what is to be looked at.
        bake_s: How long the step is held, in seconds; looked at all the time.
    """

    shadow: Share | None = None
    set_weight: Share | None = None
    pause: str | None = None
    bake_s: MaybeSeconds = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorsGuardrail:
    """Requests that the challenger had no answer to, by first failures of entities. Always on.

    Attributes:
        weight: Its part of `alpha`, relative to the others'.
    """

    weight: Weight = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyGuardrail:
    """The challenger's latency against the champion's in the same blocks of time.

    Attributes:
        weight: Its part of `alpha`, relative to the others'.
        quantile: Which one is compared.
        tolerated_ratio: The challenger's may be this many times the champion's.
        tolerated_ms: Differences below this many milliseconds are no harm, whatever the ratio.
        block_s: Length of a block, in seconds.
    """

    weight: Weight = 1.0
    quantile: Annotated[float, Gt(0), Lt(1)] = 0.95
    tolerated_ratio: Annotated[float, Ge(1), Le(1_000_000)] = 1.5
    tolerated_ms: Annotated[float, Ge(0), Le(86_400_000)] = 2.0
    block_s: Seconds = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreGuardrail:
    """How far the challenger's mean score may lie from the champion's, either way.

    Attributes:
        weight: Its part of `alpha`, relative to the others'.
        tolerated: Difference of means that is no harm: of the probability (several classes: of the first), or in the
            value's unit.
    """

    weight: Weight = 0.5
    tolerated: AboveZero = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractGuardrail:
    """Rows outside the trained domain or the contract, by first flags of entities.

    Attributes:
        weight: Its part of `alpha`, relative to the others'.
    """

    weight: Weight = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityGuardrail:
    """What labels say the challenger's answers cost beyond the champion's: the loss of `Metric.LOSS`.

    Attributes:
        weight: Its part of `alpha`, relative to the others'.
        tolerated: Difference of mean losses that is no harm yet.
        coverage: Least share of answers that must have a label for the guardrail to say anything.
    """

    weight: Weight = 1.0
    tolerated: Amount = 0.0
    coverage: Fraction = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiGuardrail:
    """A number of the business, one value an entity, from a file of JSON lines that others append to.

    Attributes:
        name: What it is called.
        file: Lines of {"time", "entity", "value"}: ISO time with zone, the entity of the request, a number. Relative
            to the state folder's `kpi/`.
        higher_is_worse: The sense of the value.
        weight: Its part of `alpha`, relative to the others'.
        tolerated: Difference of means that is no harm yet, in the value's unit.
    """

    name: str
    file: str
    higher_is_worse: bool = False
    weight: Weight = 1.0
    tolerated: Amount = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailsSection:
    """What is watched at every look of every step; null takes one out (but `errors`).

    Attributes:
        alpha: Chance that any of them, at any look, calls a challenger harmful that is not.
        errors: Requests without an answer.
        latency: Latency against the champion's.
        score: The mean score against the champion's.
        contract: Rows outside the contract or the trained domain.
        quality: What labels say; null: labels are not waited for.
        kpi: Numbers of the business.
        patience: How many looks in a row may be blind before the rollout ends as inconclusive.
    """

    alpha: Error = 0.05
    errors: ErrorsGuardrail = field(default_factory=ErrorsGuardrail)
    latency: LatencyGuardrail | None = field(default_factory=LatencyGuardrail)
    score: ScoreGuardrail | None = None
    contract: ContractGuardrail | None = field(default_factory=ContractGuardrail)
    quality: QualityGuardrail | None = None
    kpi: tuple[KpiGuardrail, ...] = ()
    patience: Positive = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSection:
    """Promotion: the challenger is shown not to be worse by the margin, at looks declared before the start.

    Attributes:
        metric: What is compared: errors, disagreement, loss or kpi. null: errors; for a rollout of shadow steps alone,
            disagreement.
        proxy: What is tested instead, where metric is loss and labels come too late for it; null: the metric itself.
        margin: How much worse is still acceptable, in the metric's unit.
        sd: Standard deviation of the metric between entities; null: from recent traffic, for a rate at the margin.
        looks: Information at each look over all of it, increasing to 1.
        alpha: Chance to promote a challenger that is worse by the margin.
        power: Chance to promote one that is equal, by the last look.
        futility: Whether a look may end the rollout because promotion has become unlikely.
        harm: What `lockgate rollout plan` must be able to see: this failure share of the challenger...
        harm_power: ... with this chance before the last bake is over.
        enforce: Whether a rollout that cannot see it in recent traffic is refused, as inconclusive; false: that is said
            on its page and on record, and it goes on.
    """

    metric: Metric | None = None
    proxy: ProxySection | None = None
    margin: AboveZero = 0.02
    sd: AboveZero | None = None
    looks: tuple[Share, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    alpha: Error = 0.025
    power: Annotated[float, Gt(0.5), Lt(1)] = 0.92
    futility: bool = False
    harm: Share = 0.1
    harm_power: Annotated[float, Gt(0), Lt(1)] = 0.8
    enforce: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BanditSection:
    """Weights that follow rewards: each period's is the chance to be the better one.

    Attributes:
        periods: How many at most.
        period_s: How long a weight is held, in seconds; it holds for new entities.
        floor: Least share of either arm.
        discount: What a period takes off the weight of older rewards, 0 to 1; 1 forgets nothing.
    """

    periods: Annotated[int, Gt(0), Le(10_000)] = 12
    period_s: Seconds = 300.0
    floor: Annotated[float, Gt(0), Lt(0.5)] = 0.1
    discount: Annotated[float, Gt(0), Le(1)] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillSection:
    """The rehearsal of a rollback.

    Attributes:
        every_days: A model whose last passed drill is older raises an alert.
        production: Whether the fault may be put into production at `weight`; false: into a shadow copy only.
        weight: The faulty copy's share of entities.
        restored_within_s: From the fault to the champion alone, in seconds; more fails the drill.
    """

    every_days: Days = 30
    production: bool = False
    weight: Share = 0.05
    restored_within_s: Seconds = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSection:
    """How a blessed, approved bundle takes over.

    The first champion of a model has nobody to be compared with: it is switched to at once.

    Attributes:
        strategy: blue_green (one switch, verified from live answers, previous kept warm), shadow, canary, linear, a_b
            or bandit.
        steps: In order; empty: the strategy's own. blue_green has none. Any strategy ends with the verified switch of
            blue_green.
        guardrails: What is watched all the way.
        plan: What promotes.
        subpopulations: Requests that must not be harmed on their own, by column.
        stability: How alike its days must be; null: days are not told apart.
        bandit: For strategy bandit.
        drill: The rehearsal of its rollback.
        challengers: How many are beside the champion at once, 1 to 7. Where it is more than one, an approved
            release does not roll out by itself: `lockgate rollout start RELEASE --beside RELEASE` starts them together.
        look_s: Seconds from one look to the next.
        max_duration_s: A rollout that has not decided by then is inconclusive and the champion stays, in seconds; null:
            twice the bakes of all steps and a day for each pause, at least 60.
        lease_s: A challenger's weight ends so many seconds after the controller was last heard of.
        readback_requests: How many live answers must carry the new digest before the switch counts as verified.
        timeout_s: A switch that is not verified in this time is undone.
    """

    strategy: RolloutStrategy = RolloutStrategy.BLUE_GREEN
    steps: tuple[StepSection, ...] = ()
    guardrails: GuardrailsSection = field(default_factory=GuardrailsSection)
    plan: PlanSection = field(default_factory=PlanSection)
    subpopulations: tuple[SubpopulationSection, ...] = ()
    stability: StabilitySection | None = None
    bandit: BanditSection = field(default_factory=BanditSection)
    drill: DrillSection = field(default_factory=DrillSection)
    challengers: Annotated[int, Ge(1), Le(7)] = 1
    look_s: Annotated[float, Ge(0.2), Le(3600)] = 10.0
    max_duration_s: Seconds | None = None
    lease_s: Annotated[float, Ge(2), Le(3600)] = 10.0
    readback_requests: Annotated[int, Gt(0), Le(10_000)] = 5
    timeout_s: Seconds = 60.0
