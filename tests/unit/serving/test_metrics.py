"""What is counted, how several processes' counts become one, and that the page is what Prometheus reads."""

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.core.load import read_histogram
from lockgate.serving.model.column_values import EXTRA_COLUMN, Flag
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.refusals import Reason
from lockgate.serving.routing.desired import Desired, DesiredChallenger, DesiredShadow
from lockgate.serving.routing.router import Route
from lockgate.serving.routing.routes import make_route
from lockgate.serving.watch.metric_page import render
from lockgate.serving.watch.metric_snapshot import Snapshot, decode, merged
from lockgate.serving.watch.metrics import MAX_ARMS, OTHER, Metrics
from tests.bundles import contract, graph

A, B, C = (Digest(letter * 64) for letter in "abc")
BASE_UNITS = ("_seconds", "_bytes", "_rows", "_ratio", "_info", "_total")
OTHER_GAUGES = {  # counts of things, which have no unit
    "lockgate_in_flight",
    "lockgate_loaded_bundles",
    "lockgate_model_ready",
    "lockgate_routing_sequence",
    "lockgate_score",
}


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def probability(*scores: float) -> dict[str, Any]:
    return {"probability": np.array(scores, np.float32), "label": ["yes"] * len(scores)}


def page(snapshot: Snapshot, table: dict[str, Route] | None = None) -> dict[str, Metric]:
    text = render(snapshot, table or {}).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """Return the sum of the samples of a name that carry these labels."""
    samples = [sample for family in families.values() for sample in family.samples if sample.name == name]
    assert samples, f"there is no {name}"
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def snapshot(metrics: Metrics) -> Snapshot:
    return decode(metrics.snapshot())


def table(clock: Clock, task: TaskKind = TaskKind.BINARY) -> dict[str, Route]:
    desired = Desired(
        sequence=7,
        champion=A,
        challengers=(DesiredChallenger(name="canary", bundle=B, weight=0.25),),
        shadows=(DesiredShadow(name="dark", bundle=C, share=0.5),),
        since=datetime(2026, 1, 2, tzinfo=UTC),
    )
    loaded = {digest: ServedModel(digest, contract(task=task), graph(0.0, task)) for digest in (A, B, C)}
    return {"toy": make_route("toy", desired, loaded, {}, clock=clock).renewed()}


# -- what is counted ---------------------------------------------------------------------------------------------------


def test_an_answer_is_counted_with_its_latency_rows_flags_and_scores() -> None:
    metrics = Metrics()
    flags = (Flag("out_of_range", "amount", (0, 2)), Flag("unknown_category", "colour", (1,)))
    metrics.answered("toy", "champion", 3, flags, 0.0003, probability(0.1, 0.5, 0.97))
    found = page(snapshot(metrics))
    of = {"model": "toy", "arm": "champion"}
    assert value(found, "lockgate_requests_total", **of) == 1
    assert value(found, "lockgate_rows_total", **of) == 3
    assert value(found, "lockgate_request_seconds_sum", **of) == pytest.approx(0.0003)
    assert value(found, "lockgate_request_seconds_bucket", le="0.00025", **of) == 0
    assert value(found, "lockgate_request_seconds_bucket", le="0.00032", **of) == 1
    assert value(found, "lockgate_flagged_rows_total", column="amount", flag="out_of_range") == 2
    assert value(found, "lockgate_flagged_rows_total", column="colour", flag="unknown_category") == 1
    assert value(found, "lockgate_score_bucket", le="0.5", **of) == 2
    assert value(found, "lockgate_score_count", kind="live", **of) == 3
    assert value(found, "lockgate_score_sum", **of) == pytest.approx(1.57)


def test_scores_that_wait_to_be_counted_are_in_every_snapshot_and_none_is_counted_twice() -> None:
    metrics = Metrics()
    for number in range(1, 3001):
        metrics.answered("toy", "champion", 1, (), 0.001, probability(0.25))
        if number % 700 == 0:
            assert value(page(snapshot(metrics)), "lockgate_score_count") == number
    assert value(page(snapshot(metrics)), "lockgate_score_count") == 3000


def test_forced_probing_and_shadow_requests_enter_nothing_that_speaks_of_traffic() -> None:
    metrics = Metrics()
    metrics.answered("toy", "champion", 1, (), 0.001, probability(0.5))
    metrics.uncounted("forced", "toy", "canary", 1, 0.001)
    metrics.uncounted("probe", "toy", "champion", 1, 0.001)
    metrics.shadowed("toy", "dark", 2, 0.002, probability(0.5, 0.6))
    found = page(snapshot(metrics))
    assert value(found, "lockgate_requests_total") == value(found, "lockgate_rows_total") == 1
    assert value(found, "lockgate_request_seconds_count") == 1
    assert value(found, "lockgate_arm_weight_seen_ratio") == value(
        found, "lockgate_arm_weight_seen_ratio", arm="champion"
    ) == 1  # fmt: skip
    assert value(found, "lockgate_forced_requests_total", arm="canary") == 1
    assert value(found, "lockgate_probe_requests_total", arm="champion") == 1
    assert value(found, "lockgate_shadow_requests_total", arm="dark") == 1
    assert value(found, "lockgate_shadow_seconds_sum", arm="dark") == pytest.approx(0.002)
    assert value(found, "lockgate_score_count", arm="dark", kind="shadow") == 2
    assert value(found, "lockgate_score_count", kind="live") == 1


