"""What a drill acts on, and what passes between its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from lockgate.core.contract import ModelContract, ProbeSet
from lockgate.core.drills import Fault, FaultyCopy, Mode, Times
from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.ports import Clock, DeployTarget, Ledger, TrafficLog, TrafficRouter

ACTOR = "drill-rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What is rehearsed.

    Attributes:
        drill: The drill's id; its rows' release and its rollout's salt.
        model: Whose.
        champion: Who serves.
        challenger: The faulty copy.
        section: From `core.drill_plan.drill_section`.
        readback_requests: How many live answers must be the champion's in the end.
        run: The flow run.
        fault: What is planted, for the record.
        mode: Where, for the record.
    """

    drill: ReleaseId
    model: ModelName
    champion: Digest
    challenger: Digest
    section: RolloutSection
    readback_requests: int
    run: str
    fault: Fault
    mode: Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the rollout of a drill ended.

    Attributes:
        times: When what happened.
        verdict: What the guardrails said.
        reason: Why, in one sentence.
        measured: Whether the looks could see, up to the end, and the drill itself went back.
        broken: What did not answer in the middle; None: nothing.
    """

    times: Times
    verdict: RolloutVerdict
    reason: str
    measured: bool = False
    broken: str | None = None


class Copies(Protocol):
    """Makes faulty copies; `adapters.faulty_bundle.FaultyBundles` is one."""

    def make(self, champion: Digest, fault: Fault, *, drill: str) -> FaultyCopy:
        """Sign and store a copy with a planted fault."""
        ...

    def remove(self, digest: Digest) -> bool:
        """Remove a copy; what is none is left alone."""
        ...

    def left_behind(self, model: ModelName) -> tuple[Digest, ...]:
        """Return the copies of a model's bundles that are in the store."""
        ...


class Prober(Protocol):
    """Counts requests that are lost; `adapters.drill_prober.DrillProber` is one."""

    asked: int
    lost: int
    problems: list[str]


class Probing(Protocol):
    """Makes a prober that asks for the length of a block."""

    def __call__(
        self, contract: ModelContract, probes: ProbeSet, allowed: Sequence[Digest]
    ) -> AbstractContextManager[Prober]:
        """Return one; answers of the allowed bundles may be seen by callers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a drill acts on: production, as it is.

    Attributes:
        ledger: The record.
        router: Production's routing.
        target: The same server, read back.
        log: What production's logs say.
        copies: Makes and removes faulty copies.
        probing: Asks production meanwhile.
        clock: Dates what happens.
        rehearse: Carries the rollout of a drill out until it has ended; `drill_course.rehearse` with its tally.
        model: Whose rollback is rehearsed.
        section: The spec's `rollout`.
        sleep: Waits so many seconds.
        seconds: What durations are measured with, monotonic.
    """

    ledger: Ledger
    router: TrafficRouter
    target: DeployTarget
    log: TrafficLog
    copies: Copies
    probing: Probing
    clock: Clock
    rehearse: Callable[[Ground, Rehearsed], Ended]
    model: ModelName
    section: RolloutSection
    sleep: Callable[[float], None] = time.sleep
    seconds: Callable[[], float] = time.monotonic
