"""Sub-populations: one that is harmed rolls back, one that is too small keeps from promoting, and both are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.online.failures import FailureCounts
from lockgate.core.online.findings import Evidence, judge
from lockgate.core.online.guardrails import Finding, Look, RolloutVerdict, State, decide
from lockgate.core.online.populations import Population, Populations
from lockgate.core.rollout.observations import Observation, Seen
from lockgate.core.rollout.steps import course_of
from lockgate.core.rollout.tally import Counted, Tally
from lockgate.core.spec_sections.rollout import GuardrailsSection, RolloutSection, RolloutStrategy, StepSection
from lockgate.core.spec_sections.rollout_conditions import SubpopulationSection
from lockgate.errors import ConfigError
from lockgate.stages.audit_statistics import unlike_the_course
from lockgate.stages.looking import is_at_ease
from tests.unit.rollout.tally_world import BEGAN, copied, evidence, label, request, section_of, seen, tally_of

CARRIERS = ("AA", "B6", "DL", "HA")
OFTEN = (0.4, 0.3, 0.29, 0.01)


def by_carrier(**told: object) -> RolloutSection:
    return replace(
        section_of(guardrails=GuardrailsSection(latency=None)),
        subpopulations=(SubpopulationSection(column="carrier", **told),),  # type: ignore[arg-type]  # its fields
    )


def shown(counted: Counted) -> Finding:
    return judge(evidence(counted, "population:carrier"))


def counted_of(counted: Counted) -> dict[str, Population]:
    told = evidence(counted, "population:carrier").populations
    assert told is not None
    return {each.value: each for each in told.values}


def traffic(
    rng: np.random.Generator, requests: int, share: float, worse: dict[str, float], *, failing: float = 0.01
) -> Seen:
    """Requests of new clients; `worse` multiplies the challenger's failures by carrier."""
    carriers = rng.choice(len(CARRIERS), requests, p=OFTEN)
    ours, lot = rng.random(requests) < share, rng.random(requests)
    found = []
    for which, mine, chance in zip(carriers.tolist(), ours.tolist(), lot.tolist(), strict=True):
        carrier = CARRIERS[which]
        fails = chance < failing * (worse.get(carrier, 1.0) if mine else 1.0)
        told = {"slices": {"carrier": carrier}, "failed": fails}
        found.append(request("challenger" if mine else "champion", share, **told))
    return seen(*found)


def test_a_challenger_that_is_bad_on_one_slice_alone_is_rolled_back_for_it_and_by_nothing_else() -> None:
    rng, tally = np.random.default_rng(1), tally_of(by_carrier())
    tally.take(traffic(rng, 4000, 0.2, {"B6": 3.2, "AA": 0.05, "DL": 0.05}, failing=0.08))  # on average as before
    counted = tally.counted(BEGAN)
    found = [judge(each) for each in counted.evidence]
    assert [each.guardrail for each in found if each.state is State.HARM] == ["population:carrier"]
    assert shown(counted).reason.startswith("carrier=B6, errors")
    look = Look(share=0.2, challenger_requests=9, champion_requests=9, findings=tuple(found))
    assert decide([look]).verdict is RolloutVerdict.ROLL_BACK


def test_a_slice_that_is_too_small_is_named_and_keeps_from_promoting() -> None:
    tally = tally_of(by_carrier(fewest=100))
    tally.take(traffic(np.random.default_rng(2), 4000, 0.5, {}))
    found = shown(tally.counted(BEGAN))
    assert found.state is State.UNMET
    assert "1 of 4 cannot be told yet: HA (" in found.reason
    others = Finding(guardrail="errors", state=State.CLEAR, observed=0.0, threshold=4.6, reason="")
    look = Look(share=0.5, challenger_requests=9, champion_requests=9, findings=(others, found), steps_done=True)
    ready = replace(look, non_inferior=RolloutVerdict.PROMOTE)
    assert decide([ready]).verdict is RolloutVerdict.CONTINUE
    late = decide([replace(ready, time_is_up=True)])
    assert late.verdict is RolloutVerdict.INCONCLUSIVE
    assert "HA (" in late.reason
    assert is_at_ease(found), "a small slice is no reason to shrink a bandit's arm"


def test_a_slice_that_the_spec_lets_pass_is_named_all_the_same() -> None:
    tally = tally_of(by_carrier(fewest=100, may_be_small=True))
    tally.take(traffic(np.random.default_rng(2), 4000, 0.5, {}))
    found = shown(tally.counted(BEGAN))
    assert found.state is State.CLEAR
    assert "passed by as the spec allows: HA (" in found.reason


def test_nothing_is_passed_by_where_every_slice_is_too_small_or_none_has_come() -> None:
    tally = tally_of(by_carrier(fewest=100, may_be_small=True))
    tally.take(seen(request("challenger"), request()))  # of carrier (missing)
    assert shown(tally.counted(BEGAN)).state is State.UNMET
    none = Populations(column="carrier", most=3, fewest=1, may_be_small=True)
    told = Evidence(
        guardrail="population:carrier", alpha=0.01, challenger_entities=9, champion_entities=9, populations=none
    )
    assert judge(told).state is State.UNMET


