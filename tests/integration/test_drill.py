"""A real server and a drill's faulty copies: they load, fail their share, harm nobody, and are gone afterwards."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import httpx
import numpy as np
import pytest

from lockgate.adapters.drill_prober import DrillProber
from lockgate.adapters.faulty_bundle import MARK, FaultyBundles
from lockgate.adapters.server_target import ServerTarget
from lockgate.bootstrap import Services
from lockgate.config import Settings
from lockgate.core.contract import TaskKind
from lockgate.core.drills import DrillVerdict, Fault, FaultyCopy
from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.spec import DrillSection, RolloutSection
from lockgate.errors import BadInput
from lockgate.line.drilling import run_drill
from lockgate.line.model_line import Line
from lockgate.line.rollout import production
from lockgate.stages.traffic import switch_traffic
from tests.bundles import contract, probes
from tests.release_fakes import toy_spec
from tests.server_process import TOKEN, Server, World, serving, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
ASKED = 120
TRIES = 3
"""A machine that stands still for seconds makes one attempt late; a server, or a rollback, that is slow, each."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    (made.root / "keys" / "signing.key").chmod(0o600)
    return made


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        yield running


def settings(world: World) -> Settings:
    return Settings(project=world.root, home=world.root, host="127.0.0.1", ports={}, notify=(), ledger_url="sqlite://")


def planted(world: World, server: Server, fault: Fault, weight: float) -> tuple[str, FaultyCopy]:
    champion = world.bundle()
    copy = FaultyBundles(settings(world)).make(Digest(champion), fault, drill="toy-drill-0001")
    body = {
        "sequence": 1,
        "champion": champion,
        "challengers": [{"name": "challenger", "bundle": copy.digest, "weight": weight}],
    }
    answer = server.admin.put("/admin/routing/toy", json=body)
    assert answer.status_code == 200, answer.text
    return champion, copy


def ask(server: Server) -> list[tuple[int, str, str]]:
    rng = np.random.default_rng(2)
    found = []
    for number in range(ASKED):
        row = {
            "amount": float(rng.uniform(0, 100)),
            "age": int(rng.integers(0, 90)),
            "colour": str(rng.choice(["red", "green", "blue"])),
            "shape": str(rng.choice(["disc", "cube"])),
        }
        headers = {"x-lockgate-entity": f"customer-{number}"}
        answer = server.client.post("/invocations", json={"dataframe_records": [row]}, headers=headers)
        told = answer.headers
        found.append((answer.status_code, told["x-lockgate-arm"], told["x-lockgate-release-digest"]))
    return found


def test_a_copy_loads_fails_its_share_and_the_champion_answers_in_its_place(world: World, server: Server) -> None:
    champion, copy = planted(world, server, Fault.ERRORS, 1.0)
    answers = ask(server)
    assert {status for status, _, _ in answers} == {200}
    by = [digest for _, _, digest in answers]
    assert set(by) == {champion, copy.digest}
    assert 0.3 < by.count(champion) / ASKED < 0.7


def test_slow_and_wrong_copies_load_too(world: World, server: Server) -> None:
    for sequence, fault in enumerate((Fault.LATENCY, Fault.WRONG), start=2):
        copy = FaultyBundles(settings(world)).make(Digest(world.bundle()), fault, drill="toy-drill-0001")
        body = {"sequence": sequence, "champion": copy.digest}
        assert server.admin.put("/admin/routing/toy", json=body).status_code == 200


def test_a_copy_says_what_it_is_and_is_removed_but_a_bundle_never(world: World) -> None:
    copies = FaultyBundles(settings(world))
    champion = Digest(world.bundle())
    copy = copies.make(champion, Fault.ERRORS, drill="toy-drill-0007")
    folder = world.store / copy.digest
    provenance = json.loads((folder / "provenance.json").read_bytes())
    told = provenance["predicate"]["buildDefinition"]["externalParameters"]
    assert told == json.loads((folder / MARK).read_bytes())
    assert (told["drill"], told["fault"], told["copy_of"], told["promotable"]) == (
        "toy-drill-0007",
        "errors",
        champion,
        False,
    )
    assert (folder / "card.md").read_text().startswith("# DRILL, not a model to release")
    assert (copies.left_behind(ModelName("toy")), copies.left_behind(ModelName("other"))) == ((copy.digest,), ())
    with pytest.raises(BadInput, match="itself a drill's copy"):
        copies.make(copy.digest, Fault.ERRORS, drill="toy-drill-0008")
    assert (copies.remove(champion), copies.remove(copy.digest), copies.remove(copy.digest)) == (False, True, False)
    assert [each.name for each in world.store.iterdir()] == [champion]


