"""A proxy that the plan tests in place of the loss: what was declared, and what is said of a decision that rests on it.

Where labels come after a rollout has ended, the loss cannot promote: a plan without data is inconclusive, and the
champion stays. Whoever would rather go by something that is known in time says so in the spec (`rollout.plan.proxy`),
with the reason. The plan then controls the errors of *that* comparison and of nothing else; no statistic of the rollout
can say whether the proxy tells of the loss. So every word about the decision says what it rests on, and the losses are
compared afterwards (`proxy_truth`).

Source: Prentice 1989, Surrogate endpoints in clinical trials (Stat. Med. 8, 431-440), for what a stand-in would have to
fulfil; Fleming & DeMets 1996 (Ann. Intern. Med. 125, 605-613) for how often one did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lockgate.core.online.guardrails import Decision, RolloutVerdict
from lockgate.core.rollout.step_list import Step, refusal
from lockgate.core.spec_sections.rollout import Metric, PlanSection, RolloutSection

_KEY = "rollout.plan.proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a plan's metric stands in for.

    Attributes:
        metric: What is meant: the loss.
        margin: How much worse in it would still have been acceptable, in its unit.
        because: Why the plan's metric may stand in for it, in the words of the spec.
        coverage: Least share of due answers that must have a label before it is said to tell anything.
    """

    metric: Metric
    margin: float
    because: str
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount:
    """How many labels have come by a look, by entity; the two halves of a pair count in both arms.

    Attributes:
        champion_answered: Entities that the champion answered.
        challenger_answered: Entities that the challenger answered.
        champion_labelled: Of those of the champion, how many have a label, due or not.
        challenger_labelled: Likewise.
        due_s: Age at which an answer's label is due, in seconds.
    """

    champion_answered: int
    challenger_answered: int
    champion_labelled: int
    challenger_labelled: int
    due_s: float

    @property
    def words(self) -> str:
        """Say how many there are.

        >>> LabelCount(champion_answered=900, challenger_answered=100, champion_labelled=9, challenger_labelled=1,
        ...     due_s=86400.0).words
        'labels had come for 10 of 1000 answered entities; one is due 86400 s after its answer'
        """
        labelled = self.champion_labelled + self.challenger_labelled
        answered = self.champion_answered + self.challenger_answered
        due = f"one is due {self.due_s:g} s after its answer"
        return f"labels had come for {labelled} of {answered} answered entities; {due}"


def truth_of(section: RolloutSection, steps: Sequence[Step]) -> Truth | None:
    """Return what the plan's metric stands in for; None where the spec declares no proxy.

    Args:
        section: The spec's `rollout`.
        steps: Its steps.

    Raises:
        ConfigError: The declaration contradicts itself or the rest; names the key.
    """
    plan, proxy = section.plan, section.plan.proxy
    if proxy is None:
        return None
    if not steps:
        told = f"is given, and rollout.strategy is {section.strategy.value}, which compares nothing; leave it out"
        raise refusal(_KEY, told)
    if plan.metric is not Metric.LOSS:
        said = "not given" if plan.metric is None else plan.metric.value
        told = f"stands in for the loss, and rollout.plan.metric is {said}; set that to loss, which is what is meant"
        raise refusal(_KEY, f"{told}, or leave the proxy out and let the plan test {proxy.metric.value} for itself")
    if not proxy.because.strip():
        raise refusal(f"{_KEY}.because", f"is empty; say why {proxy.metric.value} may stand in for the loss")
    return Truth(metric=plan.metric, margin=plan.margin, because=proxy.because.strip(), coverage=proxy.coverage)


def as_tested(plan: PlanSection) -> PlanSection:
    """Return the section of a plan as it is tested: with a proxy's metric, margin and spread in place of the loss's.

    >>> from lockgate.core.spec_sections.rollout_conditions import ProxyMetric, ProxySection
    >>> proxy = ProxySection(metric=ProxyMetric.ERRORS, because="agreed", margin=0.01)
    >>> found = as_tested(PlanSection(metric=Metric.LOSS, margin=0.05, proxy=proxy))
    >>> found.metric.value, found.margin, found.proxy is None
    ('errors', 0.01, True)
    """
    proxy = plan.proxy
    if proxy is None:
        return plan
    return replace(plan, metric=Metric(proxy.metric.value), margin=proxy.margin, sd=proxy.sd, proxy=None)


def rests_on(metric: Metric | None, truth: Truth | None) -> str:
    """Say what a promotion rests on; empty where it is what is meant.

    >>> rests_on(Metric.ERRORS, Truth(metric=Metric.LOSS, margin=0.02, because="they agreed all last year",
    ...     coverage=0.8))
    'it rests on the proxy errors, not on loss, accepted because: they agreed all last year'
    """
    if metric is None or truth is None:
        return ""
    return f"it rests on the proxy {metric.value}, not on {truth.metric.value}, accepted because: {truth.because}"


def with_proxy(decision: Decision, metric: Metric | None, truth: Truth | None, labels: LabelCount | None) -> Decision:
    """Return a decision whose reason says that it rests on a proxy, where it promotes by one."""
    said = rests_on(metric, truth)
    if not said or decision.verdict is not RolloutVerdict.PROMOTE:
        return decision
    had = "" if labels is None else f"; {labels.words}"
    return replace(decision, reason=f"{decision.reason}; {said}{had}")


def unknown_by_proxy(section: RolloutSection) -> tuple[str, ...]:
    """Return what an approver has to know of a rollout that a proxy will decide, one sentence; nothing elsewhere.

    Args:
        section: The spec's `rollout`.
    """
    proxy = section.plan.proxy
    if proxy is None:
        return ()
    told = f"its rollout will be decided by the proxy {proxy.metric.value}, accepted because: {proxy.because.strip()}"
    after = "lockgate rollout status says what labels say of it, once they have come"
    return (f"Whether its loss in production is no worse than the champion's: {told}. {after}.",)