def test_a_declared_value_that_never_comes_is_too_small_and_one_that_is_not_declared_is_not_watched() -> None:
    tally = tally_of(by_carrier(values=("AA", "ZZ"), fewest=1))
    tally.take(
        seen(*(request(arm, slices={"carrier": each}) for arm in ("champion", "challenger") for each in CARRIERS))
    )
    counted = tally.counted(BEGAN)
    assert list(counted_of(counted)) == ["AA", "ZZ"]
    assert "ZZ (0 of 1 entities" in shown(counted).reason


def test_values_beyond_the_most_are_watched_as_one() -> None:
    tally = tally_of(by_carrier(most=3, fewest=1))
    for number, each in enumerate("abcdea"):
        tally.take(seen(request(("champion", "challenger")[number % 2], slices={"carrier": each})))
    found = counted_of(tally.counted(BEGAN))
    assert {value: (each.champion, each.challenger) for value, each in found.items()} == {
        "a": (1, 1),
        "b": (0, 1),
        "(all that came later)": (2, 1),
    }


def test_an_entity_counts_once_in_each_slice_it_has_requests_of() -> None:
    tally = tally_of(by_carrier())
    for each in ("AA", "AA", "B6"):
        tally.take(seen(request("challenger", entity="e", failed=True, slices={"carrier": each})))
    found = counted_of(tally.counted(BEGAN))
    assert [(each.challenger, each.failures.steps[0].challenger) for each in found.values()] == [(1, 1), (1, 1)]


def test_losses_and_scores_of_a_slice_are_compared_once_its_labels_come() -> None:
    tally = tally_of(by_carrier(values=("AA",), fewest=60, loss_tolerated=0.05, score_tolerated=0.3))
    for number in range(300):
        arm = ("champion", "challenger")[number % 2]
        score = 0.9 if arm == "challenger" else 0.1
        asked = request(arm, 0.5, entity=f"e{number}", slices={"carrier": "AA"}, scores=(score,))
        tally.take(seen(asked, labels=[label(asked, "no")]))
        if number == 200:  # some of either arm labelled and due
            assert counted_of(tally.counted(BEGAN))["AA"].loss is not None
    found = counted_of(tally.counted(BEGAN + 10.0))["AA"]
    assert found.loss is not None
    assert found.loss.steps[0].challenger.total / 150 == pytest.approx(0.81)
    said = shown(tally.counted(BEGAN + 10.0))
    assert said.state is State.HARM


def test_a_slice_without_labels_is_not_passed_silently() -> None:
    tally = tally_of(by_carrier(values=("AA",), fewest=60, loss_tolerated=0.05))
    for number in range(300):
        arm = ("champion", "challenger")[number % 2]
        tally.take(seen(request(arm, 0.5, entity=f"e{number}", slices={"carrier": "AA"})))
    said = shown(tally.counted(BEGAN + 10.0))
    assert said.state is State.UNMET
    assert "AA (loss: needs 50 entities" in said.reason


