"""What all candidates share: a champion, and the clean candidate's world as it stood before each stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lockgate.core.ids import Digest, Stage
from lockgate.core.progress import Progress
from lockgate.errors import MeasurementError
from lockgate.selftest.production import ask
from lockgate.selftest.pushing import STAGES, Stop, push
from lockgate.selftest.world import Candidate, Plan, World

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Where candidates start from; paths and values only, so that it travels to other processes.

    Attributes:
        plan: What the worlds are made of.
        homes: The home to copy, by the first stage that the candidate is pushed through.
        progress: How far the clean candidate had come then; None before its rows landed.
        stopped_by: What stopped the clean candidate, by gate: a fault caught there shows nothing.
        seconds: Wall clock of each of its stages.
    """

    plan: Plan
    homes: Mapping[Stage, Path]
    progress: Mapping[Stage, Progress | None]
    stopped_by: Mapping[str, Stop]
    seconds: Mapping[Stage, float]

    def candidate(self, before: Stage, home: Path) -> Candidate:
        """Return a clean candidate of its own, as it stands before a stage.

        Raises:
            MeasurementError: The clean candidate never came there.
        """
        if before not in self.homes:
            raise MeasurementError(f"the clean candidate never came to {before.value}: gates stopped it before")
        world = World(home=self.homes[before], plan=self.plan).copy(home)
        return Candidate(world=world, spec=self.plan.spec, so_far=self.progress[before])


def lay(plan: Plan, folder: Path, *, last: Stage = STAGES[-1], tell: Tell = lambda _: None) -> Prefix:
    """Make a champion and push the clean candidate through every stage, keeping the world before each.

    A gate that stops the clean candidate is noted, and it is pushed on: gates after it can still be tried.

    Raises:
        MeasurementError: The champion's line broke, or the clean candidate's; says where.
    """
    world = World.new(folder / "champion", plan)
    _crown(world, tell)
    homes: dict[Stage, Path] = {}
    progress: dict[Stage, Progress | None] = {}
    seconds: dict[Stage, float] = {}
    stopped: dict[str, Stop] = {}
    candidate = Candidate(world=world, spec=plan.spec, so_far=None)
    for stage in STAGES[: STAGES.index(last) + 1]:
        if stage is Stage.STAGING and stopped:
            tell("clean candidate: not staged, because a gate stopped it and nothing unblessed is staged")
            break
        kept = candidate.world.copy(folder / f"before-{stage.value}")
        homes[stage], progress[stage] = kept.home, candidate.so_far
        pushed = push(candidate, stage, last=stage)
        for stop in pushed.stops:
            if not stop.gate:
                raise MeasurementError(f"the clean candidate's {stage.value} broke: {stop.reason}", stage=stage.value)
            stopped[stop.gate] = stop
        seconds[stage] = round(pushed.seconds, 2)
        tell(f"clean candidate: {stage.value} {pushed.seconds:.1f} s{_said(pushed.stops)}")
        candidate = Candidate(world=candidate.world, spec=plan.spec, so_far=pushed.so_far)
    world.close()
    return Prefix(plan=plan, homes=homes, progress=progress, stopped_by=stopped, seconds=seconds)


def _crown(world: World, tell: Tell) -> None:
    """Make the champion: a first release of the history, evaluated and sealed, then verified in the ledger."""
    import pandas as pd

    so_far = world.open_release(pd.read_parquet(world.plan.history), "champion")
    candidate = Candidate(world=world, spec=world.plan.spec, so_far=so_far)
    for stage in STAGES[: STAGES.index(Stage.PACKAGE) + 1]:
        pushed = push(candidate, stage, last=stage)
        if any(not each.gate for each in pushed.stops):
            raise MeasurementError(f"the champion's {stage.value} broke: {pushed.stops[0].reason}", stage=stage.value)
        tell(f"champion: {stage.value} {pushed.seconds:.1f} s{_said(pushed.stops)}")
        candidate = Candidate(world=world, spec=world.plan.spec, so_far=pushed.so_far)
    world.promote(pushed.so_far)
    ask(world, Digest(pushed.so_far.refs["bundle"]), pd.read_parquet(world.plan.batch))
    tell("champion: asked in the real server")


def _said(stops: tuple[Stop, ...]) -> str:
    return "".join(f"; gate {each.gate} said {each.verdict}: {each.reason}" for each in stops)
