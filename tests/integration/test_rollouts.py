"""Rollouts on a real server with real traffic: each strategy to its three ends, its controller killed on the way."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import httpx
import numpy as np
import pytest

from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.machine import Phase
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.spec import (
    BanditSection,
    GuardrailsSection,
    Metric,
    PlanSection,
    RolloutSection,
    RolloutStrategy,
    StepSection,
)
from tests.integration.failing_copy import failing_copy
from tests.integration.rollout_controller import MODEL, Place
from tests.server_process import ROW, Server, World, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
LEASE_S = 4.0
QUICK = RolloutSection(
    strategy=RolloutStrategy.CANARY,
    guardrails=GuardrailsSection(latency=None),
    plan=PlanSection(margin=0.2, looks=(1.0,)),
    look_s=0.5,
    lease_s=LEASE_S,
    max_duration_s=180.0,
)
SECTIONS = {
    "shadow": replace(
        QUICK,
        strategy=RolloutStrategy.SHADOW,
        steps=(StepSection(shadow=1.0, bake_s=4.0),),
        plan=PlanSection(metric=Metric.DISAGREEMENT, margin=0.3, looks=(1.0,)),
    ),
    "canary": replace(QUICK, steps=(StepSection(shadow=0.5, bake_s=1.5), StepSection(set_weight=0.5, bake_s=4.0))),
    "linear": replace(
        QUICK,
        strategy=RolloutStrategy.LINEAR,
        steps=(StepSection(set_weight=0.25, bake_s=2.0), StepSection(set_weight=0.5, bake_s=4.0)),
    ),
    "a_b": replace(QUICK, strategy=RolloutStrategy.A_B, steps=(StepSection(set_weight=0.5, bake_s=5.0),)),
    "bandit": replace(
        QUICK,
        strategy=RolloutStrategy.BANDIT,
        bandit=BanditSection(periods=3, period_s=2.0, floor=0.2),
    ),
}


@dataclass
class Traffic:
    """Clients that ask all the time, each request of one of many entities."""

    url: str
    threads: int = 3
    answers: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._running = [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(self.threads)]
        for each in self._running:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._running:
            each.join(timeout=60)

    def _ask(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as client:
            while not self._over.wait(0.015):
                row = {**ROW, "amount": round(draw.uniform(0, 100), 3)}
                headers = {"x-lockgate-entity": f"e{draw.integers(1_000_000)}"}
                body = {"dataframe_records": [row]}
                try:
                    told = client.post(f"/invocations?model={MODEL}", json=body, headers=headers)
                except httpx.HTTPError:
                    self.answers["none"] += 1
                    continue
                self.answers[f"{told.status_code}"] += 1
                self.answers[told.headers.get("x-lockgate-release-digest", "")] += 1


@dataclass
class Scene:
    """A server that serves a champion, with a challenger whose rollout has begun."""

    server: Server
    place: Place

    @contextlib.contextmanager
    def controlled(self, *held_in: Phase) -> Iterator[subprocess.Popen[bytes]]:
        """Run the controller as a process for the length of a block, at most."""
        command = [sys.executable, "-m", "tests.integration.rollout_controller", str(self.place.folder), *held_in]
        process = subprocess.Popen(command)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def carry(self, *, kill_in: Phase | None = None) -> RolloutRecord:
        """Carry the rollout to its end; end the controller with SIGKILL once it is in a phase, and start another.

        While it bakes it waits for that: a challenger that fails bakes no longer than a machine may stand still.
        """
        if kill_in is not None:
            with self.controlled(kill_in) as first:
                self.await_phase(kill_in)
                first.send_signal(signal.SIGKILL)
                first.wait()
            self.await_champion_alone()
        with self.controlled() as process:
            assert process.wait(timeout=240) == 0
        return self.place.found()

    def await_phase(self, phase: Phase, within_s: float = 90.0) -> None:
        deadline = time.monotonic() + within_s
        while self.place.found().rollout.phase is not phase:
            assert time.monotonic() < deadline, f"it is {self.place.found().rollout.phase} after {within_s} s"
            time.sleep(0.02)

    def await_champion_alone(self) -> None:
        """Wait for what the lease promises: without its controller the challenger gets nothing any more."""
        deadline = time.monotonic() + LEASE_S + 60.0
        while True:
            seen = self.place.target.routed(MODEL)
            assert seen is not None
            assert seen.lease_left_s <= LEASE_S
            if seen.weight == 0 and seen.shadow == 0:
                return
            assert time.monotonic() < deadline, f"the challenger still has {seen} of a dead controller"
            time.sleep(0.05)


@contextlib.contextmanager
def scene(root: Path, section: RolloutSection, *, bad: bool = False) -> Iterator[Scene]:
    world = World(root)
    champion = world.bundle()
    challenger = failing_copy(world, share=0.5) if bad else world.bundle(parts={"card.md": b"# the same, once more\n"})
    with serving(world) as server:
        url, admin = (f"http://127.0.0.1:{port}" for port in (server.port, server.admin_port))
        Place.write(root, section=section, champion=champion, challenger=challenger, url=url, admin=admin)
        place = Place(root)
        place.first_champion()
        place.begin()
        yield Scene(server, place)
        place.close()


def test_a_canary_of_an_equal_challenger_is_promoted_on_live_traffic(tmp_path: Path) -> None:
    with scene(tmp_path, SECTIONS["canary"]) as scened, Traffic(str(scened.server.client.base_url)) as traffic:
        ended = scened.carry()
        assert ended.rollout.verdict is RolloutVerdict.PROMOTE, ended.rollout.reason
        seen = scened.place.target.readback(MODEL, scened.place.challenger, 5)
        assert set(seen.answers) == {scened.place.challenger}
    assert set(traffic.answers) - {"200", scened.place.champion, scened.place.challenger} == set()


def test_a_failing_challenger_is_rolled_back_although_its_controller_was_killed(tmp_path: Path) -> None:
    section = replace(SECTIONS["a_b"], look_s=0.5)
    with scene(tmp_path, section, bad=True) as scened, Traffic(str(scened.server.client.base_url)) as traffic:
        ended = scened.carry(kill_in=Phase.BAKING)
        assert ended.rollout.verdict is RolloutVerdict.ROLL_BACK, ended.rollout.reason
        assert "errors" in ended.rollout.reason
        seen = scened.place.target.readback(MODEL, scened.place.champion, 5)
        assert set(seen.answers) == {scened.place.champion}
    assert traffic.answers["200"] == sum(n for status, n in traffic.answers.items() if len(status) in (3, 4)), (
        f"somebody got no answer: {traffic.answers}"
    )


def test_a_rollout_without_traffic_is_inconclusive_and_the_champion_stays(tmp_path: Path) -> None:
    with scene(tmp_path, SECTIONS["linear"]) as scened:
        ended = scened.carry()
        assert ended.rollout.verdict is RolloutVerdict.INCONCLUSIVE
        assert "no request" in ended.rollout.reason
        seen = scened.place.target.routed(MODEL)
        assert seen is not None
        assert (seen.champion, seen.weight, seen.shadow) == (scened.place.champion, 0.0, 0.0)


@pytest.mark.soak
@pytest.mark.parametrize("phase", [Phase.PLACING, Phase.BAKING, Phase.PROMOTING, Phase.RETURNING])
@pytest.mark.parametrize("end", ["promote", "roll_back", "inconclusive"])
@pytest.mark.parametrize("strategy", SECTIONS)
def test_every_strategy_comes_to_each_end_when_its_controller_is_killed_in_each_phase(
    tmp_path: Path, strategy: str, end: str, phase: Phase
) -> None:
    reached = {"promote": Phase.PROMOTING, "roll_back": Phase.RETURNING, "inconclusive": Phase.RETURNING}[end]
    if phase in (Phase.PROMOTING, Phase.RETURNING) and phase is not reached:
        pytest.skip(f"a rollout that ends {end} is never {phase}")
    with contextlib.ExitStack() as stack:
        scened = stack.enter_context(scene(tmp_path, SECTIONS[strategy], bad=end == "roll_back"))
        if end != "inconclusive":
            stack.enter_context(Traffic(str(scened.server.client.base_url)))
        with contextlib.suppress(AssertionError):  # a phase of milliseconds may pass between two looks at the record
            scened.carry(kill_in=phase)
        ended = scened.place.found() if scened.place.found().ended else scened.carry()
        assert ended.rollout.verdict is not None
        assert ended.rollout.verdict.value == end, ended.rollout.reason
        serves = scened.place.challenger if end == "promote" else scened.place.champion
        assert set(scened.place.target.readback(MODEL, serves, 5).answers) == {serves}
