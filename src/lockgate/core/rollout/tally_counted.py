"""What a tally has counted by a look, as evidence: one statistic a guardrail, the plan's metric, what a page shows.

The score may drift either way and evidence has one sense, so it is two pieces: "score:up" and "score:down", the second
of negated values, each with half of the guardrail's error. `evidence_names` says what a look must hold.

Where a step lets entities meet the challenger, pairs are a stratum beside the others, both arms taken as independent:
answers to one request are alike, so this is the safe side. A course of shadow steps alone compares request by request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lockgate.core.ids import Json
from lockgate.core.online.bandit import Posterior
from lockgate.core.online.day_effects import Days
from lockgate.core.online.failures import FailureCounts, StepFailures
from lockgate.core.online.findings import Evidence
from lockgate.core.online.latency_blocks import Blocks
from lockgate.core.online.means import Contrast, StepSums, Sums
from lockgate.core.online.populations import Populations
from lockgate.core.online.ratio_mismatch import Arrivals, StepArrivals
from lockgate.core.rollout.conditions import POPULATION, STABILITY, population_name
from lockgate.core.rollout.proxy import LabelCount
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally_kpis import value_name
from lockgate.core.rollout.tally_strata import PAIRS, Moments, Strata, Stratum
from lockgate.core.spec_sections.rollout import GuardrailsSection, KpiGuardrail, Metric

SCORE: Final = "score"
LOSS: Final = "loss"
DISAGREEMENT: Final = "disagreement"
SCORE_SIDES: Final = {"score:up": 1.0, "score:down": -1.0}
TUNED_FOR: Final = 1000.0
"""Effective entities at which bounds on means are narrowest. Ours: hours of a small canary; a tenth or ten times of it
costs a tenth of the width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Sufficient statistics of a look.

    Attributes:
        evidence: One a name of `evidence_names`.
        contrast: The plan's metric by step; None where it is compared on the same requests, or there is no plan.
        paired: The plan's metric on the same requests, challenger's less champion's; of disagreement zeros and ones.
        bandit: What is believed of the arms; None where nothing adapts.
        challenger_requests: Since the counting before.
        champion_requests: Likewise.
        challenger_entities: Entities first seen with it, of pairs included.
        champion_entities: Likewise.
        coverage: The share of due entities whose loss counts, the lower of both arms; None where none is due.
        shown: For pages only.
        behind: Whether there was more in the log, or may have been, than was read.
        lost_requests: Since the beginning: known to have been logged, and not to be read any more.
        read_requests: Since the beginning: those of both arms that were read.
        labels: How many have come, where the plan tests a proxy for what they tell; None where it does not.
    """

    evidence: tuple[Evidence, ...]
    contrast: Contrast | None
    paired: Sums | None
    bandit: Posterior | None
    challenger_requests: int
    champion_requests: int
    challenger_entities: int
    champion_entities: int
    coverage: float | None
    shown: Mapping[str, Json]
    behind: bool = False
    lost_requests: int = 0
    read_requests: int = 0
    labels: LabelCount | None = None


def evidence_names(course: Course) -> tuple[str, ...]:
    """Return the names of the evidence that a look of a course holds: its guardrails, the score as two."""
    found = [side for name in course.guardrails for side in (SCORE_SIDES if name == SCORE else (name,))]
    return (*found, STABILITY) if course.stability is not None else tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What evidence is made from.

    Attributes:
        course: What was declared.
        guardrails: The section, for what is tolerated.
        strata: Counts and sums.
        blocks: Latency; None where it is not watched.
        coverage: Of labels.
        p_before: Of arrivals, at the counting before.
        populations: Of each declared column.
        days: The plan's metric by day; None where days are not told apart.
    """

    course: Course
    guardrails: GuardrailsSection
    strata: Strata
    blocks: Blocks | None
    coverage: float | None
    p_before: float
    populations: tuple[Populations, ...] = ()
    days: Days | None = None

    def entities(self, arm: int) -> int:
        """Return how many entities an arm has met; 1 is the challenger."""
        return sum(stratum.entities[arm] for stratum in self.strata.all)

    def evidence(self) -> tuple[Evidence, ...]:
        """Return one piece a name of `evidence_names`."""
        found = [each for name, alpha in self.course.guardrails.items() for each in self._of(name, alpha)]
        if self.course.stability is not None:
            found.append(self._piece(STABILITY, self.course.stability.worst_alpha, days=self.days))
        return tuple(found)

    def arrivals(self) -> Arrivals:
        """Return new entities by split; a pair has both arms, so it cannot be unevenly split."""
        steps = [
            StepArrivals(shares=(each.share, 1.0 - each.share), entities=(each.entities[1], each.entities[0]))
            for each in self.strata.live()
        ]
        pairs = self.strata.all[PAIRS].entities[1]
        if pairs:
            steps.append(StepArrivals(shares=(1.0,), entities=(pairs,)))
        return Arrivals(steps=tuple(steps))

    def contrast(self) -> Contrast | None:
        """Return the plan's metric by step, of entities that met one arm or the other."""
        metric = self.course.metric
        paired = metric is Metric.DISAGREEMENT or (metric is Metric.LOSS and self.course.is_shadow_alone)
        if metric is None or paired:
            return None
        return Contrast(steps=tuple(metric_steps(metric, self.guardrails, self.strata.live())))

    def paired(self) -> Sums | None:
        """Return the plan's metric on the same requests."""
        if self.course.metric is Metric.DISAGREEMENT:
            return self._pairs(DISAGREEMENT)
        if self.course.metric is Metric.LOSS and self.course.is_shadow_alone:
            return self._pairs(LOSS)
        return None

    def _of(self, name: str, alpha: float) -> Iterator[Evidence]:
        if name == SCORE and self.guardrails.score is not None:
            for side, sign in SCORE_SIDES.items():
                yield self._mean(side, alpha / 2.0, SCORE, sign, tolerated=self.guardrails.score.tolerated)
        elif name == "quality" and self.guardrails.quality is not None:
            enough = (self.coverage or 0.0) >= self.guardrails.quality.coverage
            yield self._mean(name, alpha, LOSS, 1.0, tolerated=self.guardrails.quality.tolerated, told=enough)
        elif name == "arrivals":
            yield self._piece(name, alpha, arrivals=self.arrivals(), p_before=self.p_before)
        elif name == "latency" and self.blocks is not None:
            yield self._piece(name, alpha, blocks=self.blocks)
        elif name == "contract":
            yield self._piece(name, alpha, failures=_failures(self.strata.all, flags=True))
        elif name == "errors":
            yield self._piece(name, alpha, failures=_failures(self.strata.all, flags=False))
        elif name.startswith(POPULATION):
            told = next((each for each in self.populations if population_name(each.column) == name), None)
            yield self._piece(name, alpha, populations=told)
        else:
            kpi = next((each for each in self.guardrails.kpi if value_name(each.name) == name), None)
            if kpi is None:
                yield self._piece(name, alpha)  # declared and not measured: judged as broken
            else:
                yield self._mean(name, alpha, name, _sign(kpi), tolerated=kpi.tolerated)

    def _mean(  # noqa: PLR0913 - the facts of one comparison
        self, name: str, alpha: float, value: str, sign: float, *, tolerated: float, told: bool = True
    ) -> Evidence:
        if self.course.is_shadow_alone:
            sums = self._pairs(value, sign) if told else Sums()
            return self._piece(name, alpha, paired=sums, tolerated=tolerated)
        steps = (each.contrast(value, sign) for each in self.strata.all)
        return self._piece(name, alpha, contrast=_contrast(steps if told else ()), tolerated=tolerated)

    def _pairs(self, value: str, sign: float = 1.0) -> Sums:
        return self.strata.paired.get(value, Moments()).sums(sign)

    def _piece(  # noqa: PLR0913 - one of them is given
        self,
        name: str,
        alpha: float,
        *,
        failures: FailureCounts | None = None,
        blocks: Blocks | None = None,
        contrast: Contrast | None = None,
        paired: Sums | None = None,
        arrivals: Arrivals | None = None,
        populations: Populations | None = None,
        days: Days | None = None,
        p_before: float = 1.0,
        tolerated: float = 0.0,
    ) -> Evidence:
        return Evidence(
            guardrail=name,
            alpha=alpha,
            challenger_entities=self.entities(1),
            champion_entities=self.entities(0),
            failures=failures,
            blocks=blocks,
            contrast=contrast,
            paired=paired,
            arrivals=arrivals,
            populations=populations,
            days=days,
            p_before=p_before,
            tolerated=tolerated,
            tuned_for=TUNED_FOR,
        )


def _failures(strata: Sequence[Stratum], *, flags: bool) -> FailureCounts:
    told = [(each.share, each.flags if flags else each.failures) for each in strata]
    return FailureCounts(
        steps=tuple(
            StepFailures(share=share, challenger=challenger, champion=champion)
            for share, (champion, challenger) in told
            if champion or challenger
        )
    )


def metric_steps(metric: Metric, guardrails: GuardrailsSection, strata: Sequence[Stratum]) -> Iterator[StepSums]:
    """Yield a metric of the plan by step, of entities that met one arm or the other; steps without any are left out."""
    for each in strata:
        if metric is Metric.ERRORS:
            step = each.first_answers()
        elif metric is Metric.KPI:
            step = each.contrast(value_name(guardrails.kpi[0].name), _sign(guardrails.kpi[0]))
        else:
            step = each.contrast(LOSS)
        if step.challenger.n or step.champion.n:
            yield step


def _contrast(steps: Iterator[StepSums] | Sequence[StepSums]) -> Contrast:
    return Contrast(steps=tuple(each for each in steps if each.challenger.n or each.champion.n))


def _sign(kpi: KpiGuardrail) -> float:
    return 1.0 if kpi.higher_is_worse else -1.0