def test_refusals_fallbacks_failures_and_switches_are_counted() -> None:
    metrics = Metrics()
    metrics.refused(Reason.MALFORMED)
    metrics.refused(Reason.MALFORMED)
    metrics.fell_back("toy", "canary", "timeout")
    metrics.failed("POST failed: KeyError")
    metrics.switches["toy"] += 1
    metrics.responses[200] += 3
    found = page(snapshot(metrics))
    assert value(found, "lockgate_refused_total", reason="malformed") == 2
    assert value(found, "lockgate_fallbacks_total", model="toy", arm="canary", why="timeout") == 1
    assert value(found, "lockgate_failures_total") == 1
    assert value(found, "lockgate_switches_total", model="toy") == 1
    assert value(found, "lockgate_responses_total", status="200") == 3
    assert [what for _, what in snapshot(metrics).failures] == ["POST failed: KeyError"]


def test_a_column_that_a_caller_invented_does_not_become_a_label() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.answered("toy", "champion", 1, (Flag(EXTRA_COLUMN, f"invented-{number}", (0,)),), 0.001)
    found = page(snapshot(metrics))
    assert {sample.labels["column"] for sample in found["lockgate_flagged_rows"].samples} == {OTHER}
    assert value(found, "lockgate_flagged_rows_total") == 100


def test_the_number_of_arms_is_bounded_and_no_request_is_lost_for_it() -> None:
    metrics = Metrics()
    for number in range(MAX_ARMS + 50):
        metrics.answered("toy", f"arm-{number}", 1, (), 0.001)
    arms = snapshot(metrics).arms
    assert len(arms) == MAX_ARMS + 1
    assert {arm.arm: sum(arm.latency) for arm in arms}[OTHER] == 50


def test_the_share_that_was_seen_is_of_the_last_minute_alone() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    for _ in range(90):
        metrics.answered("toy", "champion", 1, (), 0.001)
    metrics.answered("toy", "canary", 1, (), 0.001)
    for _ in range(80):
        clock.now += 1
        metrics.snapshot()  # as a worker does, twice a second
    for arm, count in (("champion", 3), ("canary", 1)):
        for _ in range(count):
            metrics.answered("toy", arm, 1, (), 0.001)
    found = page(snapshot(metrics))
    assert value(found, "lockgate_arm_weight_seen_ratio", arm="champion") == 0.75
    assert value(found, "lockgate_arm_weight_seen_ratio", arm="canary") == 0.25
    assert value(found, "lockgate_requests_total", arm="champion") == 93


def test_numbers_of_others_are_read_when_they_are_asked_for() -> None:
    metrics, queued = Metrics(), [5]
    metrics.watch("lockgate_things_queued_rows", "Things.", lambda: queued[0])
    metrics.watch("lockgate_things_total", "Things.", lambda: {"a": 1, "b": 2}, labels=("kind",))
    metrics.watch("lockgate_pairs_total", "Pairs.", lambda: {("m", "x"): 4}, labels=("model", "arm"))
    queued[0] = 7
    found = page(snapshot(metrics))
    assert (found["lockgate_things_queued_rows"].type, found["lockgate_things"].type) == ("gauge", "counter")
    assert value(found, "lockgate_things_queued_rows") == 7
    assert value(found, "lockgate_things_total", kind="b") == 2
    assert value(found, "lockgate_pairs_total", model="m", arm="x") == 4


# -- several processes -------------------------------------------------------------------------------------------------


def test_processes_are_added_up() -> None:
    one, other = Metrics(), Metrics()
    for metrics, count in ((one, 3), (other, 1)):
        for _ in range(count):
            metrics.answered("toy", "champion", 2, (), 0.001, probability(0.3, 0.4))
        metrics.refused(Reason.OVERLOADED)
        metrics.switches["toy"] += 1
        metrics.watch("lockgate_log_queued_rows", "Rows.", lambda: 10)
    other.answered("toy", "canary", 1, (), 0.001)
    found = page(merged([snapshot(one), snapshot(other)]))
    assert value(found, "lockgate_requests_total", arm="champion") == 4
    assert value(found, "lockgate_rows_total", arm="champion") == 8
    assert value(found, "lockgate_score_count", arm="champion") == 8
    assert value(found, "lockgate_arm_weight_seen_ratio", arm="canary") == 0.2
    assert value(found, "lockgate_refused_total", reason="overloaded") == 2
    assert value(found, "lockgate_log_queued_rows") == 20
    assert value(found, "lockgate_switches_total", model="toy") == 1  # each worker made the same change


