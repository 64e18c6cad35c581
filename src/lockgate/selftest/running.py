"""One selftest from its beginning to its report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lockgate.core.ids import Stage
from lockgate.selftest.fault import Fault, Size
from lockgate.selftest.prefix import lay
from lockgate.selftest.pushing import STAGES, Trial
from lockgate.selftest.report import Report
from lockgate.selftest.trials import STAGE_OF, alike_jobs, jobs_of, trials, try_alike
from lockgate.selftest.world import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a selftest is asked for.

    Attributes:
        faults: Which.
        sizes: At which sizes.
        alike: How many A/A candidates are pushed beside them.
    """

    faults: tuple[Fault, ...]
    sizes: tuple[Size, ...] = (Size.FULL,)
    alike: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Who is told how a selftest goes.

    Attributes:
        say: Takes a line.
        seen: Takes each trial, when it is over.
    """

    say: Callable[[str], None] = lambda _: None
    seen: Callable[[Trial], None] = lambda _: None


def run(make_plan: Callable[[Path], Plan], asked: Asked, witness: Witness) -> Report:
    """Make a temporary world, push the clean candidate, then every fault and every A/A candidate.

    Args:
        make_plan: Writes the rows into a folder and returns the plan.
        asked: What is tried.
        witness: Is told of it.

    Raises:
        BadInput: There are no rows to make candidates of.
        MeasurementError: The clean candidate could not be pushed through the line at all.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lockgate-selftest-") as made:
        folder = Path(made)
        plan = make_plan(folder)
        prefix = lay(plan, folder / "prefix", last=_last(asked), tell=witness.say)
        candidates = folder / "candidates"
        found = trials(jobs_of(prefix, asked.faults, asked.sizes, candidates), witness.seen)
        alike = []
        for job in alike_jobs(prefix, asked.alike, candidates):
            alike.append(try_alike(job))
            stopped = "".join(f"; gate {each.gate} said {each.verdict}" for each in alike[-1].stops)
            witness.say(f"A/A with seed {job.seed}: {alike[-1].seconds:.1f} s{stopped}")
    return Report(
        spec=plan.spec,
        faults=asked.faults,
        sizes=asked.sizes,
        trials=found,
        alike=tuple(alike),
        stopped_by=prefix.stopped_by,
        seconds=time.monotonic() - began,
    )


def _last(asked: Asked) -> Stage:
    """Return the last stage that a clean candidate must be seen to pass: the latest at which a fault may be stopped."""
    stages = [STAGE_OF[by.gate] for fault in asked.faults for by in fault.by if by.gate in STAGE_OF]
    known = [STAGES.index(each) for each in stages if each in STAGES]
    if asked.alike:
        known.append(STAGES.index(Stage.STRESS))
    return STAGES[max(known)]
