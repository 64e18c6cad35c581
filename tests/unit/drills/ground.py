"""A production in memory to drill in: copies that are only names, and a prober that counts what a test tells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lockgate.core.contract import ModelContract, ProbeSet, TaskKind
from lockgate.core.drills import DrillResult, Fault, FaultyCopy, Mode
from lockgate.core.ids import Digest, ModelName
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec import DrillSection, RolloutSection, RolloutStrategy
from lockgate.ports import Readback
from lockgate.stages.drill_course import rehearse
from lockgate.stages.drill_ground import Ground
from lockgate.stages.drilling import drill
from tests.bundles import contract, probes
from tests.fakes import FakeClock, FakeLedger
from tests.unit.promote.killing import Killer
from tests.unit.rollout.world import MODEL, Production

COPY = Digest("d" * 64)
SECTION = RolloutSection(strategy=RolloutStrategy.CANARY, drill=DrillSection(production=True))


@dataclass
class FakeCopies:
    """Keeps the digests of the copies that are in the store."""

    there: set[Digest] = field(default_factory=set)
    made: list[tuple[Digest, Fault]] = field(default_factory=list)

    def make(self, champion: Digest, fault: Fault, *, drill: str) -> FaultyCopy:
        del drill
        self.there.add(COPY)
        self.made.append((champion, fault))
        return FaultyCopy(digest=COPY, contract=contract(), probes=probes(0.0, TaskKind.BINARY))

    def remove(self, digest: Digest) -> bool:
        known = digest in self.there
        self.there.discard(digest)
        return known

    def left_behind(self, model: ModelName) -> tuple[Digest, ...]:
        del model
        return tuple(sorted(self.there))


@dataclass
class FakeProber:
    """Says what it was told to."""

    asked: int = 40
    lost: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class Target:
    """The server's own answers, on every connection."""

    production: Production
    name: str = "production"

    def readback(self, model: ModelName, bundle: Digest, requests: int) -> Readback:
        del model, bundle
        seen = self.production.readback()
        return Readback(sequence=seen.sequence, answers=seen.answers[:1] * requests)


def made(**how: Any) -> Production:
    """Return a production whose ledger dates its rows by the same clock."""
    clock = FakeClock()
    return Production(clock=clock, ledger=FakeLedger(clock=clock), **how)


@dataclass
class Drills:
    """One production, and the drills in it.

    Attributes:
        production: Its traffic and its ledger.
        section: The spec's.
    """

    production: Production = field(default_factory=lambda: made(rate=50, fails={CHALLENGER: 0.5}))
    section: RolloutSection = SECTION
    copies: FakeCopies = field(default_factory=FakeCopies)
    prober: FakeProber = field(default_factory=FakeProber)
    allowed: list[tuple[Digest, ...]] = field(default_factory=list)
    killer: Killer = field(default_factory=Killer)

    @property
    def ground(self) -> Ground:
        production, guard = self.production, self.killer.guard
        return Ground(
            ledger=guard(production.ledger),
            router=guard(production.router),
            target=Target(production),  # type: ignore[arg-type]  # a drill asks for nothing but its answers
            log=production.log,
            copies=self.copies,
            probing=self._probing,
            clock=production.clock,
            rehearse=partial(rehearse, tally=_tally),
            model=MODEL,
            section=self.section,
            sleep=production.sleep,
            seconds=self._seconds,
        )

    def drill(self, fault: Fault = Fault.ERRORS, mode: Mode = Mode.SHADOW) -> DrillResult:
        return drill(self.ground, fault, mode, run="run-7")

    def rows(self, *events: Event) -> tuple[LedgerRow, ...]:
        return self.production.ledger.rows(MODEL, events=events)

    def _seconds(self) -> float:
        return self.production.clock.time.timestamp()

    def _probing(
        self, contract: ModelContract, probes: ProbeSet, allowed: Sequence[Digest]
    ) -> AbstractContextManager[FakeProber]:
        del contract, probes
        self.allowed.append(tuple(allowed))
        return self._asking()

    @contextmanager
    def _asking(self) -> Iterator[FakeProber]:
        yield self.prober


def _tally(course: Course, section: RolloutSection, kept: bytes | None) -> Tally:
    assert kept is None
    return Tally(course, section, TaskKind.BINARY, ("no", "yes"))
