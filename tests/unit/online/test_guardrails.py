"""One decision from many findings: harm first, promotion last, and no data never promotes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core.ids import to_json
from lockgate.core.online.alpha import Allocation, allocate
from lockgate.core.online.betting import Wealth, observe
from lockgate.core.online.failures import FailureCounts, StepFailures
from lockgate.core.online.findings import BoundedPair, Evidence, judge
from lockgate.core.online.guardrails import Decision, Finding, Look, RolloutVerdict, State, decide
from lockgate.core.online.latency_blocks import Block, Blocks
from lockgate.core.online.means import Contrast, StepSums, Sums
from lockgate.core.online.ratio_mismatch import Arrivals, StepArrivals
from lockgate.core.records import read_record

FINDINGS = st.builds(
    Finding,
    guardrail=st.sampled_from(["errors", "latency"]),
    state=st.sampled_from(list(State)),
    observed=st.floats(-5, 5),
    threshold=st.just(4.6),
    reason=st.just("because"),
)
LOOKS = st.lists(
    st.builds(
        Look,
        share=st.sampled_from([0.0, 0.1, 1.0]),
        challenger_requests=st.integers(0, 2),
        champion_requests=st.integers(0, 2),
        findings=st.lists(FINDINGS, max_size=3).map(tuple),
        non_inferior=st.sampled_from(
            [None, RolloutVerdict.PROMOTE, RolloutVerdict.CONTINUE, RolloutVerdict.INCONCLUSIVE]
        ),
        steps_done=st.booleans(),
        time_is_up=st.booleans(),
    ),
    max_size=5,
)
CLEAR = Finding(guardrail="errors", state=State.CLEAR, observed=0.0, threshold=4.6, reason="no harm shown")
GOOD = Look(
    share=0.5,
    challenger_requests=10,
    champion_requests=10,
    findings=(CLEAR,),
    non_inferior=RolloutVerdict.PROMOTE,
    steps_done=True,
)


@settings(max_examples=30, deadline=None)
@given(LOOKS)
def test_harm_at_any_look_rolls_back_and_nothing_else_does(looks: list[Look]) -> None:
    harmed = any(finding.state is State.HARM for look in looks for finding in look.findings)
    assert (decide(looks).verdict is RolloutVerdict.ROLL_BACK) == harmed


@settings(max_examples=30, deadline=None)
@given(LOOKS)
def test_promotion_needs_live_traffic_every_guardrail_clear_and_non_inferiority(looks: list[Look]) -> None:
    if decide(looks).verdict is RolloutVerdict.PROMOTE:
        last = looks[-1]
        assert last.findings
        assert all(finding.state is State.CLEAR for finding in last.findings)
        assert last.challenger_requests > 0 or last.share == 0
        assert last.champion_requests > 0 or last.share == 1
        assert last.steps_done
        assert RolloutVerdict.PROMOTE in [look.non_inferior for look in looks]


@settings(max_examples=30, deadline=None)
@given(LOOKS)
def test_a_decision_always_says_why_and_what_follows_and_time_up_never_continues(looks: list[Look]) -> None:
    found = decide(looks)
    assert found.reason
    assert found.next
    if looks and looks[-1].time_is_up:
        assert found.verdict is not RolloutVerdict.CONTINUE


@settings(max_examples=30, deadline=None)
@given(LOOKS)
def test_the_record_gives_the_same_decision(looks: list[Look]) -> None:
    again = [read_record(Look, json.loads(json.dumps(to_json(look)))) for look in looks]
    assert decide(again) == decide(looks)
    assert read_record(Decision, json.loads(json.dumps(to_json(decide(looks))))) == decide(looks)


@pytest.mark.parametrize(
    "blind",
    [
        {"challenger_requests": 0},
        {"champion_requests": 0},
        {"findings": ()},
        {"findings": (replace(CLEAR, state=State.BROKEN),)},
        {"share": math.nan},
    ],
)
def test_a_blind_look_holds_the_rollout_and_three_in_a_row_end_it(blind: dict[str, Any]) -> None:
    dark = replace(GOOD, **blind)
    assert decide([GOOD, dark]).verdict is RolloutVerdict.CONTINUE
    assert decide([GOOD, dark, dark]).verdict is RolloutVerdict.CONTINUE
    assert decide([dark, dark, dark]).verdict is RolloutVerdict.INCONCLUSIVE
    assert decide([dark, dark, GOOD]).verdict is RolloutVerdict.PROMOTE


def test_a_guardrail_that_is_missing_blinds_the_look() -> None:
    assert decide([GOOD], declared=["errors", "latency"]).verdict is RolloutVerdict.CONTINUE
    assert "latency was not measured" in decide([GOOD] * 3, declared=["errors", "latency"]).reason
    assert decide([GOOD] * 3, declared=["errors", "latency"]).verdict is RolloutVerdict.INCONCLUSIVE
    before = replace(GOOD, findings=(CLEAR, replace(CLEAR, guardrail="latency")), steps_done=False)
    assert decide([before, GOOD]).verdict is RolloutVerdict.CONTINUE


def test_a_guardrail_without_data_is_not_clear() -> None:
    silent = replace(GOOD, findings=(CLEAR, replace(CLEAR, guardrail="quality", state=State.NO_DATA)))
    assert decide([silent]).verdict is RolloutVerdict.CONTINUE
    assert decide([replace(silent, time_is_up=True)]).verdict is RolloutVerdict.INCONCLUSIVE


def test_steps_that_are_left_or_a_plan_that_ended_do_not_promote() -> None:
    assert decide([replace(GOOD, steps_done=False)]).verdict is RolloutVerdict.CONTINUE
    assert decide([replace(GOOD, non_inferior=None)]).verdict is RolloutVerdict.CONTINUE
    ended = replace(GOOD, non_inferior=RolloutVerdict.INCONCLUSIVE)
    assert decide([ended]).verdict is RolloutVerdict.INCONCLUSIVE


def evidence(**statistic: Any) -> Evidence:
    return Evidence(
        **{"guardrail": "g", "alpha": 0.01, "challenger_entities": 100, "champion_entities": 900} | statistic
    )


def sums(mean: float, n: int = 1000) -> Sums:
    return Sums(n=n, total=mean * n, squares=(mean**2 + 1) * n)


def contrast(ours: float, theirs: float, n: int = 1000) -> Contrast:
    return Contrast(steps=(StepSums(challenger=sums(ours, n), champion=sums(theirs, n)),))


def pair(ours: float, theirs: float, alpha: float = 0.005) -> BoundedPair:
    one, other = (observe(Wealth(alpha=alpha), [value, 1 - value] * 100) for value in (ours, theirs))
    more = observe(one, [ours] * 200)
    return BoundedPair(challenger=more, champion=observe(other, [theirs] * 200))


HARM = {
    "failures": {"failures": FailureCounts(steps=(StepFailures(share=0.1, challenger=20, champion=10),))},
    "blocks": {"blocks": Blocks(quantile=0.95, blocks=(Block(challenger=30, champion=270, over=9),) * 12)},
    "contrast": {"contrast": contrast(1.0, 0.0)},
    "paired": {"paired": sums(1.0)},
    "bounded": {"bounded": pair(1.0, 0.0)},
}
CLEARED = {
    "failures": {"failures": FailureCounts(steps=(StepFailures(share=0.1, challenger=1, champion=10),))},
    "blocks": {"blocks": Blocks(quantile=0.95, blocks=(Block(challenger=30, champion=270, over=1),) * 12)},
    "contrast": {"contrast": contrast(0.0, 0.0)},
    "paired": {"paired": sums(0.0)},
    "bounded": {"bounded": pair(0.5, 0.5)},
    "arrivals": {"arrivals": Arrivals(steps=(StepArrivals(shares=(0.1, 0.9), entities=(100, 900)),))},
}
BROKEN: dict[str, dict[str, Any]] = {
    "nothing measured": {},
    "two statistics": {**HARM["paired"], **HARM["failures"]},
    "no alpha": {**HARM["failures"], "alpha": 0.0},
    "alpha is no number": {**HARM["failures"], "alpha": math.nan},
    "a negative count": {"failures": FailureCounts(steps=(StepFailures(share=0.1, challenger=-1, champion=10),))},
    "more over than there are": {
        "blocks": Blocks(quantile=0.95, blocks=(Block(challenger=30, champion=270, over=31),))
    },
    "a sum is no number": {"paired": Sums(n=1000, total=math.nan, squares=1.0)},
    "more error than allotted": {"bounded": pair(1.0, 0.0, alpha=0.05)},
    "entities got lost before": {**CLEARED["arrivals"], "p_before": 0.001},
    "a p-value that is none": {**CLEARED["arrivals"], "p_before": -0.5},
    "entities get lost": {"arrivals": Arrivals(steps=(StepArrivals(shares=(0.5, 0.5), entities=(100, 900)),))},
}
NO_DATA: dict[str, dict[str, Any]] = {
    "an arm was never seen": {**CLEARED["failures"], "challenger_entities": 0},
    "no champion": {**CLEARED["failures"], "champion_entities": 0},
    "no block tells": {"blocks": Blocks(quantile=0.95, blocks=(Block(challenger=1, champion=270, over=1),))},
    "few values": {"contrast": contrast(9.0, 0.0, n=10)},
    "no pair": {"paired": Sums()},
    "no arrival": {"arrivals": Arrivals(steps=())},
}


@pytest.mark.parametrize(
    ("given", "state"),
    [
        pytest.param(given, state, id=f"{state.value}: {name}")
        for state, cases in (
            (State.HARM, HARM),
            (State.CLEAR, CLEARED),
            (State.BROKEN, BROKEN),
            (State.NO_DATA, NO_DATA),
        )
        for name, given in cases.items()
    ],
)
def test_evidence_is_judged_the_same_live_and_from_the_record(given: dict[str, Any], state: State) -> None:
    found = judge(evidence(**given))
    assert found.state is state, found.reason
    again = judge(read_record(Evidence, json.loads(json.dumps(to_json(evidence(**given))))))
    assert to_json(again) == to_json(found)


ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
ANY_SUMS = st.builds(Sums, n=st.integers(-5, 10**6), total=ANY_FLOAT, squares=ANY_FLOAT)
ANY_WEALTH = st.builds(Wealth, alpha=ANY_FLOAT, n=st.integers(0, 3))


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {"alpha": ANY_FLOAT | st.just(0.01)},
        optional={
            "tolerated": ANY_FLOAT,
            "tuned_for": ANY_FLOAT,
            "p_before": ANY_FLOAT,
            "challenger_entities": st.integers(-1, 2),
        },
    ),
    st.one_of(
        st.builds(StepFailures, share=ANY_FLOAT, challenger=st.integers(-1, 99), champion=st.integers(-1, 99)).map(
            lambda step: {"failures": FailureCounts(steps=(step,))}
        ),
        st.builds(
            Block, challenger=st.integers(-1, 99), champion=st.integers(-1, 99), over=st.integers(-1, 99)
        ).flatmap(lambda block: ANY_FLOAT.map(lambda q: {"blocks": Blocks(quantile=q, blocks=(block,))})),
        ANY_SUMS.map(lambda given: {"paired": given}),
        st.tuples(ANY_SUMS, ANY_SUMS).map(
            lambda two: {"contrast": Contrast(steps=(StepSums(challenger=two[0], champion=two[1]),))}
        ),
        st.tuples(ANY_WEALTH, ANY_WEALTH).map(lambda two: {"bounded": BoundedPair(challenger=two[0], champion=two[1])}),
        st.tuples(ANY_FLOAT, ANY_FLOAT).map(
            lambda two: {"arrivals": Arrivals(steps=(StepArrivals(shares=two, entities=(3, 4)),))}
        ),
    ),
)
def test_no_evidence_whatever_raises_and_none_that_is_no_number_is_clear(
    facts: dict[str, Any], statistic: dict[str, Any]
) -> None:
    found = judge(evidence(**statistic, **facts))
    if found.state in (State.CLEAR, State.HARM):
        assert not math.isnan(found.observed)
        assert math.isfinite(found.threshold)


def test_a_doctored_count_gives_another_number() -> None:
    told = to_json(evidence(**HARM["failures"]))
    assert isinstance(told, dict)
    text = json.dumps(told).replace('"challenger": 20', '"challenger": 2')
    assert judge(read_record(Evidence, json.loads(text))).observed != judge(evidence(**HARM["failures"])).observed


def test_a_difference_that_is_tolerated_is_no_harm() -> None:
    assert judge(evidence(**HARM["contrast"], tolerated=2.0)).state is State.CLEAR


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 0.5), st.dictionaries(st.text(min_size=1), st.floats(1e-3, 1e3), min_size=1, max_size=12))
def test_the_shares_of_the_error_never_sum_to_more_than_was_declared(alpha: float, weights: dict[str, float]) -> None:
    found = allocate(alpha, weights)
    assert math.fsum(found.shares.values()) <= alpha
    assert math.fsum(found.shares.values()) == pytest.approx(alpha)
    assert len(found.lines()) == len(weights)
    assert read_record(Allocation, json.loads(json.dumps(to_json(found)))) == found


@pytest.mark.parametrize(
    ("alpha", "weights"), [(0.0, {"a": 1}), (math.nan, {"a": 1}), (0.05, {}), (0.05, {"a": 0}), (0.05, {"a": math.inf})]
)
def test_an_error_that_cannot_be_split_is_refused(alpha: float, weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"declare|above 0"):
        allocate(alpha, weights)
