"""A production of one model with several challengers beside its champion, in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lockgate.core.blessing import Blessing, Subjects
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, Json, ReleaseId, to_json
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout import record
from lockgate.core.rollout.machine import Rollout
from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.record import RolloutRecord, read_rollout
from lockgate.core.rollout.routing import CHAMPION
from lockgate.core.rollout.several import arm_name, course_beside
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec import GuardrailsSection, PlanSection, RolloutSection, RolloutStrategy, StepSection
from lockgate.ports import Readback
from lockgate.stages.rolling_several import Several, shared_arm
from lockgate.stages.rollout_world import World
from lockgate.stages.routing import Lane
from lockgate.stages.shared_lane import SharedLane
from lockgate.stages.traffic import Switch, switch_traffic
from tests.fakes import FakeClock, FakeDeployTarget, FakeLedger
from tests.rollout_fakes import FakeTrafficLog, FakeTrafficRouter
from tests.unit.promote.killing import Killer
from tests.unit.rollout.rollouts_on_record import spec_of
from tests.unit.rollout.world import MODEL, R1, A, Kept

CHALLENGERS = {ReleaseId(f"toy-000{place}"): Digest(letter * 64) for place, letter in enumerate("bcd", 2)}
R2, R3, R4 = CHALLENGERS
SPLIT = RolloutSection(
    strategy=RolloutStrategy.A_B,
    steps=(StepSection(set_weight=0.75, bake_s=20.0),),
    guardrails=GuardrailsSection(latency=None),
    plan=PlanSection(margin=0.1, looks=(0.5, 1.0)),
    look_s=5.0,
    max_duration_s=200.0,
)
"""A share of a quarter each where there are three; forty new entities a second soon reach its plan's looks."""


