"""From a guardrail's sufficient statistics to its finding: the one place that says when evidence is harm.

Higher is worse throughout: whoever measures a reward hands over its negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from lockgate.core.online import betting, failures, latency_blocks, means, ratio_mismatch
from lockgate.core.online.day_effects import Days, day_finding
from lockgate.core.online.guardrails import Finding, State
from lockgate.core.online.population_finding import population_finding
from lockgate.core.online.populations import Populations, PopulationTest

SMALLEST_ALPHA = 1e-12
"""Ours: no simulation or reading of a log can tell a smaller error from none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedPair:
    """Values in [0, 1] of both arms, each state at half the guardrail's alpha.

    Attributes:
        challenger: Its fortunes.
        champion: The champion's.
    """

    challenger: betting.Wealth
    champion: betting.Wealth


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one guardrail has measured by a look: exactly one statistic, and how much stands behind it.

    Attributes:
        guardrail: Its name.
        alpha: Its share of the declared error.
        challenger_entities: Entities of the challenger it has seen at all; 0 is "no data", however good the rest.
        champion_entities: The champion's.
        failures: First failures by step.
        blocks: Latency by blocks of time.
        contrast: Values of both arms by step.
        paired: Challenger's less champion's value on the same requests.
        bounded: Values in [0, 1].
        arrivals: New entities by arm; harm to the measurement, not to users.
        populations: Sub-populations of a column, each with statistics of its own.
        days: The plan's metric by day; keeps from promoting, is never harm.
        p_before: For `arrivals`: the p-value of the look before, so that what was once seen stays seen.
        tolerated: For the three kinds of mean: the difference that is no harm yet, in the metric's unit.
        tuned_for: For `contrast` and `paired`: see `means.interval`.
    """

    guardrail: str
    alpha: float
    challenger_entities: int
    champion_entities: int
    failures: failures.FailureCounts | None = None
    blocks: latency_blocks.Blocks | None = None
    contrast: means.Contrast | None = None
    paired: means.Sums | None = None
    bounded: BoundedPair | None = None
    arrivals: ratio_mismatch.Arrivals | None = None
    populations: Populations | None = None
    days: Days | None = None
    p_before: float = 1.0
    tolerated: float = 0.0
    tuned_for: float = 1000.0


def judge(evidence: Evidence) -> Finding:
    """Return what a guardrail's evidence says; defined for any evidence, never raises.

    Returns:
        BROKEN for impossible numbers, for an alpha outside 0..1, and where not exactly one statistic is given; NO_DATA
        where an arm was not seen or a mean has too few values; HARM at an e-value of 1 / alpha or a bound above what is
        tolerated.

    >>> told = failures.FailureCounts(steps=(failures.StepFailures(share=0.1, challenger=12, champion=9),))
    >>> seen = Evidence(guardrail="errors", alpha=0.01, challenger_entities=90, champion_entities=800, failures=told)
    >>> judge(seen).state, round(judge(seen).threshold, 3)  # log(1 / 0.01)
    (<State.HARM: 'harm'>, 4.605)
    """
    statistics = (evidence.failures, evidence.blocks, evidence.contrast, evidence.paired, evidence.bounded)
    others = (evidence.arrivals, evidence.populations, evidence.days)
    given = [each for each in (*statistics, *others) if each is not None]
    if len(given) != 1 or not SMALLEST_ALPHA <= evidence.alpha < 1:
        return _finding(evidence, State.BROKEN, math.nan, math.nan, "needs one statistic and an alpha in 0..1")
    if evidence.arrivals is not None:
        return _of_arrivals(evidence, evidence.arrivals)
    if not math.isfinite(evidence.tolerated) or not 0 < evidence.tuned_for < math.inf:
        return _finding(evidence, State.BROKEN, math.nan, math.nan, "what is tolerated or tuned for is no number")
    if min(evidence.challenger_entities, evidence.champion_entities) <= 0:
        return _finding(evidence, State.NO_DATA, math.nan, math.nan, "an arm has not been seen yet")
    return _of_harm(evidence)


def _of_harm(evidence: Evidence) -> Finding:
    if evidence.populations is not None:
        return population_finding(evidence.guardrail, evidence.populations, evidence.alpha, partial(_test, evidence))
    if evidence.days is not None:
        return day_finding(evidence.guardrail, evidence.days, evidence.alpha)
    if evidence.failures is not None:
        least = failures.detectable(evidence.failures, evidence.alpha)
        said = f"could have shown {least:.3g} times the failures by now"
        if math.isinf(least):
            said = "too few of the champion's own to tell a ratio by now"
        return _of_e(evidence, failures.log_e(evidence.failures), said)
    return _of_mean(evidence) if evidence.blocks is None else _of_blocks(evidence, evidence.blocks)


def _test(evidence: Evidence, test: PopulationTest, alpha: float) -> Finding:
    """Judge one test of one sub-population, as a guardrail of its own."""
    own = Evidence(
        guardrail=test.name,
        alpha=alpha,
        challenger_entities=test.value.challenger,
        champion_entities=test.value.champion,
        failures=test.failures,
        contrast=test.contrast,
        tolerated=test.tolerated,
        tuned_for=evidence.tuned_for,
    )
    return judge(own)


def _of_blocks(evidence: Evidence, blocks: latency_blocks.Blocks) -> Finding:
    log_e, whole = latency_blocks.log_e(blocks), latency_blocks.folded(blocks)
    told = whole.pluses + whole.minuses
    if not told and not math.isnan(log_e):
        return _finding(evidence, State.NO_DATA, math.nan, math.nan, "no block has enough requests of both arms")
    return _of_e(evidence, log_e, f"{whole.pluses} of {told} blocks slower")


def _of_e(evidence: Evidence, log_e: float, said: str) -> Finding:
    threshold = math.log(1.0 / evidence.alpha)
    if math.isnan(log_e):
        return _finding(evidence, State.BROKEN, log_e, threshold, "a count or share is impossible")
    words = f"e-value {math.exp(min(log_e, 700.0)):.3g} of the {1.0 / evidence.alpha:.3g} that mean harm; {said}"
    return _finding(evidence, State.HARM if log_e >= threshold else State.CLEAR, log_e, threshold, words)


def _of_arrivals(evidence: Evidence, arrivals: ratio_mismatch.Arrivals) -> Finding:
    p_value, threshold = ratio_mismatch.p_value(arrivals, evidence.p_before), math.log(1.0 / evidence.alpha)
    log_e = math.inf if p_value == 0 else -math.log(p_value) if p_value > 0 else math.nan
    if not any(sum(step.entities) for step in arrivals.steps):
        return _finding(evidence, State.NO_DATA, log_e, threshold, "no entity has arrived")
    if math.isnan(log_e) or log_e >= threshold:
        reason = "entities do not arrive in the arms as the split says; find who loses or repeats them"
        return _finding(evidence, State.BROKEN, log_e, threshold, reason)
    return _finding(evidence, State.CLEAR, log_e, threshold, "entities arrive as the split says")


def _of_mean(evidence: Evidence) -> Finding:
    effect = means.Effect(value=math.nan, se=math.nan, effective=0.0)
    if evidence.bounded is not None:
        low, _ = betting.difference_interval(evidence.bounded.challenger, evidence.bounded.champion)
        spent = evidence.bounded.challenger.alpha + evidence.bounded.champion.alpha
        if math.isnan(low) or spent > evidence.alpha * (1 + 1e-9):
            reason = "the states are not whole, or spend more than the guardrail's error"
            return _finding(evidence, State.BROKEN, math.nan, evidence.tolerated, reason)
    else:
        if evidence.contrast is not None:
            effect = means.difference_effect(evidence.contrast)
        elif evidence.paired is not None:
            effect = means.mean_effect(evidence.paired)
        if math.isnan(effect.value):
            return _unmeasured(evidence)
        low = means.lower(effect, min(evidence.alpha, 0.4), tuned_for=evidence.tuned_for)
    words = f"worse by at least {low:.4g}, tolerated {evidence.tolerated:.4g}"
    state = State.HARM if low > evidence.tolerated else State.CLEAR
    return _finding(evidence, state, low, evidence.tolerated, words)


def _unmeasured(evidence: Evidence) -> Finding:
    """Return NO_DATA where there are too few values, BROKEN where there would be enough and they make no sense."""
    pairs = [(step.challenger.n, step.champion.n) for step in evidence.contrast.steps] if evidence.contrast else []
    sizes = [min(pair) for pair in pairs] + ([evidence.paired.n] if evidence.paired else [])
    if max(sizes, default=0) >= means.FEWEST:
        return _finding(evidence, State.BROKEN, math.nan, evidence.tolerated, "a sum is not finite or impossible")
    reason = f"needs {means.FEWEST} entities of either arm in a step"
    return _finding(evidence, State.NO_DATA, math.nan, evidence.tolerated, reason)


def _finding(evidence: Evidence, state: State, observed: float, threshold: float, reason: str) -> Finding:
    return Finding(guardrail=evidence.guardrail, state=state, observed=observed, threshold=threshold, reason=reason)