def test_a_large_slice_without_labels_is_not_passed_by_as_a_small_one() -> None:
    tally = tally_of(by_carrier(fewest=60, loss_tolerated=0.05, may_be_small=True))
    for number in range(800):
        arm, carrier = ("champion", "challenger")[number % 2], CARRIERS[number // 2 % 2]
        asked = request(arm, 0.5, entity=f"e{number}", slices={"carrier": carrier})
        tally.take(seen(asked, labels=[label(asked, "no")] if carrier == "AA" else []))
    said = shown(tally.counted(BEGAN + 10.0))
    assert said.state is State.UNMET
    assert "1 of 2 cannot be told yet: B6 (loss: needs 50 entities" in said.reason


def test_pairs_of_a_shadow_count_in_their_slice() -> None:
    section = replace(
        section_of(RolloutStrategy.SHADOW, steps=(StepSection(shadow=1.0, bake_s=60.0),)),
        subpopulations=(SubpopulationSection(column="carrier", fewest=1),),
    )
    tally = tally_of(section)
    where = {"slices": {"carrier": "AA"}}
    tally.take(seen(*copied("p", where, entity="e", failed=True, **where)))
    found = counted_of(tally.counted(BEGAN))["AA"]
    assert (found.challenger, found.champion) == (1, 1)
    assert [(each.share, each.challenger, each.champion) for each in found.failures.steps] == [(0.5, 1, 0)]


def test_a_tally_that_was_saved_and_read_again_goes_on_where_it_stopped() -> None:
    section = by_carrier(loss_tolerated=0.1, score_tolerated=0.1)
    first, rng = tally_of(section), np.random.default_rng(5)
    first.take(traffic(rng, 400, 0.2, {}))
    again = Tally.from_bytes(first.to_bytes(), course_of(section, sd=0.3), section, TaskKind.BINARY, ("no", "yes"))
    more = traffic(rng, 400, 0.2, {})
    first.take(more)
    again.take(more)
    assert again.counted(BEGAN).evidence == first.counted(BEGAN).evidence
    assert again.to_bytes() == first.to_bytes()


def test_the_error_is_split_over_all_slices_there_may_be_and_printed_with_the_others() -> None:
    course = course_of(by_carrier(weight=2.0), sd=None)
    assert course.guardrails["population:carrier"] == course.guardrails["errors"]
    assert sum(course.guardrails.values()) == pytest.approx(0.05)
    told = Populations(column="carrier", most=20, fewest=1, score_tolerated=0.1, loss_tolerated=0.1)
    assert told.tests == 80


def test_more_slices_than_the_error_was_split_over_are_not_to_be_trusted() -> None:
    one = Population(value="a", challenger=9, champion=9, failures=FailureCounts(steps=()))
    told = Populations(column="carrier", most=1, fewest=1, values=(one, replace(one, value="b")))
    found = judge(
        Evidence(
            guardrail="population:carrier", alpha=0.01, challenger_entities=9, champion_entities=9, populations=told
        )
    )
    assert found.state is State.BROKEN


@pytest.mark.parametrize(
    ("told", "key"),
    [
        ({"values": ("a",), "edges": (1.0,)}, "rollout.subpopulations[0]"),
        ({"values": ()}, "rollout.subpopulations[0].values"),
        ({"edges": (2.0, 1.0)}, "rollout.subpopulations[0].edges"),
        ({"edges": (1234567.0, 1234568.0, 1234569.0)}, "rollout.subpopulations[0].edges"),
    ],
)
def test_slices_that_cannot_be_told_apart_are_refused(told: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        course_of(by_carrier(**told), sd=None)
    assert refused.value.data["key"] == key


def test_an_auditor_finds_slices_judged_by_other_rules_than_the_specs() -> None:
    section, course = by_carrier(), course_of(by_carrier(), sd=0.3)
    tally = tally_of(section)
    tally.take(traffic(np.random.default_rng(1), 300, 0.2, {}))
    counted = tally.counted(BEGAN)
    assert list(unlike_the_course(course, section, counted)) == []

    def doctored(**change: object) -> list[str]:
        pieces = [
            each if each.populations is None else replace(each, populations=replace(each.populations, **change))  # type: ignore[arg-type]  # its fields
            for each in counted.evidence
        ]
        return list(unlike_the_course(course, section, replace(counted, evidence=tuple(pieces))))

    assert doctored(may_be_small=True)
    assert doctored(fewest=1)
    assert doctored(most=1)
    assert doctored(column="origin")


def test_an_auditor_finds_a_slice_with_more_scores_than_entities() -> None:
    section = by_carrier(score_tolerated=0.05)
    course, tally = course_of(section, sd=0.3), tally_of(section)
    tally.take(_scored(np.random.default_rng(1), traffic(np.random.default_rng(1), 300, 0.2, {})))
    counted = tally.counted(BEGAN)
    told = evidence(counted, "population:carrier")
    assert told.populations is not None
    first, *others = told.populations.values
    fewer = replace(told.populations, values=(replace(first, champion=1), *others))
    pieces = tuple(replace(each, populations=fewer) if each is told else each for each in counted.evidence)

    assert list(unlike_the_course(course, section, counted)) == []
    assert any("more values" in each for each in unlike_the_course(course, section, replace(counted, evidence=pieces)))


def false_alarms(runs: int, seed: int, looks: int = 40) -> int:
    """How many of some equal challengers are rolled back for a slice, looked at some times each."""
    section, alarms = by_carrier(score_tolerated=0.05), 0
    for run in range(runs):
        rng, tally = np.random.default_rng([seed, run]), tally_of(section)
        for look in range(looks):
            share = (0.1, 0.5)[2 * look // looks]
            tally.take(_scored(rng, traffic(rng, 100, share, {}, failing=0.05)))
            if shown(tally.counted(BEGAN + look)).state is State.HARM:
                alarms += 1
                break
    return alarms


def _scored(rng: np.random.Generator, told: Seen) -> Seen:
    def one(each: Observation) -> Observation:
        return each if each.failed else replace(each, scores=(float(rng.beta(2, 5)),))

    return replace(told, observations=tuple(one(each) for each in told.observations))


def test_equal_challengers_are_hardly_ever_called_harmful_on_a_slice() -> None:
    assert false_alarms(2, seed=7, looks=8) == 0


@pytest.mark.soak
def test_equal_challengers_are_called_harmful_on_a_slice_no_more_often_than_declared() -> None:
    alpha = course_of(by_carrier(), sd=None).guardrails["population:carrier"]
    runs = 150
    assert false_alarms(runs, seed=11) <= alpha * runs + 2.0 * (alpha * runs) ** 0.5
