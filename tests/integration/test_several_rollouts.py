"""Two challengers beside one champion on a real server with real traffic, their one process killed on the way."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lockgate.core.ids import ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.machine import Phase
from lockgate.core.spec import GuardrailsSection, PlanSection, RolloutSection, RolloutStrategy, StepSection
from lockgate.stages.audit_rollout import audit_rollouts
from tests.integration.failing_copy import failing_copy
from tests.integration.rollout_controller import MODEL
from tests.integration.several_controller import SharedPlace
from tests.integration.test_rollouts import LEASE_S, Traffic
from tests.server_process import World, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
R2, R3 = ReleaseId("toy-0002"), ReleaseId("toy-0003")
SPLIT = RolloutSection(
    strategy=RolloutStrategy.A_B,
    steps=(StepSection(set_weight=0.6, bake_s=5.0),),
    guardrails=GuardrailsSection(latency=None),
    plan=PlanSection(margin=0.25, looks=(1.0,)),
    look_s=0.5,
    lease_s=LEASE_S,
    max_duration_s=180.0,
)


@dataclass
class Scene:
    """A server that serves a champion, with two challengers whose rollouts have begun."""

    url: str
    place: SharedPlace

    @contextlib.contextmanager
    def controlled(self) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen([sys.executable, "-m", "tests.integration.several_controller", self.place.folder])
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def carry(self, *, kill_in: Phase | None = None) -> dict[ReleaseId, RolloutVerdict | None]:
        """Carry both to their ends; end the process with SIGKILL once one is in a phase, and start another."""
        if kill_in is not None:
            with self.controlled() as first:
                self.await_phase(kill_in)
                first.send_signal(signal.SIGKILL)
                first.wait()
            self.await_champion_alone()
        with self.controlled() as process:
            assert process.wait(timeout=240) == 0
        return {release: each.rollout.verdict for release, each in self.place.all_found().items() if each.ended}

    def await_phase(self, phase: Phase, within_s: float = 90.0) -> None:
        deadline = time.monotonic() + within_s
        while phase not in [each.rollout.phase for each in self.place.all_found().values()]:
            assert time.monotonic() < deadline, f"none is {phase} after {within_s} s"
            time.sleep(0.02)

    def await_champion_alone(self) -> None:
        deadline = time.monotonic() + LEASE_S + 60.0
        while True:
            seen = self.place.target.routed(MODEL)
            assert seen is not None
            assert seen.lease_left_s <= LEASE_S
            if not any(each.weight for each in seen.arms):
                return
            assert time.monotonic() < deadline, f"challengers still have {seen} of a dead process"
            time.sleep(0.05)

    def serves(self) -> set[str]:
        return {
            answer
            for bundle in (self.place.champion, *self.place.challengers.values())
            for answer in self.place.target.readback(MODEL, bundle, 5).answers
        }


@contextlib.contextmanager
def scene(root: Path, *, bad: bool) -> Iterator[Scene]:
    world = World(root)
    champion, equal = world.bundle(), world.bundle(parts={"card.md": b"# the same, once more\n"})
    other = failing_copy(world, share=0.5) if bad else world.bundle(parts={"card.md": b"# and another time\n"})
    with serving(world) as server:
        url, admin = (f"http://127.0.0.1:{port}" for port in (server.port, server.admin_port))
        both = {R2: other, R3: equal}
        SharedPlace.write(root, section=SPLIT, champion=champion, challengers=both, url=url, admin=admin)
        place = SharedPlace(root)
        place.begin()
        yield Scene(str(server.client.base_url), place)
        place.close()


def test_the_failing_one_is_rolled_back_and_the_equal_one_promoted_although_their_process_was_killed(
    tmp_path: Path,
) -> None:
    with scene(tmp_path, bad=True) as scened, Traffic(scened.url) as traffic:
        ended = scened.carry(kill_in=Phase.BAKING)

        place = scened.place
        assert ended == {R2: RolloutVerdict.ROLL_BACK, R3: RolloutVerdict.PROMOTE}, place.all_found()
        assert "errors" in place.found(R2).rollout.reason
        assert scened.serves() == {place.challengers[R3]}
        promoted = [row for row in place.ledger.rows(MODEL, events=(Event.TRAFFIC_VERIFIED,)) if row.release in ended]
        assert [row.release for row in promoted] == [R3]
        messages = [each.message for each in audit_rollouts(place.ledger.rows(MODEL))]
        assert messages == []
    known = {"200", place.champion, *place.challengers.values()}
    assert set(traffic.answers) - known == set(), f"somebody got no answer: {traffic.answers}"


@pytest.mark.soak
@pytest.mark.parametrize("phase", [Phase.PLACING, Phase.BAKING, Phase.PROMOTING, Phase.RETURNING])
@pytest.mark.parametrize("end", ["one is worse", "both are equal", "no traffic"])
def test_at_most_one_is_promoted_when_their_process_is_killed_in_each_phase(
    tmp_path: Path, end: str, phase: Phase
) -> None:
    with contextlib.ExitStack() as stack:
        scened = stack.enter_context(scene(tmp_path, bad=end == "one is worse"))
        if end != "no traffic":
            stack.enter_context(Traffic(scened.url))
        with contextlib.suppress(AssertionError):  # a phase of milliseconds may pass between two looks at the record
            scened.carry(kill_in=phase)
        ended = scened.carry()
        promoted = [release for release, verdict in ended.items() if verdict is RolloutVerdict.PROMOTE]
        assert len(ended) == 2
        assert len(promoted) == (0 if end == "no traffic" else 1), scened.place.all_found()
        assert end != "one is worse" or promoted == [R3]
        serves = scened.place.challengers[promoted[0]] if promoted else scened.place.champion
        assert scened.serves() == {serves}
        assert [each.message for each in audit_rollouts(scened.place.ledger.rows(MODEL))] == []
