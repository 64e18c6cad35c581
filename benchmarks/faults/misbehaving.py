"""Models that hang, throw or eat memory for some rows while they serve: whoever asks is answered by another arm."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.faults.finding import Finding
from benchmarks.faults.graphs import BAD_ABOVE, BAD_AMOUNT, HALF, allocating_graph, bundle_of, slow_node_graph
from benchmarks.faults.poison import MORE_THAN_THERE_IS
from tests.bundles import golden
from tests.graphs import failing_graph, hanging_graph
from tests.integration.saturation import ROW, Answer, Saturation
from tests.server_process import World, serving

TIMEOUT_MS = 200
LEASE_S = 600.0  # longer than anybody asks
AMOUNTS = (1.0, 8.0, 15.0, BAD_AMOUNT)  # the last connection asks what the model fails on
PAUSE_S = 0.01
BIAS = 1.0
CONSTANT = {"probability": 0.25, "label": "no"}
WAITED = "a caller of good rows waited"  # how the one problem begins that a stalling machine makes, too
MOST_MEMORY_MB = 600
TAKEN_MB = 1_000


class Behaviour(NamedTuple):
    """What a model does to some rows.

    Attributes:
        what: In words.
        graph: What does it.
        longest_s: The longest that any caller may wait for its answer.
    """

    what: str
    graph: bytes
    longest_s: float


BEHAVIOURS = {
    "hangs": Behaviour("hangs", hanging_graph(BAD_ABOVE), 1.0),
    "throws": Behaviour("throws", failing_graph(BAD_ABOVE), 0.5),
    "asks for 1 TB": Behaviour("asks for 1 TB", allocating_graph(MORE_THAN_THERE_IS), 0.5),
    "takes too much memory": Behaviour(
        f"takes {TAKEN_MB} MB where {MOST_MEMORY_MB} may be used", allocating_graph(TAKEN_MB * 250_000), 0.5
    ),
    # a node that runs is not ended before it is done, so the limit on time is no bound here
    "hangs in one node": Behaviour("hangs in one node for seconds", slow_node_graph(4_000), 15.0),
}


def as_challenger(root: Path, behaviour: Behaviour, *, load_s: float) -> Finding:
    """Give half of the traffic to a model that misbehaves: the champion answers in its place."""
    found = Finding(f"a challenger that {behaviour.what}")
    world = World(root)
    champion, bad = world.bundle(bias=BIAS), bundle_of(world, behaviour.graph)
    body = {"sequence": 1, "champion": champion, "timeout_ms": TIMEOUT_MS, "lease_s": LEASE_S,
            "challengers": [{"name": "rival", "bundle": bad, "weight": 0.5}]}  # fmt: skip
    answers = _serve(world, body, found, load_s)
    for each in answers:
        by_challenger = each.digest == bad
        found.expect(
            by_challenger <= (each.connection < len(AMOUNTS) - 1), f"the challenger answered the bad row: {each}"
        )
        _expect_value(found, each, HALF if by_challenger else _golden(each.connection))
    # none, where its first row was the bad one: it was asked, as the count of fallbacks says, and rests
    found.figures["answered by the challenger"] = sum(each.digest == bad for each in answers)
    _judge_waiting(found, answers, behaviour)
    return found


def as_champion(root: Path, behaviour: Behaviour, *, load_s: float, behind: str) -> Finding:
    """Let a model that misbehaves be the champion; behind it stands a previous bundle or a constant."""
    found = Finding(f"a champion that {behaviour.what}, behind it the {behind}")
    world = World(root)
    bad, previous = bundle_of(world, behaviour.graph), world.bundle(bias=BIAS)
    more = {"previous": previous} if behind == "previous" else {"fallback": {"constant": CONSTANT}}
    answers = _serve(world, {"sequence": 1, "champion": bad, "timeout_ms": TIMEOUT_MS, **more}, found, load_s)
    for each in answers:
        fell_back = each.arm != "champion"
        found.expect(fell_back or each.connection < len(AMOUNTS) - 1, f"the champion answered the bad row: {each}")
        behind_it = _golden(each.connection) if behind == "previous" else float(CONSTANT["probability"])
        _expect_value(found, each, behind_it if fell_back else HALF)
    found.figures["answered by what stands behind"] = sum(each.arm != "champion" for each in answers)
    _judge_waiting(found, answers, behaviour)
    return found


def _serve(world: World, body: dict[str, object], found: Finding, load_s: float) -> list[Answer]:
    """Serve a routing to callers, one of whom asks what the model fails on; return their answers."""
    with serving(world, "--max-memory-mb", str(MOST_MEMORY_MB)) as server:
        taken = server.admin.put("/admin/routing/toy", json=body)
        found.expect(taken.status_code == 200, f"the routing was not taken: {taken.text}")
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        with Saturation(server.port, AMOUNTS, PAUSE_S) as load:
            time.sleep(load_s)
        found.figures["memory afterwards +MB"] = round((process.memory_info().rss - before) / 1e6, 1)
        fallbacks = [
            line for line in server.client.get("/metrics").text.splitlines() if "lockgate_fallbacks_total{" in line
        ]
        found.expect(fallbacks, "no fallback is counted")
        found.expect(server.client.get("/v2/health/live").status_code == 200, "the server is not live")
        found.expect(server.stop() == 0, "the server did not end in order")
    seen = load.seen
    statuses = {each.status for each in seen.answers}
    found.expect(statuses == {200} and not seen.failures, f"callers were failed: {statuses}, {seen.failures[:3]}")
    return seen.answers


def _golden(connection: int) -> float:
    return golden({**ROW, "amount": AMOUNTS[connection]}, BIAS)[0]


def _expect_value(found: Finding, answer: Answer, wanted: float) -> None:
    right = answer.value is not None and abs(answer.value - wanted) < 1e-5
    found.expect(right, f"{answer.value} instead of {wanted}: {answer}")


def _judge_waiting(found: Finding, answers: list[Answer], behaviour: Behaviour) -> None:
    """Note what the others lost: the time beyond an ordinary answer's, of the connection that lost most."""
    good = [each for each in answers if each.connection < len(AMOUNTS) - 1]
    waits = [each.received - each.sent for each in good]
    lost = max(
        sum(took - 0.05 for at, took in zip(good, waits, strict=True) if at.connection == which and took > 0.05)
        for which in range(len(AMOUNTS) - 1)
    )
    found.expect(max(waits) < behaviour.longest_s, f"{WAITED} {max(waits):.2f} s")
    found.figures |= {
        "time lost by others s": round(lost, 2),
        "stalls": len({round(each.sent, 1) for each, took in zip(good, waits, strict=True) if took > 0.05}),
    }
    found.add_latencies(good)
    found.problems = found.problems[:5]
