"""What a server counted, in the Prometheus text format (0.0.4): all its processes as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockgate import __version__
from lockgate.core.contract import ModelContract, TaskKind
from lockgate.core.ids import Digest
from lockgate.serving.routing.desired import Desired
from lockgate.serving.routing.router import Route
from lockgate.serving.routing.sticky import CHAMPION
from lockgate.serving.watch.metric_snapshot import ArmSnapshot, Family, Kind, Labelled, Snapshot, decode, merged
from lockgate.serving.watch.metrics import Metrics
from lockgate.serving.watch.sketch import BINS, HIGHEST, LATENCY_S, MAX_CLASSES, Bins

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


async def metrics_page(metrics: Metrics, table: Mapping[str, Route]) -> bytes:
    """Return the page at `/metrics`; made by another thread, so that no request waits for it, and once at a time.

    Args:
        metrics: What this process counted; the numbers of the server's other processes are added.
        table: What is routed now.
    """

    async def make() -> bytes:
        own = metrics.snapshot()
        return await asyncio.to_thread(lambda: render(merged([decode(own), *metrics.share(own)]), table))

    return await metrics.page.get(make)


def render(snapshot: Snapshot, table: Mapping[str, Route]) -> bytes:
    """Return a snapshot and the routing as a page."""
    # here and not above: 20 ms and 3 MB that a start, and a server that nobody asks, do without
    from prometheus_client.exposition import generate_latest

    page: bytes = generate_latest(_Collected([*_arms(snapshot.arms, table), *_routing(snapshot.arms, table),
                                              *_others(snapshot.families)]))  # fmt: skip
    return page


@dataclass(frozen=True, slots=True)
class _Collected:
    """What prometheus_client calls a collector."""

    metrics: Sequence[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def seen(arms: Iterable[ArmSnapshot]) -> Labelled:
    """Return each arm's share of its model's unforced requests in the last minute, by model and arm, 0 to 1."""
    live = [arm for arm in arms if arm.kind == "live"]
    totals: dict[str, int] = {}
    for arm in live:
        totals[arm.model] = totals.get(arm.model, 0) + arm.recent
    return {(arm.model, arm.arm): arm.recent / totals[arm.model] for arm in live if totals[arm.model]}


def columns(contract: ModelContract) -> tuple[str, ...]:
    """Return what the columns of a model's score are called: classes, the highest of too many, or the one output."""
    match contract.task:
        case TaskKind.BINARY:
            return contract.classes[1:]
        case TaskKind.MULTICLASS:
            return contract.classes if len(contract.classes) <= MAX_CLASSES else (HIGHEST,)
        case TaskKind.REGRESSION:
            return ("value",)


def _arms(arms: Sequence[ArmSnapshot], table: Mapping[str, Route]) -> Iterator[Metric]:
    kinds: tuple[Kind, ...] = ("live", "forced", "probe", "shadow")
    live, forced, probe, shadow = ([arm for arm in arms if arm.kind == kind] for kind in kinds)
    yield _latencies("lockgate_request_seconds", "From a request's headers to its answer.", live)
    yield _latencies("lockgate_shadow_seconds", "Time that shadow arms took for an answer nobody saw.", shadow)
    for name, what, some in (
        ("lockgate_requests", "Requests answered by the arm they were assigned to.", live),
        ("lockgate_forced_requests", "Requests whose caller chose the arm; part of no other metric.", forced),
        ("lockgate_probe_requests", "Requests that looked whether callers are answered; part of no other.", probe),
        ("lockgate_shadow_requests", "Copies of requests that shadow arms answered.", shadow),
    ):
        counts: Labelled = {(arm.model, arm.arm): sum(arm.latency) for arm in some}
        yield _samples(Family(f"{name}_total", "counter", what, ("model", "arm"), counts))
    rows: Labelled = {(arm.model, arm.arm): arm.rows for arm in live}
    yield _samples(Family("lockgate_rows_total", "counter", "Rows answered.", ("model", "arm"), rows))
    yield _scores([*live, *shadow], table)