def test_of_an_ended_process_what_it_counted_stays_and_what_was_the_case_goes() -> None:
    gone, alive = Metrics(), Metrics()
    gone.answered("toy", "champion", 1, (), 0.001)
    gone.watch("lockgate_log_queued_rows", "Rows.", lambda: 99)
    alive.answered("toy", "canary", 1, (), 0.001)
    found = page(merged([snapshot(alive), snapshot(gone).ended()]))
    assert value(found, "lockgate_requests_total") == 2
    assert value(found, "lockgate_arm_weight_seen_ratio", arm="canary") == 1
    assert "lockgate_log_queued_rows" not in found


# -- the page ----------------------------------------------------------------------------------------------------------


def test_weights_asked_valid_and_seen_and_the_lease_are_shown() -> None:
    clock = Clock()
    routes = table(clock)
    metrics = Metrics(clock)
    for arm, count in (("champion", 70), ("canary", 30)):
        for _ in range(count):
            metrics.answered("toy", arm, 1, (), 0.001)
    found = page(snapshot(metrics), routes)
    assert value(found, "lockgate_arm_weight_asked_ratio", arm="canary", digest=B) == 0.25
    assert value(found, "lockgate_arm_weight_valid_ratio", arm="canary") == 0.25
    assert value(found, "lockgate_arm_weight_seen_ratio", arm="canary") == 0.3
    assert value(found, "lockgate_shadow_share_asked_ratio", arm="dark", digest=C) == 0.5
    assert value(found, "lockgate_lease_remaining_seconds", model="toy") == 10
    assert value(found, "lockgate_routing_sequence", model="toy") == 7
    assert value(found, "lockgate_loaded_bundles", model="toy") == 3
    clock.now += 11
    after = page(snapshot(metrics), routes)
    assert value(after, "lockgate_lease_remaining_seconds", model="toy") == 0
    assert value(after, "lockgate_arm_weight_asked_ratio", arm="canary") == 0.25
    assert value(after, "lockgate_arm_weight_valid_ratio", arm="canary") == 0


def test_a_weight_that_was_asked_for_is_shown_though_its_bundle_is_not_loaded() -> None:
    whole = table(Clock())["toy"]
    alone = make_route("toy", whole.desired, {A: whole.loaded[A]}, {B: "it is gone"}).renewed()
    found = page(snapshot(Metrics()), {"toy": alone})
    assert value(found, "lockgate_arm_weight_asked_ratio", arm="champion", digest=A) == 0.75
    assert value(found, "lockgate_arm_weight_asked_ratio", arm="canary", digest=B) == 0.25
    assert value(found, "lockgate_arm_weight_valid_ratio", arm="champion") == 1


def test_a_part_that_does_not_work_is_shown_by_whichever_process_is_asked() -> None:
    well, ill = Metrics(), Metrics()
    well.watch_part("prediction_log", lambda: None)
    ill.watch_part("prediction_log", lambda: "the disk is full")
    ill.watch_part("archive", lambda: None)
    both = merged([snapshot(well), snapshot(ill), snapshot(ill)])
    assert value(page(both, {}), "lockgate_part_broken_processes", part="prediction_log") == 2
    assert value(page(both, {}), "lockgate_part_broken_processes", part="archive") == 0
    assert both.problems == ["the disk is full"]  # once, however many say it
    assert snapshot(ill).ended().problems == []


@pytest.mark.parametrize(
    ("task", "output", "names"),
    [
        (TaskKind.BINARY, probability(0.5), {"yes"}),
        (TaskKind.MULTICLASS, {"probabilities": np.array([[0.1, 0.2, 0.7]], np.float32)}, {"low", "mid", "high"}),
        (TaskKind.REGRESSION, {"value": np.array([-3.5], np.float32)}, {"value"}),
    ],
)
def test_scores_are_named_after_what_they_are_of(task: TaskKind, output: dict[str, Any], names: set[str]) -> None:
    metrics = Metrics()
    metrics.answered("toy", "champion", 1, (), 0.001, output)
    found = page(snapshot(metrics), table(Clock(), task))
    assert {sample.labels["output"] for sample in found["lockgate_score"].samples} == names


def test_the_page_keeps_to_the_naming_conventions_of_prometheus() -> None:
    metrics = Metrics()
    metrics.answered("toy", "champion", 1, (), 0.001, probability(0.5))
    found = page(snapshot(metrics), table(Clock()))
    assert len(found) > 20
    for family in found.values():
        assert re.fullmatch(r"(lockgate|process)_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge", "histogram"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name.endswith(BASE_UNITS) or name in OTHER_GAUGES, name
        assert all(value.isprintable() for sample in family.samples for value in sample.labels.values())


def test_histograms_are_whole_cumulative_and_end_with_infinity() -> None:
    metrics = Metrics()
    for seconds in (1e-6, 0.0003, 0.004, 0.3, 99.0):
        metrics.answered("toy", "champion", 1, (), seconds)
    edges = read_histogram(render(snapshot(metrics), {}).decode(), "lockgate_request_seconds", "toy")
    assert list(edges) == sorted(edges)
    assert list(edges.values()) == sorted(edges.values())
    assert edges[float("inf")] == 5
    assert edges[10.0] == 4
    assert edges[5e-05] == 1
