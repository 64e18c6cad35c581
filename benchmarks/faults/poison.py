"""Bundles that must not be served: each is refused with its reason, and what was served stays served meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from onnx import helper

from benchmarks.faults.finding import Finding
from benchmarks.faults.graphs import bundle_of, folded_graph
from tests.bundles import make_keys, sign
from tests.graphs import constant, hanging_graph, model_of
from tests.integration.saturation import Saturation
from tests.server_process import World, serving

MORE_THAN_THERE_IS = 1 << 38  # float32: 1 TB, which the system refuses at once
NEVER_LOADED = (15_000, 15_000)  # 6.8e12 operations, more than a minute on any core that was met


class Poison(NamedTuple):
    """A bundle that must be refused.

    Attributes:
        what: What is wrong with it.
        make: Makes it and returns its digest.
        said: What the refusal must say.
    """

    what: str
    make: Callable[[World], str]
    said: str


def _of_another_key(world: World) -> str:
    digest = world.bundle(bias=2.0)
    make_keys(world.root / "stranger")
    sign(world.store / digest, world.root / "stranger")
    return digest


def _changed_afterwards(world: World) -> str:
    digest = world.bundle(bias=3.0)
    with (world.store / digest / "model.onnx").open("ab") as part:
        part.write(b"\x00")
    return digest


def _truncated(world: World) -> str:
    whole = hanging_graph(0)
    return bundle_of(world, whole[: len(whole) // 2])


def _of_another_form(world: World) -> str:
    nodes = [helper.make_node("ReduceMax", ["numeric"], ["most"], keepdims=0)]
    nodes += [helper.make_node("Unsqueeze", ["most", "first"], ["output"])]
    return bundle_of(world, model_of(nodes, [constant("first", [0])], width=3))


POISONS = (
    Poison("signed with another key", _of_another_key, "part signature: made with key"),
    Poison("changed after it was signed", _changed_afterwards, "part model.onnx: sha256 is"),
    Poison("a wrong golden answer", lambda world: world.bundle(golden_shift=0.01), "probe typical-1: answered"),
    Poison("a truncated ONNX file", _truncated, "part model.onnx: ONNX Runtime does not take it"),
    Poison("a graph of another form", _of_another_form, "part model.onnx: its inputs are"),
    Poison(
        "a graph that allocates 1 TB",
        lambda world: bundle_of(world, folded_graph((MORE_THAN_THERE_IS,))),
        "the model's graph failed",
    ),
    Poison(
        "a graph that hangs on its probes", lambda world: bundle_of(world, hanging_graph(-1.0)), "did not answer within"
    ),
)
SLOW_POISONS = (
    Poison(
        "a graph that hangs as it is loaded",
        lambda world: bundle_of(world, folded_graph(NEVER_LOADED)),
        "did not load and prove itself within 45 s",
    ),
)


def poisoned(root: Path, poison: Poison, *, workers: int = 1) -> Finding:
    """Put a poisoned bundle first as the champion, then as a challenger, while callers are answered."""
    found = Finding(f"poisoned bundle: {poison.what}")
    world = World(root)
    good, bad = world.bundle(), poison.make(world)
    with serving(world, "--workers", str(workers)) as server:
        found.expect(server.route(1, good).status_code == 200, "the good bundle was not taken")
        with Saturation(server.port, (1.0, 2.0), pause_s=0.002) as load:
            for body in _bodies(good, bad):
                began = time.monotonic()
                answer = server.admin.put("/admin/routing/toy", json=body, timeout=100)
                found.figures[f"refused as {'champion' if body['champion'] == bad else 'challenger'} after s"] = round(
                    time.monotonic() - began, 3
                )
                found.expect(answer.status_code == 422, f"it was answered with {answer.status_code}: {answer.text}")
                said = str(answer.json().get("error"))
                found.expect(poison.said in said or "hung when" in said, f"the refusal says only {said!r}")
            served = server.admin.get("/admin/routing/toy").json()
        found.expect((served["sequence"], served["champion"]) == (1, good), f"{served} is served")
        found.expect(server.client.get("/v2/health/ready").status_code == 200, "the server is not ready any more")
    outcomes = {(each.status, each.digest) for each in load.seen.answers}
    found.expect(outcomes == {(200, good)} and not load.seen.failures, "callers were failed meanwhile")
    found.figures["said"] = said
    found.add_latencies(load.seen.answers)
    return found


def _bodies(good: str, bad: str) -> Iterator[dict[str, object]]:
    yield {"sequence": 2, "champion": bad, "previous": good}
    yield {"sequence": 2, "champion": good, "challengers": [{"name": "rival", "bundle": bad, "weight": 0.5}]}
