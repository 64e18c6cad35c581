"""What a tally counts, and what it does not: one contribution an entity, by the share that was in force."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import pkgutil
from typing import Any

import pytest

from lockgate.core import rollout
from lockgate.core.contract import TaskKind
from lockgate.core.ids import to_json
from lockgate.core.online import failures as first_failures
from lockgate.core.online.findings import Evidence, judge
from lockgate.core.online.guardrails import State
from lockgate.core.records import read_record
from lockgate.core.rollout.observations import KpiSeen
from lockgate.core.rollout.tally import Tally, evidence_names
from lockgate.core.rollout.tally_kpis import Kpis
from lockgate.core.spec_sections.rollout import (
    GuardrailsSection,
    KpiGuardrail,
    LatencyGuardrail,
    Metric,
    QualityGuardrail,
    RolloutSection,
    RolloutStrategy,
    ScoreGuardrail,
    StepSection,
)
from lockgate.errors import ConfigError, IntegrityError
from tests.unit.rollout.tally_world import (
    BEGAN,
    EVERYTHING,
    arrivals,
    copied,
    evidence,
    failures,
    label,
    request,
    section_of,
    seen,
    tally_of,
)

NOW = BEGAN + 1000
MODULES = [f"{rollout.__name__}.{each.name}" for each in pkgutil.iter_modules(rollout.__path__) if "tally" in each.name]


def test_ten_failures_of_one_client_are_one() -> None:
    tally = tally_of()
    tally.take(seen(*(request("challenger", entity="client", failed=True) for _ in range(10))))
    assert failures(tally.counted(NOW)) == [(0.2, 1, 0)]


def test_a_first_failure_counts_with_the_share_and_arm_of_its_own_request() -> None:
    tally = tally_of()
    tally.take(
        seen(
            request("champion", 0.05, entity="client"),
            request("challenger", 0.5, entity="client", failed=True),
            request("champion", 0.5, entity="client", failed=True),
        )
    )
    assert failures(tally.counted(NOW)) == [(0.5, 1, 0)]
    assert arrivals(tally_of().counted(NOW)) == []


def test_an_entity_arrives_once_in_the_step_and_arm_it_was_first_seen_in() -> None:
    tally = tally_of()
    tally.take(seen(request("champion", 0.05, entity="client"), request("challenger", 0.5, entity="client")))
    tally.take(seen(request("challenger", 0.5, entity="new")))
    assert arrivals(tally.counted(NOW)) == [(0.05, 0, 1), (0.5, 1, 0)]


def test_a_request_without_an_entity_is_one_of_its_own() -> None:
    tally = tally_of()
    tally.take(seen(*(request("challenger", failed=True) for _ in range(10))))
    found = tally.counted(NOW)
    assert failures(found) == [(0.2, 10, 0)]
    assert arrivals(found) == [(0.2, 10, 0)]


@pytest.mark.parametrize("propensity", [1.0, 1.0 - 1e-9, math.nan])
def test_what_was_answered_while_nothing_was_leased_counts_nowhere(propensity: float) -> None:
    tally = tally_of()
    tally.take(seen(request(propensity=propensity, entity="client", failed=True, flags=1)))
    found = tally.counted(NOW)
    assert (failures(found), failures(found, "contract"), arrivals(found)) == ([], [], [])
    assert (found.champion_requests, found.champion_entities) == (0, 0)
    assert found.shown["not_counted"]["outside_requests"] == 1  # type: ignore[call-overload,index]


def test_an_arm_that_no_routing_chose_counts_nowhere() -> None:
    tally = tally_of()
    tally.take(seen(request("constant", propensity=0.5, entity="client", failed=True)))
    assert failures(tally.counted(NOW)) == []


def test_equal_shares_are_one_stratum_whichever_arm_tells_them() -> None:
    tally = tally_of()
    tally.take(seen(request("challenger", 0.05), request("champion", 0.05), request("challenger", 0.05 + 5e-7)))
    tally.take(seen(request("challenger", 0.0501)))
    assert arrivals(tally.counted(NOW)) == [(0.05, 2, 1), (0.0501, 1, 0)]


def test_flags_count_as_failures_do() -> None:
    tally = tally_of()
    tally.take(seen(*(request("challenger", entity="client", flags=3) for _ in range(5)), request(flags=1)))
    assert failures(tally.counted(NOW), "contract") == [(0.2, 1, 1)]


def test_requests_are_told_since_the_look_before() -> None:
    tally = tally_of()
    tally.take(seen(request("challenger"), request(), request()))
    first = tally.counted(NOW)
    tally.take(seen(request()))
    then = tally.counted(NOW)
    assert (first.challenger_requests, first.champion_requests) == (1, 2)
    assert (then.challenger_requests, then.champion_requests) == (0, 1)
    assert (then.challenger_entities, then.champion_entities) == (1, 3)


def test_entities_beyond_the_bound_are_not_observed_and_that_is_said() -> None:
    tally = tally_of(max_entities=2)
    tally.take(seen(*(request("challenger", entity=f"c{n}", failed=True) for n in range(5))))
    tally.take(seen(request("challenger", entity="c0", flags=1)))
    found = tally.counted(NOW)
    assert (failures(found), failures(found, "contract")) == ([(0.2, 2, 0)], [(0.2, 1, 0)])
    assert found.shown["not_counted"]["requests_of_entities_too_many"] == 3  # type: ignore[call-overload,index]
    assert found.challenger_requests == 6


# Latency


def latencies(tally: Tally) -> tuple[int, int, int]:
    blocks = evidence(tally.counted(NOW), "latency").blocks
    assert blocks is not None
    assert blocks.blocks == ()
    return blocks.pluses, blocks.minuses, tally.counted(NOW).shown["not_counted"]["late_latencies"]  # type: ignore[return-value,call-overload,index]


def block_of(tally: Tally, at: float, challenger_us: int, champion_us: int = 10_000, **told: bool) -> None:
    for arm, latency_us in (("challenger", challenger_us), ("champion", champion_us)):
        tally.take(seen(*(request(arm, time=at, latency_us=latency_us, **told) for _ in range(10))))


def test_a_block_of_latencies_closes_when_the_log_has_passed_its_end_by_the_slack() -> None:
    tally = tally_of()
    block_of(tally, BEGAN + 1, 30_000)
    tally.take(seen(request(time=BEGAN + 14.9)))
    assert latencies(tally) == (0, 0, 0)
    tally.take(seen(request(time=BEGAN + 15)))
    assert latencies(tally) == (1, 0, 0)
    tally.take(seen(request(time=BEGAN + 9)))
    assert latencies(tally) == (1, 0, 1)


@pytest.mark.parametrize(
    ("challenger_us", "champion_us", "plus"),
    [(15_000, 10_000, 0), (15_001, 10_000, 1), (2_900, 1_000, 0), (3_001, 1_000, 1)],
)
def test_the_line_is_the_ratio_and_at_least_the_milliseconds_that_are_tolerated(
    challenger_us: int, champion_us: int, plus: int
) -> None:
    tally = tally_of()
    block_of(tally, BEGAN + 1, challenger_us, champion_us)
    tally.take(seen(request(time=BEGAN + 100)))
    assert latencies(tally)[:2] == (plus, 1 - plus)


def test_how_long_a_failure_took_is_no_latency() -> None:
    tally = tally_of()
    block_of(tally, BEGAN + 1, 30_000_000, failed=True)
    block_of(tally, BEGAN + 1, 10_000)
    tally.take(seen(request(time=BEGAN + 100)))
    assert latencies(tally)[:2] == (0, 1)


# Values


def sums(tally: Tally, name: str) -> list[tuple[tuple[int, float], tuple[int, float]]]:
    """Number and total by step: challenger's, champion's."""
    found = evidence(tally.counted(NOW), name).contrast
    assert found is not None
    return [
        ((each.challenger.n, each.challenger.total), (each.champion.n, each.champion.total)) for each in found.steps
    ]


def test_an_entity_has_the_score_of_its_first_answer() -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING))
    tally.take(
        seen(
            request("challenger", entity="a", failed=True),
            request("challenger", 0.5, entity="a", scores=(0.25,)),
            request("challenger", entity="a", scores=(0.9,)),
            request("champion", entity="b", scores=(0.5, 1.0)),
        )
    )
    assert sums(tally, "score:up") == [((1, 0.25), (1, 0.75))]
    assert sums(tally, "score:down") == [((1, -0.25), (1, -0.75))]


def test_a_first_answer_of_another_arm_than_the_first_seen_is_no_value_of_either() -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING))
    tally.take(seen(request("champion", 0.05, entity="a", failed=True), request("challenger", 0.5, entity="a")))
    assert sums(tally, "score:up") == []


def test_the_score_of_several_classes_is_the_first_ones_probability() -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING), TaskKind.MULTICLASS, ("a", "b", "c"))
    tally.take(seen(request("challenger", scores=(0.2, 0.3, 0.5, 0.4, 0.6, 0.0))))
    (((n, total), champion),) = sums(tally, "score:up")
    assert (n, champion) == (1, (0, 0.0))
    assert total == pytest.approx(0.3)


@pytest.mark.parametrize(("drift", "side"), [(0.3, "score:up"), (-0.3, "score:down")])
def test_a_score_that_drifts_either_way_is_harm_on_that_side_alone(drift: float, side: str) -> None:
    section = section_of(guardrails=GuardrailsSection(score=ScoreGuardrail()))
    tally = tally_of(section)
    for n in range(200):
        wave = 0.1 * (n % 3 - 1)
        tally.take(
            seen(request("challenger", 0.5, scores=(0.5 + drift + wave,)), request(share=0.5, scores=(0.5 + wave,)))
        )
    found = {each.guardrail: judge(each).state for each in tally.counted(NOW).evidence}
    assert [name for name, state in found.items() if state is State.HARM] == [side]


def test_the_two_sides_of_the_score_share_its_error_and_every_name_has_evidence() -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING))
    found = tally.counted(NOW).evidence
    assert tuple(each.guardrail for each in found) == evidence_names(tally._course)
    assert math.fsum(each.alpha for each in found) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("task", "classes", "scores", "said", "loss"),
    [
        (TaskKind.BINARY, ("no", "yes"), (0.25,), "yes", 0.5625),
        (TaskKind.MULTICLASS, ("a", "b", "c"), (0.5, 0.5, 0.0), "c", 0.75),
        (TaskKind.REGRESSION, (), (3.0,), "5", 2.0),
    ],
)
def test_an_entity_has_the_loss_of_its_first_labelled_answer(
    task: TaskKind, classes: tuple[str, ...], scores: tuple[float, ...], said: str, loss: float
) -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING), task, classes)
    first, second = (request("challenger", entity="a", scores=scores) for _ in range(2))
    tally.take(seen(first, second))
    tally.take(seen(labels=[label(second, said), label(first, said), label(second, said)]))
    assert sums(tally, "quality") == [((1, loss), (0, 0.0))]


@pytest.mark.parametrize(("said", "row"), [("perhaps", 0), ("yes", 1), ("yes", -1)])
def test_a_label_that_fits_nothing_does_not_count(said: str, row: int) -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING))
    asked = request("challenger", entity="a")
    tally.take(seen(asked, labels=[label(asked, said, row=row)]))
    assert sums(tally, "quality") == []
    tally.take(seen(labels=[label(asked, "yes")]))
    assert sums(tally, "quality") == [((1, 0.25), (0, 0.0))]


def test_a_label_that_is_read_before_its_answer_waits_for_it() -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING))
    asked = request("challenger", entity="a")
    tally.take(seen(labels=[label(asked, "yes")]))
    tally.take(seen(asked))
    assert sums(tally, "quality") == [((1, 0.25), (0, 0.0))]


def test_a_loss_counts_when_its_answer_is_due_however_soon_its_label_came() -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING), due_s=60)
    soon, late = request("challenger"), request("champion")
    tally.take(seen(soon, late, labels=[label(soon, "yes", received=BEGAN + 1)]))
    before, at = tally.counted(BEGAN + 59), tally.counted(BEGAN + 60)
    assert (evidence(before, "quality").contrast.steps, before.coverage) == ((), None)  # type: ignore[union-attr]
    assert (len(evidence(at, "quality").contrast.steps), at.coverage) == (1, 0.0)  # type: ignore[union-attr]
    tally.take(seen(labels=[label(late, "yes", received=BEGAN + 90)]))
    assert tally.counted(BEGAN + 89).coverage == 0.0
    assert tally.counted(BEGAN + 90).coverage == 1.0


@pytest.mark.parametrize(("labelled", "state"), [(60, State.CLEAR), (59, State.NO_DATA)])
def test_too_few_labels_are_no_data(labelled: int, state: State) -> None:
    section = section_of(guardrails=GuardrailsSection(quality=QualityGuardrail(coverage=0.6)))
    tally = tally_of(section)
    ours, theirs = [request("challenger") for _ in range(100)], [request() for _ in range(100)]
    told = [*(label(each, "yes") for each in ours[:labelled]), *(label(each, "yes") for each in theirs)]
    tally.take(seen(*ours, *theirs, labels=told))
    found = tally.counted(NOW)
    assert found.coverage == labelled / 100
    assert judge(evidence(found, "quality")).state is state


def kpi(entity: str, value: float, *, after: float = 1.0, name: str = "bookings") -> KpiSeen:
    return KpiSeen(name=name, time=BEGAN + after, entity=entity, value=value)


def test_a_business_number_is_an_entitys_first_after_it_was_seen() -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING))
    early = [kpi("c", 7.0, after=-5), kpi("c", 8.0), kpi("nobody", 1.0)]
    tally.take(seen(request("challenger", 0.05, entity="a"), request("champion", 0.05, entity="b"), kpis=early))
    tally.take(seen(request("challenger", 0.5, entity="b"), request("challenger", 0.5, entity="c")))
    tally.take(seen(kpis=[kpi("a", 9.0, after=-5), kpi("a", 1.0), kpi("a", 2.0), kpi("b", 4.0, name="other")]))
    tally.take(seen(kpis=[kpi("b", 3.0), kpi("b", math.nan)]))
    assert sums(tally, "kpi:bookings") == [((1, -1.0), (1, -3.0)), ((1, -8.0), (0, 0.0))]


def test_more_business_numbers_than_can_be_followed_are_refused() -> None:
    with pytest.raises(ConfigError, match="names 9 metrics; at most 8"):
        Kpis([KpiGuardrail(name=str(n), file="f") for n in range(9)])


# Pairs

SHADOW = section_of(RolloutStrategy.SHADOW, GuardrailsSection(score=ScoreGuardrail(), quality=QualityGuardrail()))


def test_of_a_pair_only_an_entitys_first_discordant_failure_counts_at_even_odds() -> None:
    tally = tally_of(SHADOW)
    failed = {"failed": True}
    told = [
        copied("1", failed, entity="a", failed=True),
        copied("2", {"entity": "a"}, failed=True),
        copied("3", {"entity": "a"}, failed=True),
        copied("4", {"entity": "b", **failed}),
    ]
    tally.take(seen(*(half for pair in told for half in pair)))
    assert failures(tally.counted(NOW)) == [(0.5, 1, 1)]


def test_halves_join_whichever_comes_first_and_half_a_pair_is_none() -> None:
    tally = tally_of(SHADOW)
    live, copy = copied("1")
    tally.take(seen(copy))
    tally.take(seen(live, copied("2")[1], copied("3")[0]))
    found = tally.counted(NOW)
    assert (found.challenger_requests, found.champion_requests, found.challenger_entities) == (1, 1, 1)
    assert judge(evidence(found, "arrivals")).state is State.CLEAR


def test_a_challenger_without_an_answer_disagrees_and_a_champion_without_one_tells_nothing() -> None:
    tally = tally_of(SHADOW)
    told = [
        copied("1", {"entity": "a"}, failed=True),
        copied("2", {"entity": "b", "failed": True}),
        copied("3", {"entity": "b"}, labels=("yes",)),
        copied("4", {"entity": "c"}),
        copied("5", {"entity": "c"}, labels=("yes",)),
    ]
    tally.take(seen(*(half for pair in told for half in pair)))
    found = tally.counted(NOW).paired
    assert found is not None
    assert (found.n, found.total, found.squares) == (3, 2.0, 2.0)


def test_pairs_are_compared_request_by_request_where_nobody_meets_the_challenger() -> None:
    tally = tally_of(SHADOW)
    live, copy = copied("1", {"entity": "a", "scores": (0.5,)}, scores=(0.75,))
    tally.take(seen(live, copy, labels=[label(live, "yes")]))
    found = tally.counted(NOW)
    score, quality = evidence(found, "score:down").paired, evidence(found, "quality").paired
    assert score is not None
    assert quality is not None
    assert (score.n, score.total, quality.n, quality.total) == (1, -0.25, 1, 0.0625 - 0.25)
    assert found.coverage == 1.0


def test_after_a_shadow_an_entity_that_counted_there_does_not_count_again() -> None:
    steps = (StepSection(shadow=1.0, bake_s=10), StepSection(set_weight=0.5, bake_s=10))
    tally = tally_of(section_of(guardrails=GuardrailsSection(score=ScoreGuardrail()), steps=steps))
    tally.take(seen(*copied("1", {"entity": "a"}, scores=(0.75,), failed=False)))
    tally.take(seen(request("challenger", 0.5, entity="a"), request("challenger", 0.5, entity="b", scores=(1.0,))))
    assert sums(tally, "score:up") == [((1, 0.75), (1, 0.5)), ((1, 1.0), (0, 0.0))]


def test_flips_are_ranked_by_what_they_cost() -> None:
    tally = tally_of(SHADOW, costs={"no": {"yes": 1.0}, "yes": {"no": 5.0}})
    for n in range(60):
        dear = n % 2
        slices = {"carrier": "dear" if dear else "cheap"}
        live: dict[str, Any] = {"labels": ("yes" if dear else "no",), "slices": slices}
        flipped = n % (6 if dear else 3) < 2
        tally.take(seen(*copied(f"q{n}", live, labels=(("no" if dear else "yes") if flipped else live["labels"][0],))))
    shown: Any = tally.counted(NOW).shown
    pairs = shown["pairs"]
    assert [(each["value"], each["flips"], each["cost"]) for each in pairs["flips_by_slice"]] == [
        ("dear", 10, 50.0),
        ("cheap", 20, 20.0),
    ]
    assert pairs["agreement_fraction"] == 0.5


# Bandit


def test_rewards_count_with_the_period_and_arm_their_entity_was_first_seen_in() -> None:
    section = RolloutSection(strategy=RolloutStrategy.BANDIT)
    tally = tally_of(section)
    tally.take(seen(request("challenger", 0.5, entity="a"), request("champion", 0.5, entity="b", failed=True)))
    tally.take(seen(request("challenger", 0.7, time=BEGAN + 700, entity="c", failed=True)))
    tally.take(seen(request("challenger", 0.7, time=BEGAN + 701, entity="a", failed=True)))
    found = tally.counted(NOW)
    assert found.bandit is not None
    assert found.bandit.period == 2
    assert {name: (arm.n, arm.total) for name, arm in found.bandit.arms.items()} == {
        "champion": (1.0, 0.0),
        "challenger": (2.0, 1.0),
    }


def test_worth_of_both_arms_is_estimated_from_logged_propensities() -> None:
    tally = tally_of(RolloutSection(strategy=RolloutStrategy.BANDIT))
    for n in range(400):
        tally.take(seen(request("challenger" if n % 4 == 0 else "champion", 0.25, failed=n % 4 == 0 and n % 8 == 0)))
    worth = tally.counted(NOW).shown["worth"]
    assert worth["champion"]["value"] == pytest.approx(1.0, abs=0.02)  # type: ignore[call-overload,index]
    assert worth["challenger"]["value"] == pytest.approx(0.5, abs=0.05)  # type: ignore[call-overload,index]


# Record


def test_every_finding_can_be_made_again_from_the_evidence_in_the_record() -> None:
    tally = tally_of(section_of(guardrails=EVERYTHING))
    tally.take(seen(*(request("challenger" if n % 5 == 0 else "champion", failed=n % 7 == 0) for n in range(500))))
    for each in tally.counted(NOW).evidence:
        again = read_record(Evidence, json.loads(json.dumps(to_json(each))))
        assert to_json(judge(again)) == to_json(judge(each))


def test_damaged_bytes_and_those_of_another_course_are_refused() -> None:
    section = section_of()
    tally = tally_of(section)
    tally.take(seen(request("challenger", entity="a")))
    data = tally.to_bytes()
    for wrong in (data[:-1], data[:40] + b"x" + data[41:], b""):
        with pytest.raises(IntegrityError, match="damaged"):
            Tally.from_bytes(wrong, tally._course, section, TaskKind.BINARY, ("no", "yes"))
    with pytest.raises(IntegrityError, match="another course"):
        Tally.from_bytes(data, tally._course, section, TaskKind.BINARY, ("yes", "no"))


def test_a_mismatch_that_was_seen_once_stays_seen() -> None:
    tally = tally_of()
    tally.take(seen(*(request("challenger", 0.5) for _ in range(40))))
    assert judge(evidence(tally.counted(NOW), "arrivals")).state is State.BROKEN
    tally.take(seen(*(request("champion", 0.5) for _ in range(40))))
    again = Tally.from_bytes(tally.to_bytes(), tally._course, tally._section, TaskKind.BINARY, ("no", "yes"))
    assert judge(evidence(again.counted(NOW), "arrivals")).state is State.BROKEN


def test_a_burst_of_one_client_moves_the_e_value_no_further_than_one_failure() -> None:
    one, many = tally_of(), tally_of()
    one.take(seen(request("challenger", 0.05, entity="client", failed=True)))
    many.take(seen(*(request("challenger", 0.05, entity="client", failed=True) for _ in range(50))))
    told = [evidence(tally.counted(NOW), "errors").failures for tally in (one, many)]
    assert told[0] is not None
    assert told[1] is not None
    assert first_failures.log_e(told[0]) == first_failures.log_e(told[1]) > 0


def test_the_plan_compares_first_requests_of_entities() -> None:
    tally = tally_of(section_of(metric=Metric.ERRORS, guardrails=GuardrailsSection(latency=LatencyGuardrail())))
    tally.take(seen(request("challenger", entity="a"), request("challenger", entity="a", failed=True)))
    tally.take(seen(request("champion", entity="b", failed=True), request("champion", entity="b")))
    contrast = tally.counted(NOW).contrast
    assert contrast is not None
    (step,) = contrast.steps
    assert (step.challenger.n, step.challenger.total, step.champion.n, step.champion.total) == (1, 0.0, 1, 1.0)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_hold(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0