@dataclass
class SharedProduction:
    """What production does while several controllers wait.

    Attributes:
        challengers: Bundle by release, in the order of their arms.
        rate: Requests a second, each of a new entity.
        fails: Failure share by bundle.
        on_second: Called with every second that passes.
        unpromotable: Bundles whose switch is refused.
    """

    challengers: Mapping[ReleaseId, Digest] = field(default_factory=lambda: dict(CHALLENGERS))
    section: RolloutSection = SPLIT
    rate: int = 40
    fails: dict[Digest, float] = field(default_factory=dict)
    on_second: Callable[[float], None] = lambda _: None
    promoted: list[ReleaseId] = field(default_factory=list)
    refusing: Callable[[ReleaseId], None] = lambda _: None
    ledger: FakeLedger = field(default_factory=FakeLedger)
    clock: FakeClock = field(default_factory=FakeClock)
    log: FakeTrafficLog = field(default_factory=FakeTrafficLog)
    kept: dict[ReleaseId, Kept] = field(default_factory=lambda: defaultdict(Kept))
    target: FakeDeployTarget = field(default_factory=FakeDeployTarget)
    seed: int = 1

    def __post_init__(self) -> None:
        self.ledger.clock = self.clock
        self.router = FakeTrafficRouter(clock=self.clock)
        self._random = np.random.default_rng(self.seed)
        self._asked = 0
        switch_traffic(self.switch(), R1, A, why="the first")

    def switch(self) -> Switch:
        return Switch(ledger=self.ledger, target=self.target, model=MODEL, readback_requests=3, timeout_s=0)

    def allow(self) -> None:
        """Open, bless and approve every release."""
        spec = spec_of(self.section)
        for release, bundle in self.challengers.items():
            blessing = Blessing(
                subjects=Subjects(release=release, bundle=bundle, spec=spec.digest, data=A, champion=A, code=A),
                reports={},
            )
            opened: dict[str, Json] = {"spec": spec.digest, "resolved_spec": to_json(spec), "run": "r", "reason": "new"}
            rows: tuple[tuple[Event, Json], ...] = (
                (Event.RELEASE_OPENED, opened),
                (Event.BLESSING, to_json(blessing)),
                (Event.APPROVAL_GIVEN, {"approver": "ada", "blessing": blessing.digest}),
            )
            for event, payload in rows:
                assert isinstance(payload, Mapping)
                self.ledger.append(MODEL, event, payload, release=release)

    def course(self, release: ReleaseId) -> Course:
        place = list(self.challengers).index(release) + 1
        beside = [each for each in self.challengers if each != release]
        return course_beside(self.section, sd=None, arm=arm_name(place), beside=beside)

    def begin(self) -> None:
        began = self.clock.now().timestamp()
        for release, bundle in self.challengers.items():
            rollout = Rollout.at_start(release, bundle, A, began=began)
            payload = record.begun_payload(self.course(release), rollout, salt="toy/1", run="run-2")
            self.ledger.append(MODEL, Event.ROLLOUT_BEGUN, payload, release=release)

    def several(self, killer: Killer | None = None) -> Several:
        guard = (killer or Killer()).guard
        found = [self.record(release) for release in self.challengers]
        several = Several(lane=SharedLane(guard(self.router), MODEL, A, [shared_arm(each) for each in found]))
        several.lane.take_stock()
        for each in found:
            if not each.ended:
                several.join(self._world(each, guard), each)
        return several

    def carry(self, killer: Killer | None = None) -> None:
        self.several(killer).run()

    def _world(self, found: RolloutRecord, guard: Callable[[object], object]) -> World:
        release = found.rollout.release
        lane = Lane(
            ledger=guard(self.ledger),  # type: ignore[arg-type]  # a guarded port is that port
            router=self.router,
            model=MODEL,
            release=release,
            champion=A,
            challenger=found.rollout.challenger,
            salt=found.salt,
            lease_s=found.course.lease_s,
            timeout_s=0,
            sleep=self.sleep,
        )
        return World(
            lane=lane,
            log=guard(self.log),  # type: ignore[arg-type]
            keeper=guard(self.kept[release]),  # type: ignore[arg-type]
            clock=self.clock,
            readback=self.readback,
            promote=lambda: self.promote(release, found.rollout.challenger),
            tally=lambda kept: self.tally(found.course, kept),
        )

    def tally(self, course: Course, kept: bytes | None) -> Tally:
        if kept is None:
            return Tally(course, self.section, TaskKind.BINARY, ("no", "yes"))
        return Tally.from_bytes(kept, course, self.section, TaskKind.BINARY, ("no", "yes"))

    def promote(self, release: ReleaseId, bundle: Digest) -> None:
        self.promoted.append(release)
        self.refusing(release)
        switch_traffic(self.switch(), release, bundle, why="it was shown not to be worse")

    def readback(self) -> Readback:
        asked = self.router.asked(MODEL)
        assert asked is not None
        return Readback(sequence=asked.sequence, answers=tuple(self._who()[1] for _ in range(3)))

    def sleep(self, seconds: float) -> None:
        """Let time pass, and production be asked meanwhile."""
        self.clock.advance(seconds)
        now = self.clock.now().timestamp()
        self.log.put(*(self._answer(now) for _ in range(round(self.rate * seconds))))
        self.on_second(now)

    def _who(self) -> tuple[str, Digest, float]:
        """Draw who answers: arm, bundle, propensity."""
        arms = self.router._really(MODEL).arms if self.router.asked(MODEL) else ()
        drawn, rest = self._random.random(), 1.0 - sum(each.weight for each in arms)
        for each in arms:
            drawn -= each.weight
            if drawn < 0:
                return each.name, each.bundle, each.weight
        return CHAMPION, A, rest

    def _answer(self, now: float) -> Observation:
        self._asked += 1
        arm, bundle, propensity = self._who()
        failed = self._random.random() < self.fails.get(bundle, 0.0)
        return Observation(
            time=now,
            prediction_id=f"p{self._asked}",
            arm=arm,
            propensity=propensity,
            entity=f"e{self._asked}",
            failed=failed,
            latency_us=1000,
            scores=() if failed else (0.3,),
            labels=() if failed else ("no",),
        )

    # -- what is on record ---------------------------------------------------------------------------------------------

    def record(self, release: ReleaseId) -> RolloutRecord:
        found = read_rollout(self.ledger.rows(MODEL, release=release), release)
        assert found is not None
        return found

    def verdicts(self) -> dict[ReleaseId, RolloutVerdict | None]:
        found = [self.record(release) for release in self.challengers]
        assert all(each.ended for each in found), [each.rollout for each in found]
        return {each.rollout.release: each.rollout.verdict for each in found}

    def champion(self) -> Digest | None:
        serving = self.ledger.state(MODEL).serving.get("production")
        return serving.bundle if serving else None

    def wish(self, release: ReleaseId, what: str) -> None:
        asked: dict[str, Json] = {"what": what, "by": "ada", "reason": "because"}
        self.ledger.append(MODEL, Event.ROLLOUT_ASKED, asked, release=release, actor="ada")


def of_three(**how: object) -> SharedProduction:
    """Return a production whose three challengers are approved and have begun."""
    production = SharedProduction(**how)  # type: ignore[arg-type]  # the fields of the dataclass
    production.allow()
    production.begin()
    return production


def of_two(**how: object) -> SharedProduction:
    """Return one with two."""
    both = dict(list(CHALLENGERS.items())[:2])
    section = replace(SPLIT, steps=(StepSection(set_weight=0.6, bake_s=20.0),))
    return of_three(**{"challengers": both, "section": section, **how})
