"""A production of one model in memory: a router with a lease, a log that its traffic fills, and a clock that waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.rollout import record
from lockgate.core.rollout.machine import Rollout
from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.record import RolloutRecord, read_rollout
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.rollout.steps import Course, course_of
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec import GuardrailsSection, PlanSection, RolloutSection, RolloutStrategy, StepSection
from lockgate.errors import LedgerConflict
from lockgate.ports import Readback
from lockgate.stages.rolling_out import Controller
from lockgate.stages.rollout_world import World
from lockgate.stages.routing import Lane
from lockgate.stages.traffic import Switch, switch_traffic
from tests.fakes import FakeClock, FakeDeployTarget, FakeLedger
from tests.rollout_fakes import FakeTrafficLog, FakeTrafficRouter
from tests.unit.promote.killing import Killer

MODEL = ModelName("toy")
A, B = Digest("a" * 64), Digest("b" * 64)
R1, R2 = ReleaseId("toy-0001"), ReleaseId("toy-0002")

CANARY = RolloutSection(
    strategy=RolloutStrategy.CANARY,
    steps=(
        StepSection(shadow=1.0, bake_s=20.0),
        StepSection(set_weight=0.2, bake_s=30.0),
        StepSection(set_weight=0.5, bake_s=60.0),
    ),
    guardrails=GuardrailsSection(latency=None),
    plan=PlanSection(margin=0.05),
    look_s=5.0,
    max_duration_s=400.0,
)


@dataclass
class Kept:
    """A tally in memory; implements `Keeper`."""

    held: tuple[str, bytes] | None = None

    def load(self) -> tuple[str, bytes] | None:
        return self.held

    def save(self, cursor: str, kept: bytes) -> None:
        self.held = cursor, kept

    def drop(self) -> None:
        self.held = None


@dataclass
class Production:
    """What production does while its rollout's controller waits.

    Attributes:
        rate: Requests a second, each of a new entity.
        fails: Failure share by arm.
        on_second: Called with every second that passes.
    """

    section: RolloutSection = CANARY
    rate: int = 40
    fails: dict[str, float] = field(default_factory=dict)
    on_second: Callable[[float], None] = lambda _: None
    ledger: FakeLedger = field(default_factory=FakeLedger)
    clock: FakeClock = field(default_factory=FakeClock)
    log: FakeTrafficLog = field(default_factory=FakeTrafficLog)
    kept: Kept = field(default_factory=Kept)
    target: FakeDeployTarget = field(default_factory=FakeDeployTarget)
    seed: int = 1

    def __post_init__(self) -> None:
        self.ledger.clock = self.clock  # the record and the looks tell one time
        self.router = FakeTrafficRouter(clock=self.clock)
        self._random = np.random.default_rng(self.seed)
        self._asked = 0
        switch_traffic(self.switch(), R1, A, why="the first")

    @property
    def course(self) -> Course:
        return course_of(self.section, sd=None)

    def switch(self) -> Switch:
        return Switch(ledger=self.ledger, target=self.target, model=MODEL, readback_requests=3, timeout_s=0)

    def begin(self) -> None:
        rollout = Rollout.at_start(R2, B, A, began=self.clock.now().timestamp())
        payload = record.begun_payload(self.course, rollout, salt=f"{R2}/1", run="run-2")
        self.ledger.append(MODEL, Event.ROLLOUT_BEGUN, payload, release=R2)

    def controller(self, killer: Killer | None = None) -> Controller:
        found = self.record()
        assert found is not None
        return Controller.of(self.world(killer), found)

    def world(self, killer: Killer | None = None) -> World:
        guard = (killer or Killer()).guard
        lane = Lane(
            ledger=guard(self.ledger),
            router=guard(self.router),
            model=MODEL,
            release=R2,
            champion=A,
            challenger=B,
            salt=f"{R2}/1",
            lease_s=self.course.lease_s,
            timeout_s=0,
            sleep=self.sleep,
        )
        return World(
            lane=lane,
            log=guard(self.log),
            keeper=guard(self.kept),
            clock=self.clock,
            readback=self.readback,
            promote=self.promote,
            tally=self.tally,
        )

    def tally(self, kept: bytes | None) -> Tally:
        if kept is None:
            return Tally(self.course, self.section, TaskKind.BINARY, ("no", "yes"))
        return Tally.from_bytes(kept, self.course, self.section, TaskKind.BINARY, ("no", "yes"))

    def promote(self) -> None:
        switch_traffic(self.switch(), R2, B, why="it was shown not to be worse")

    def readback(self) -> Readback:
        asked = self.router.asked(MODEL)
        assert asked is not None
        alone = asked.weight == 0 or not self.router.routed(MODEL)
        return Readback(sequence=asked.sequence, answers=(A if alone else B,) * 3)

    def sleep(self, seconds: float) -> None:
        """Let time pass, and production be asked meanwhile."""
        self.clock.advance(seconds)
        now = self.clock.now().timestamp()
        self.log.put(*(each for _ in range(round(self.rate * seconds)) for each in self._request(now)))
        self.on_second(now)

    def _request(self, now: float) -> list[Observation]:
        self._asked += 1
        try:
            seen = self.router._really(MODEL)
        except (KeyError, LedgerConflict):
            return [self._answer(now, CHAMPION, 1.0)]
        challenger = self._random.random() < seen.weight
        arm = CHALLENGER if challenger else CHAMPION
        live = self._answer(now, arm, seen.weight if challenger else 1.0 - seen.weight)
        if seen.shadow and self._random.random() < seen.shadow:
            return [live, self._answer(now, CHALLENGER, seen.shadow, shadow=True)]
        return [live]

    def _answer(self, now: float, arm: str, propensity: float, *, shadow: bool = False) -> Observation:
        failed = self._random.random() < self.fails.get(arm, 0.0)
        return Observation(
            time=now,
            prediction_id=f"p{self._asked}",
            arm=arm,
            propensity=propensity,
            shadow=shadow,
            entity=f"e{self._asked}",
            failed=failed,
            latency_us=1000,
            scores=() if failed else (0.3,),
            labels=() if failed else ("no",),
        )

    # -- what is on record ---------------------------------------------------------------------------------------------

    def record(self) -> RolloutRecord | None:
        return read_rollout(self.ledger.rows(MODEL, release=R2), R2)

    def rows(self, *events: Event) -> tuple[LedgerRow, ...]:
        return self.ledger.rows(MODEL, release=R2, events=events)

    def champion(self) -> Digest | None:
        serving = self.ledger.state(MODEL).serving.get("production")
        return serving.bundle if serving else None

    def wish(self, what: str) -> None:
        self.ledger.append(
            MODEL, Event.ROLLOUT_ASKED, {"what": what, "by": "ada", "reason": "because"}, release=R2, actor="ada"
        )
