"""The way of a request through one server, without a transport: together, apart, and when a model fails."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, canonical_json
from lockgate.serving.model.fence import Fence, ModelFailed
from lockgate.serving.options import Limits, ServerOptions
from lockgate.serving.routing.desired import Desired, DesiredChallenger, DesiredShadow
from lockgate.serving.service import Service
from tests.bundles import golden, make_bundle, make_keys, probes
from tests.graphs import failing_graph, hanging_graph
from tests.server_process import write_secret

ROW: dict[str, Any] = {"amount": [12.5], "colour": ["red"], "age": [41], "shape": ["disc"]}
PLAIN = {name: values[0] for name, values in ROW.items()}


class Noting(Fence):
    """Notes the limits of a model's runs; may give it all the time that a busy machine takes, whatever they are."""

    def __init__(self, *, patient: bool = False) -> None:
        super().__init__()
        self.limits: list[float | None] = []
        self._patient = patient

    def run(
        self, session: Any, outputs: Sequence[str], feeds: Mapping[str, Any], limit_s: float | None = None
    ) -> list[Any]:
        self.limits.append(limit_s)
        return super().run(session, outputs, feeds, 60.0 if self._patient else limit_s)


class World:
    """A service on a folder, its bundles, and what it logged."""

    def __init__(self, root: Path) -> None:
        make_keys(root / "keys")
        write_secret(root / "token", "secret")
        self.root = root

    def bundle(self, **how: Any) -> Digest:
        return make_bundle(self.root / "bundles", key_dir=self.root / "keys", **how)

    def broken(self, onnx: bytes) -> Digest:
        """Make a bundle whose graph misbehaves for large amounts only, so that it loads."""
        kept = [each for each in probes(0.0, TaskKind.BINARY).requests if 0 < float(each.row["amount"] or 0) < 50]
        halves = [{"name": p.name, "row": p.row, "output": [0.5]} for p in kept]
        golden_halves = canonical_json({"schema_version": 1, "absolute": 1e-5, "relative": 1e-5, "requests": halves})
        return self.bundle(parts={"model.onnx": onnx, "probe_requests.json": golden_halves})

    def run(self, scenario: Any, **limits: Any) -> list[dict[str, Any]]:
        """Run a scenario with a service; return the rows of its prediction log."""

        async def main() -> None:
            options = ServerOptions(
                environment="sandbox",
                bundles=self.root / "bundles",
                public_key=self.root / "keys" / "signing.pub",
                state=self.root / "state",
                admin_token_file=self.root / "token",
                limits=Limits(**{"request_timeout_s": 60.0} | limits),  # the machine may stall
            )
            service = Service(options)
            try:
                await scenario(service)
            finally:
                service.close()

        asyncio.run(main())
        segments = sorted((self.root / "state" / "predictions").rglob("*.jsonl"))
        return [json.loads(line) for path in segments for line in path.read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def asked(service: Service, columns: dict[str, Any] = ROW, **how: Any) -> Coroutine[Any, Any, Any]:
    choice = service.choose("toy", how.pop("version", None), columns, how.pop("entity", None), how.pop("tag", None))
    choice = structs.replace(choice, probe=how.pop("probe", False))
    return service.predict(choice, columns, started=time.perf_counter(), **how)


def score(prediction: Any) -> float:
    return float(prediction.answer.outputs["probability"][0])


def test_requests_that_come_together_run_together_and_keep_their_own_answers(world: World) -> None:
    digest = world.bundle()

    async def scenario(service: Service) -> None:
        await service.control.put("toy", Desired(sequence=1, champion=digest, since=datetime.now(UTC)))
        served = service.router.table["toy"].arms[0].model
        runs: list[int] = []
        answer_rows = served.answer_rows

        def counted(rows: Any, limit_s: Any = None) -> Any:
            runs.append(len(rows))
            return answer_rows(rows, limit_s)

        served.answer_rows = counted  # type: ignore[method-assign]  # the real one, counted
        found = await asyncio.gather(*(asked(service, {**ROW, "amount": [amount]}) for amount in range(10)))
        assert runs == [10]
        for amount, prediction in enumerate(found):
            assert score(prediction) == pytest.approx(golden({**PLAIN, "amount": amount})[0], rel=1e-5)
        assert len({prediction.id for prediction in found}) == 10

    rows = world.run(scenario)
    assert sorted(row["inputs"]["amount"][0] for row in rows) == list(range(10))


def test_a_challenger_that_fails_is_answered_for_by_the_champion_and_then_left_alone(world: World) -> None:
    champion, challenger = world.bundle(), world.broken(failing_graph(50))

    async def scenario(service: Service) -> None:
        wanted = Desired(
            sequence=1,
            champion=champion,
            challengers=(DesiredChallenger(name="challenger", bundle=challenger, weight=1.0),),
            since=datetime.now(UTC),
        )
        await service.control.put("toy", wanted)
        fine = await asked(service)
        assert (fine.arm.name, fine.fallback, score(fine)) == ("challenger", False, 0.5)
        large = {**ROW, "amount": [99]}
        for _ in range(5):
            answered = await asked(service, large)
            assert (answered.arm.name, answered.fallback) == ("champion", True)
            assert score(answered) == pytest.approx(golden({**PLAIN, "amount": 99})[0], rel=1e-5)
        resting = await asked(service)  # a request it could answer, but it rests
        assert (resting.arm.name, resting.fallback) == ("champion", True)

    rows = world.run(scenario)
    assert [row["fallback"] for row in rows] == [False] + [True] * 6
    assert [row["arm"] for row in rows] == ["challenger"] + ["champion"] * 6
    assert [row.get("chosen") for row in rows] == [None] + ["challenger"] * 6


def test_a_model_that_hangs_costs_one_limit_and_is_answered_for(world: World) -> None:
    champion, challenger = world.bundle(), world.broken(hanging_graph(50))

    async def scenario(service: Service) -> None:
        wanted = Desired(
            sequence=1,
            champion=champion,
            challengers=(DesiredChallenger(name="challenger", bundle=challenger, weight=1.0),),
            timeout_s=0.1,
            since=datetime.now(UTC),
        )
        await service.control.put("toy", wanted)
        fences = Noting(patient=True), Noting()
        for arm, fence in zip(service.router.table["toy"].arms, fences, strict=True):
            arm.model._fence = fence
        large = {**ROW, "amount": [99]}
        found = await asyncio.gather(*(asked(service, large) for _ in range(20)))
        assert {(each.arm.name, each.fallback) for each in found} == {("champion", True)}
        assert (await asked(service, large)).arm.name == "champion"
        assert fences[1].limits == [0.1]
        assert service.router.table["toy"].arms[1].model.breaker.open
        for fence in fences:
            fence.close()

    world.run(scenario)


def test_the_constant_answers_when_every_arm_has_failed_and_the_error_where_there_is_none(world: World) -> None:
    champion = world.broken(failing_graph(50))
    constant = {"probability": 0.25, "label": "no"}

    async def scenario(service: Service) -> None:
        large = {**ROW, "amount": [99]}
        await service.control.put("toy", Desired(sequence=1, champion=champion, since=datetime.now(UTC)))
        with pytest.raises(ModelFailed):
            await asked(service, large)
        await service.control.put(
            "toy", Desired(sequence=2, champion=champion, constant=constant, since=datetime.now(UTC))
        )
        found = await asked(service, large)
        assert (found.fallback, score(found), found.answer.outputs["label"]) == (True, 0.25, ["no"])
        assert (b"x-lockgate-arm", b"constant") in found.arm.headers

    rows = world.run(scenario)
    failed, answered = rows
    assert (answered["arm"], answered["fallback"], answered["chosen"]) == ("constant", True, "champion")
    assert (failed["arm"], failed["kind"], failed["fallback"], failed["outputs"]) == ("champion", "failed", False, {})
    assert (failed["inputs"], failed["rows"], failed["digest"]) == ({**ROW, "amount": [99]}, 1, champion)
    assert failed["prediction_id"] != answered["prediction_id"]
    assert failed["latency_us"] > 0


def test_a_request_that_nobody_answered_is_logged_under_the_arm_that_was_chosen(world: World) -> None:
    champion, challenger = (world.broken(failing_graph(limit)) for limit in (50, 60))

    async def scenario(service: Service) -> None:
        wanted = Desired(
            sequence=1,
            champion=champion,
            challengers=(DesiredChallenger(name="challenger", bundle=challenger, weight=0.25),),
            since=datetime.now(UTC),
        )
        await service.control.put("toy", wanted)
        for at in range(40):
            with pytest.raises(ModelFailed):
                await asked(service, {**ROW, "amount": [99]}, entity=f"e{at}", request_id=f"r{at}")

    rows = world.run(scenario)
    assert [(row["kind"], row["entity"], row["request_id"]) for row in rows] == [
        ("failed", f"e{at}", f"r{at}") for at in range(40)
    ]
    by_arm = {row["arm"]: (row["propensity"], row["digest"]) for row in rows}
    assert by_arm == {"champion": (0.75, champion), "challenger": (0.25, challenger)}


def test_columns_of_unequal_length_are_left_out_of_a_failed_requests_line(world: World) -> None:
    champion = world.broken(failing_graph(50))

    async def scenario(service: Service) -> None:
        await service.control.put("toy", Desired(sequence=1, champion=champion, since=datetime.now(UTC)))
        for _ in range(10):
            with pytest.raises(ModelFailed):
                await asked(service, {**ROW, "amount": [99]})
        with pytest.raises(ModelFailed, match="not asked"):
            await asked(service, {**ROW, "age": [1, 2]})

    last = world.run(scenario)[-1]
    assert (last["kind"], last["rows"], last["inputs"]) == ("failed", 1, None)


def test_a_shadow_that_has_no_answer_leaves_a_line_and_so_does_one_that_has_where_nobody_else_had(world: World) -> None:
    champion, shadow = world.broken(failing_graph(60)), world.broken(failing_graph(50))

    async def scenario(service: Service) -> None:
        wanted = Desired(
            sequence=1,
            champion=champion,
            shadows=(DesiredShadow(name="next", bundle=shadow, share=1.0),),
            since=datetime.now(UTC),
        )
        await service.control.put("toy", wanted)
        await asked(service, {**ROW, "amount": [55]}, entity="both")
        with pytest.raises(ModelFailed):
            await asked(service, {**ROW, "amount": [99]}, entity="neither")

    rows = world.run(scenario)
    told = {(row["entity"], row["arm"]): row for row in rows}
    assert {who: row["kind"] for who, row in told.items()} == {
        ("both", "champion"): "live",
        ("both", "next"): "shadow_failed",
        ("neither", "champion"): "failed",
        ("neither", "next"): "shadow_failed",
    }
    for entity in ("both", "neither"):
        assert told[entity, "champion"]["prediction_id"] == told[entity, "next"]["prediction_id"]
    failed = told["both", "next"]
    assert (failed["outputs"], failed["inputs"], failed["rows"], failed["digest"]) == ({}, None, 1, shadow)


def test_a_forced_request_is_marked_has_no_fallback_and_is_not_counted(world: World) -> None:
    champion, challenger = world.bundle(), world.broken(failing_graph(50))

    async def scenario(service: Service) -> None:
        wanted = Desired(
            sequence=1,
            champion=champion,
            challengers=(DesiredChallenger(name="challenger", bundle=challenger, weight=0.0),),
            since=datetime.now(UTC),
        )
        await service.control.put("toy", wanted)
        found = await asked(service, tag="challenger")
        assert (found.arm.name, found.choice.forced) == ("challenger", True)
        with pytest.raises(ModelFailed):
            await asked(service, {**ROW, "amount": [99]}, tag="challenger")

    assert [row["kind"] for row in world.run(scenario)] == ["forced"]


def test_a_probe_gets_what_callers_get_and_is_counted_nowhere(world: World) -> None:
    champion, previous = (world.broken(failing_graph(above)) for above in (50, 150))
    shadow = world.bundle(bias=2.0)

    async def scenario(service: Service) -> None:
        wanted = Desired(
            sequence=1,
            champion=champion,
            previous=previous,
            shadows=(DesiredShadow(name="next", bundle=shadow, share=1.0),),
            since=datetime.now(UTC),
        )
        await service.control.put("toy", wanted)
        assert (await asked(service, probe=True)).arm.name == "champion"
        stood_in = await asked(service, {**ROW, "amount": [99]}, probe=True)
        assert (stood_in.arm.name, stood_in.fallback) == ("previous", True)
        with pytest.raises(ModelFailed):
            await asked(service, {**ROW, "amount": [199]}, probe=True)

    assert [row["kind"] for row in world.run(scenario)] == ["probe", "probe"]


def test_a_shadow_answers_copies_that_only_the_log_sees(world: World) -> None:
    champion, shadow = world.bundle(), world.bundle(bias=2.0)

    async def scenario(service: Service) -> None:
        wanted = Desired(
            sequence=1,
            champion=champion,
            shadows=(DesiredShadow(name="next", bundle=shadow, share=1.0),),
            since=datetime.now(UTC),
        )
        await service.control.put("toy", wanted)
        found = await asyncio.gather(*(asked(service) for _ in range(5)))
        assert {each.arm.name for each in found} == {"champion"}

    rows = world.run(scenario)
    by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in ("live", "shadow")}
    assert {len(kind) for kind in by_kind.values()} == {5}
    assert {row["prediction_id"] for row in by_kind["live"]} == {row["prediction_id"] for row in by_kind["shadow"]}
    shown = [row["outputs"]["probability"][0] for row in by_kind["shadow"]]
    np.testing.assert_allclose(shown, golden(PLAIN, bias=2.0)[0], rtol=1e-5)
    assert {row["digest"] for row in by_kind["shadow"]} == {shadow}


@pytest.mark.parametrize("rows", [40, 5])
def test_many_rows_are_answered_like_one(world: World, rows: int) -> None:
    digest = world.bundle()

    async def scenario(service: Service) -> None:
        await service.control.put("toy", Desired(sequence=1, champion=digest, since=datetime.now(UTC)))
        found = await asked(service, {name: values * rows for name, values in ROW.items()})
        np.testing.assert_allclose(found.answer.outputs["probability"], [golden(PLAIN)[0]] * rows, rtol=1e-5)

    assert [row["rows"] for row in world.run(scenario)] == [rows]


def test_the_callers_own_id_and_trace_are_kept(world: World) -> None:
    digest = world.bundle()

    async def scenario(service: Service) -> None:
        await service.control.put("toy", Desired(sequence=1, champion=digest, since=datetime.now(UTC)))
        await asked(service, request_id="mine-1", trace="00-ab-cd-01", entity="ada")

    (row,) = world.run(scenario)
    assert (row["request_id"], row["trace"], row["entity"]) == ("mine-1", "00-ab-cd-01", "ada")