def _latencies(name: str, what: str, arms: Iterable[ArmSnapshot]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    metric = HistogramMetricFamily(name, what, labels=("model", "arm"))
    for arm in arms:
        metric.add_metric((arm.model, arm.arm), _buckets(LATENCY_S, arm.latency), arm.seconds)
    return metric


def _scores(arms: Iterable[ArmSnapshot], table: Mapping[str, Route]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    labels = ("model", "arm", "kind", "output")
    metric = HistogramMetricFamily("lockgate_score", "Scores by arm: probabilities, or values.", labels=labels)
    for arm in arms:
        route = table.get(arm.model)
        names = columns(route.arms[0].model.contract) if route is not None and route.arms else ()
        if len(names) != len(arm.scores):
            names = tuple(map(str, range(len(arm.scores))))
        for name, counts, total in zip(names, arm.scores, arm.totals, strict=True):
            metric.add_metric((arm.model, arm.arm, arm.kind, name), _buckets(BINS[arm.output], counts), total)
    return metric


def _buckets(bins: Bins, counts: Sequence[int]) -> list[tuple[str, float]]:
    return bins.cumulative(counts)


def _routing(arms: Sequence[ArmSnapshot], table: Mapping[str, Route]) -> Iterator[Metric]:
    models, of_arm = ("model",), ("model", "arm")

    def gauge(name: str, what: str, labels: tuple[str, ...], values: Labelled) -> Metric:
        return _samples(Family(f"lockgate_{name}", "gauge", what, labels, values))

    asked: Labelled = {(n, *arm): weight for n, r in table.items() for arm, weight in _asked(r.desired)}
    copied: Labelled = {(n, each.name, each.model.digest): each.share for n, r in table.items() for each in r.shadows}
    valid: Labelled = {(n, arm): weight for n, r in table.items() for arm, weight in r.weights().items()}
    leases: Labelled = {(n,): max(0.0, r.lease_until - r.clock()) for n, r in table.items() if r.desired.leased}
    yield gauge("arm_weight_asked_ratio", "Share of the traffic that was asked for.", (*of_arm, "digest"), asked)
    yield gauge("arm_weight_valid_ratio", "Share it has now: a lease that ended gives it back.", of_arm, valid)
    yield gauge("arm_weight_seen_ratio", "Share of the last minute's requests.", of_arm, seen(arms))
    yield gauge("shadow_share_asked_ratio", "Share of the traffic that is to be copied.", (*of_arm, "digest"), copied)
    yield gauge("lease_remaining_seconds", "Until the champion has all traffic again.", models, leases)
    for name, what, read in _OF_ROUTES:
        yield gauge(name, what, models, {(model,): read(route) for model, route in table.items()})


def _asked(desired: Desired) -> Iterator[tuple[tuple[str, Digest], float]]:
    """Yield each arm and its bundle with the weight that was asked for, whether or not it could be loaded."""
    bundles = {CHAMPION: desired.champion, **{each.name: each.bundle for each in desired.challengers}}
    return (((name, bundles[name]), weight) for name, weight in desired.arm_weights.items())


_OF_ROUTES: Final[Sequence[tuple[str, str, Callable[[Route], float]]]] = (
    ("model_ready", "1 where the routed champion is loaded.", lambda route: float(route.ready)),
    ("routing_sequence", "The ledger's sequence that is served.", lambda route: float(route.desired.sequence)),
    ("loaded_bundles", "Bundles in memory.", lambda route: float(len(route.loaded))),
)


def _others(families: Iterable[Family]) -> Iterator[Metric]:
    for family in families:
        yield _samples(family)
    yield _samples(Family("lockgate_build_info", "gauge", "The program's version.", ("version",), {(__version__,): 1}))


def _samples(family: Family) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = made(family.name, family.help, labels=family.labels)
    for labels, value in family.values.items():
        metric.add_metric(labels, value)
    return metric
