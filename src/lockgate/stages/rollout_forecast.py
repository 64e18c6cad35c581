"""What a rollout is expected to see, as it is printed, recorded at its begin and shown beside what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.core.ids import Json, to_json
from lockgate.core.rollout.proxy import Truth
from lockgate.core.rollout.steps import StepKind
from lockgate.core.spec_sections.rollout import Metric
from lockgate.stages.planned_guardrails import GuardrailForecast
from lockgate.stages.planned_looks import LookForecast
from lockgate.stages.recent_traffic import RecentTraffic


@dataclass(frozen=True, slots=True, kw_only=True)
class StepForecast:
    """One step as it will be seen.

    Attributes:
        kind: What it does.
        share: The challenger's share of entities; of a shadow, of the requests that are copied.
        bake_s: How long it is held, in seconds; a pause is held until somebody resumes, and counts 0 here.
        ends_s: When its bake is over, in seconds after the start; pauses not counted.
        requests: Of the challenger, copies included; None, as what follows, where nothing is known or shown.
        challenger_entities: Entities that are first seen in this step, by the challenger.
        champion_entities: The champion's.
        power: Chance to have seen `RolloutForecast.harm` by the end.
        least_harm: The smallest failure share of the challenger that is seen with `harm_power` by the end.
    """

    kind: StepKind
    share: float
    bake_s: float
    ends_s: float
    requests: float | None = None
    challenger_entities: float | None = None
    champion_entities: float | None = None
    power: float | None = None
    least_harm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutForecast:
    """What a rollout can see and when it may promote, before it starts.

    Attributes:
        strategy: The spec's.
        traffic: What it was planned on; None where there is none.
        steps: The steps, in order.
        harm: The failure share that must be seen.
        harm_power: The chance with which, before the last bake is over.
        power: The chance there is; None without traffic or steps.
        median_s: After so many seconds half of such challengers are rolled back; None if fewer ever are.
        ninety_s: The same for nine of ten.
        alpha: Chance that any guardrail at any look calls a challenger harmful that is not.
        guardrails: Each with its part of alpha and what it sees.
        metric: What the promotion plan compares; None where there is no plan.
        truth: What it is a proxy for; None: it is what is meant.
        margin: How much worse is still acceptable.
        sd: Standard deviation the plan was sized with.
        sd_from: Where it comes from.
        looks: The plan's looks, when they are expected and what they promote.
        plan_alpha: Chance that this attempt promotes a challenger that is worse by the margin.
        attempt: Which try of one bundle at one champion it is planned for, from 1.
        max_duration_s: A rollout that has not decided by then is inconclusive.
        promoted_fraction: Chance that a truly equal challenger is promoted by then, by the plan alone.
        refusals: Why this rollout is refused; empty if it is not.
        challengers: How many are beside the champion at once; what is said is of each of them.
        warnings: What will most likely keep a good challenger from being promoted, and other things worth knowing.
    """

    strategy: str
    traffic: RecentTraffic | None
    steps: tuple[StepForecast, ...]
    harm: float
    harm_power: float
    power: float | None = None
    median_s: float | None = None
    ninety_s: float | None = None
    alpha: float
    guardrails: tuple[GuardrailForecast, ...] = ()
    metric: Metric | None = None
    truth: Truth | None = None
    margin: float | None = None
    sd: float | None = None
    sd_from: str = ""
    looks: tuple[LookForecast, ...] = ()
    max_duration_s: float
    promoted_fraction: float | None = None
    plan_alpha: float | None = None
    attempt: int = 1
    refusals: tuple[str, ...] = ()
    challengers: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def content(self) -> dict[str, Json]:
        """Return it as JSON."""
        written = to_json(self)
        return {**(written if isinstance(written, dict) else {}), "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """Say in one sentence what could be seen."""
        if not self.steps:
            return f"{self.strategy}: one verified switch; nothing is compared before it, so no harm can be seen"
        if self.traffic is None or self.power is None:
            return "there is no recent traffic to plan on, so nothing can be said of what this rollout will see"
        found = (
            f"at {self.traffic.requests_per_minute:.3g} requests a minute a challenger that fails {self.harm:.3g} of "
            f"them is rolled back with chance {self.power:.2f} before the last bake is over"
        )
        return found if self.median_s is None else f"{found}, half of such within {minutes(self.median_s)}"


def minutes(time_s: float) -> str:
    """Return a duration for a reader.

    >>> minutes(42.0), minutes(600.0), minutes(7200.0), minutes(200000.0)
    ('42 s', '10 min', '2 h', '2.31 d')
    """
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if time_s >= size:
            return f"{time_s / size:.3g} {unit}"
    return f"{time_s:.3g} s"
