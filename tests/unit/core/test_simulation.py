"""Simulated traffic: seeded, in order, by a fixed pool of clients, and changed by a fault in what it says alone."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from lockgate.core.simulation import (
    Due,
    Simulation,
    Told,
    entity_name,
    replayed_arrivals,
    requests,
    steady_arrivals,
    told,
)
from lockgate.core.simulation_counts import Counts
from lockgate.core.simulation_faults import parse_faults
from lockgate.errors import BadInput

CALM = Simulation(entities=200, seed=7, duration_s=20.0, label_delay_s=4.0)
OTHERS = {"late": "late", "on_time": "on_time"}


def sent(simulation: Simulation, rate_rps: float = 100.0, rows: int = 30) -> list[Due]:
    return list(requests(simulation, steady_arrivals(rate_rps, simulation.seed), rows))


def with_faults(text: str) -> Simulation:
    return replace(CALM, faults=parse_faults(text))


def test_the_same_seed_asks_the_same_of_the_same_clients_and_another_seed_does_not() -> None:
    assert sent(CALM) == sent(CALM)
    assert sent(CALM) != sent(replace(CALM, seed=8))


def test_requests_come_in_order_at_the_rate_for_as_long_as_asked_about_one_row_after_the_other() -> None:
    found = sent(CALM)
    times = [each.at_s for each in found]
    assert times == sorted(times)
    assert len(found) == pytest.approx(2000, abs=4 * math.sqrt(2000))  # Poisson: four standard deviations
    assert times[0] > 0
    assert times[-1] < CALM.duration_s
    assert [each.row for each in found[:35]] == [*range(30), *range(5)]


def test_few_clients_ask_much_and_most_ask_a_little() -> None:
    asked = Counter(each.entity for each in sent(replace(CALM, duration_s=200.0)))
    assert set(asked) <= {entity_name(client) for client in range(CALM.entities)}
    assert asked.most_common(1)[0][0] == entity_name(0)
    assert len(asked) == CALM.entities
    busiest = sum(n for _, n in asked.most_common(20)) / asked.total()
    assert 0.3 < busiest < 0.5  # of Zipf's law with exponent 0.8, a tenth of 200 has 41 %


def test_a_stop_takes_out_its_own_requests_and_moves_no_other() -> None:
    calm, stopped = sent(CALM), sent(with_faults("stop@5+10"))
    assert stopped == [each for each in calm if not 5 <= each.at_s < 15]


def test_a_stop_without_an_end_ends_a_simulation_without_an_end() -> None:
    endless = Simulation(entities=5, seed=1, faults=parse_faults("stop@3"))
    assert all(each.at_s < 3 for each in sent(endless))


def test_a_burst_is_one_clients_broken_requests_beside_everything_else() -> None:
    found = sent(with_faults("burst=50@5+10"))
    broken = [each for each in found if each.broken]
    assert [each for each in found if not each.broken] == sent(CALM)
    assert {each.entity for each in broken} == {entity_name(0)}
    assert all(5 <= each.at_s < 15 for each in broken)
    assert len(broken) == pytest.approx(500, abs=4 * math.sqrt(500))
    assert [each.at_s for each in found] == sorted(each.at_s for each in found)


def test_a_replay_keeps_the_rows_own_distances_and_ends_with_them() -> None:
    times = list(replayed_arrivals([0.0, 60.0, 3600.0, 7200.0], 3600.0))
    assert times == [0.0, pytest.approx(1 / 60), 1.0, 2.0]
    found = list(requests(replace(CALM, duration_s=math.inf), iter(times), 4))
    assert [each.row for each in found] == [0, 1, 2, 3]


def test_a_label_comes_after_the_delay_and_only_where_somebody_knows() -> None:
    assert told(CALM, answered_s=1.0, number=0, truth="late", others=OTHERS) == Told(at_s=5.0, label="late")
    assert told(CALM, answered_s=1.0, number=0, truth=None, others=OTHERS) is None


def test_late_labels_come_later_and_dead_ones_never() -> None:
    late, dead = with_faults("late_labels=30@10"), with_faults("dead_labels@10")
    assert told(late, answered_s=9.0, number=0, truth="late", others=OTHERS) == Told(at_s=13.0, label="late")
    assert told(late, answered_s=11.0, number=0, truth="late", others=OTHERS) == Told(at_s=45.0, label="late")
    assert told(dead, answered_s=5.0, number=0, truth="late", others=OTHERS) == Told(at_s=9.0, label="late")
    assert told(dead, answered_s=7.0, number=0, truth="late", others=OTHERS) is None  # due at 11


def test_wrong_labels_say_another_class_for_their_share_of_answers_and_the_same_ones_each_time() -> None:
    wrong = with_faults("wrong_labels=0.2")

    def said() -> list[object]:
        every = (told(wrong, answered_s=1.0, number=n, truth="late", others=OTHERS) for n in range(2000))
        return [each.label for each in every if each is not None]

    assert said() == said()
    assert Counter(said())["on_time"] == pytest.approx(400, abs=4 * math.sqrt(2000 * 0.2 * 0.8))
    alone = told(with_faults("wrong_labels=1"), answered_s=1.0, number=0, truth=3.5, others={"3.5": 3.5})
    assert alone == Told(at_s=5.0, label=3.5)  # where there is one label only, nothing else can be said


@pytest.mark.parametrize("how", [{"entities": 0}, {"seed": -1}, {"duration_s": 0.0}, {"label_delay_s": -1.0}], ids=str)
def test_an_impossible_simulation_is_refused(how: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="least"):
        replace(CALM, **how)  # type: ignore[arg-type]  # the parameters are of two kinds


@pytest.mark.parametrize("number", [0.0, -5.0, math.nan, math.inf])
def test_a_rate_or_speed_that_is_none_is_refused_with_what_is_one(number: float) -> None:
    with pytest.raises(BadInput, match="above 0"):
        steady_arrivals(number, 1)
    with pytest.raises(BadInput, match="above 0"):
        replayed_arrivals([0.0], number)


def test_arrivals_at_a_rate_have_no_end() -> None:
    assert len(list(islice(steady_arrivals(10.0, 1), 5000))) == 5000


def test_counts_of_two_stretches_add_up_and_a_refused_broken_request_is_no_error() -> None:
    first, second, whole = Counts(due=5, broken=2), Counts(due=3, unsent=1, behind_ms=7.0), Counts()
    first.statuses.update({200: 3, 400: 2})
    first.arms.update({"champion": 2, "challenger": 1})
    second.statuses.update({500: 1})
    second.lost.update({"EOFError": 1})
    for latency_ms in (1.0, 2.0, 100.0):
        first.took(latency_ms)
    whole.add(first)
    whole.add(second)
    assert (first.errors, second.errors, whole.errors) == (0, 2, 2)
    assert (whole.due, whole.unsent, whole.answered, whole.behind_ms) == (8, 1, 3, 7.0)
    assert whole.content["arms"] == {"challenger": 1, "champion": 2}
    assert whole.content["p50_ms"] == pytest.approx(2.0, rel=0.06)
    assert whole.content["p99_ms"] == pytest.approx(100.0, rel=0.06)
    assert Counts().content["p95_ms"] is None