# -- the prober --------------------------------------------------------------------------------------------------------


def _probed(url: str, allowed: str, *, rps: float = 40.0) -> DrillProber:
    """Ask ten times; once more where the machine stood still for as long as an answer may take."""
    for _ in range(TRIES):
        with DrillProber(url, contract(), probes(0.0, TaskKind.BINARY), (Digest(allowed),), rps=rps) as prober:
            until(lambda asking=prober: asking.asked >= 10)  # type: ignore[misc]  # bound here, not in the loop's end
        if not any("timed out" in problem for problem in prober.problems):
            break
    return prober


def test_the_prober_loses_nothing_at_a_server_that_answers_and_everything_at_a_stranger(
    world: World, server: Server
) -> None:
    champion = world.bundle()
    server.route(1, champion)
    url = f"http://127.0.0.1:{server.port}"
    well = _probed(url, champion)
    assert (well.lost, well.problems) == (0, [])
    strange = _probed(url, "f" * 64)
    assert strange.lost == strange.asked
    assert "answered by bundle" in strange.problems[0]


class _Ill(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


def test_the_prober_counts_errors_and_silence_as_lost() -> None:
    ill = ThreadingHTTPServer(("127.0.0.1", 0), _Ill)
    thread = threading.Thread(target=ill.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{ill.server_port}"
    errors = _probed(url, "a" * 64)
    ill.shutdown()
    ill.server_close()
    thread.join()
    with socket.socket() as deaf:  # its port is nobody else's, and it does not listen
        deaf.bind(("127.0.0.1", 0))
        silence = _probed(f"http://127.0.0.1:{deaf.getsockname()[1]}", "a" * 64)
    assert (errors.lost, errors.problems) == (errors.asked, ["status 503"])
    assert silence.lost == silence.asked > 0


# -- a whole drill -----------------------------------------------------------------------------------------------------


LATE = r"the champion was restored after .* allowed|the switch took"


class Callers:
    """Asks a server some 35 times a second, each time for another entity, and counts what was not answered."""

    def __init__(self, server: Server) -> None:
        self._url = f"http://127.0.0.1:{server.port}"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self.asked = self.lost = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask_on(self) -> None:
        rng = np.random.default_rng(2)
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._over.wait(0.025):
                row = {"amount": float(rng.uniform(0, 100)), "age": 41, "colour": "red", "shape": "disc"}
                headers = {"x-lockgate-entity": f"customer-{self.asked}"}
                answer = client.post("/invocations", json={"dataframe_records": [row]}, headers=headers)
                self.asked += 1
                self.lost += answer.status_code != 200


class OneTarget(Services):
    """Services whose targets are one, so that all of its connections can be closed."""

    def target(self, environment: str) -> ServerTarget:
        return self._targets.setdefault(environment, super().target(environment))

    @cached_property
    def _targets(self) -> dict[str, ServerTarget]:
        return {}


def test_a_drill_in_production_is_restored_within_ten_seconds_and_nobody_notices(world: World) -> None:
    state = world.root / "serving" / "production"
    (world.root / "tokens").mkdir()
    (world.root / "tokens" / "admin.token").write_text(TOKEN)
    with serving(world, "--state", str(state)) as server:
        ports = {"production": server.port, "production_admin": server.admin_port}
        ledger = f"sqlite:///{world.root}/ledger.db"
        services = OneTarget(replace(settings(world), ports=ports, ledger_url=ledger))
        section = RolloutSection(drill=DrillSection(production=True, weight=0.3))
        line = Line(services=services, spec=replace(toy_spec(), rollout=section))
        champion = Digest(world.bundle())
        switch_traffic(production(line, actor="a test"), ReleaseId("toy-0001"), champion, why="the first")
        for _ in range(TRIES):
            with Callers(server) as callers:
                result = run_drill(line, "errors", production=True)
                until(lambda asking=callers: asking.asked > 50)  # type: ignore[misc]  # bound here
            assert callers.lost == 0
            still = result.lost or result.verdict is DrillVerdict.INCONCLUSIVE or re.match(LATE, result.reason)
            if not still:
                break
        with closing(services.target("production")) as target:
            routed = target.routed(line.model)
    assert (result.verdict, result.lost) == (DrillVerdict.PASSED, 0), result.reason
    assert routed is not None
    assert (routed.champion, routed.weight) == (champion, 0.0)
    assert [each.name for each in world.store.iterdir()] == [champion]
    assert services.ledger.rows(line.model, events=(Event.DRILL,))[-1].payload["passed"] is True
