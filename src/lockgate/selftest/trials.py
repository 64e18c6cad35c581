"""Carrying out a selftest: every fault at every size, and A/A candidates, each in a world and a process of its own.

Candidates that may be stopped for being slow run alone, after all others: what runs beside them would be measured too.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from lockgate.core.gates.registry import GATES
from lockgate.core.ids import Stage
from lockgate.selftest.fault import Fault, Size
from lockgate.selftest.library import faults_named
from lockgate.selftest.prefix import Prefix
from lockgate.selftest.pushing import Pushed, Stop, Trial, broke, push, told

_AT_ONCE = 2  # ours: two cores are what a free CI machine has
_TIMED = frozenset({Stage.INFRA, Stage.STRESS, Stage.STAGING})
STAGE_OF = {gate.name: gate.stage for gate in GATES}
"""The stage that measures for a gate, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """One A/A candidate: the clean one with another seed.

    Attributes:
        seed: The seed.
        stops: What stopped it; empty as it must be.
        seconds: Wall clock.
    """

    seed: int
    stops: tuple[Stop, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One candidate to push.

    Attributes:
        prefix: What it starts from.
        home: Folder of its world; removed afterwards.
        fault: The fault's name; empty for an A/A candidate.
        size: The fault's size.
        seed: The A/A candidate's seed.
    """

    prefix: Prefix
    home: Path
    fault: str = ""
    size: Size = Size.FULL
    seed: int = 0


def timed(fault: Fault) -> bool:
    """Tell whether a fault is measured by the clock, so that nothing may run beside it."""
    return any(STAGE_OF.get(each.gate) in _TIMED for each in fault.by)


def jobs_of(prefix: Prefix, faults: Sequence[Fault], sizes: Sequence[Size], folder: Path) -> tuple[Job, ...]:
    """Return the jobs of faults that can be made of the spec, those that must run alone last."""
    ordered = sorted(faults, key=timed)
    return tuple(
        Job(prefix=prefix, home=folder / f"{fault.name}-{size.value}", fault=fault.name, size=size)
        for fault in ordered
        if fault.needs(prefix.plan.spec) is None
        for size in sizes
    )


def alike_jobs(prefix: Prefix, count: int, folder: Path) -> tuple[Job, ...]:
    """Return the jobs of so many A/A candidates."""
    first = prefix.plan.spec.training.seed + 1
    return tuple(Job(prefix=prefix, home=folder / f"alike-{seed}", seed=seed) for seed in range(first, first + count))


def trials(jobs: Sequence[Job], seen: Callable[[Trial], None]) -> tuple[Trial, ...]:
    """Carry out fault jobs; `seen` is told of each when it is done."""
    by_name = {each.name: each for each in faults_named(())}
    beside = [job for job in jobs if not timed(by_name[job.fault])]
    alone = [job for job in jobs if timed(by_name[job.fault])]
    found = []
    for trial in itertools.chain(_side_by_side(beside), map(try_fault, alone)):
        seen(trial)
        found.append(trial)
    return tuple(found)


def _side_by_side(jobs: Sequence[Job]) -> Iterator[Trial]:
    if len(jobs) < 2:
        yield from map(try_fault, jobs)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two fits at once, each with threads for all cores, are slower
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=_AT_ONCE, mp_context=spawning) as pool:
        yield from pool.map(try_fault, jobs)


def try_fault(job: Job) -> Trial:
    """Push one fault until a gate stops it."""
    fault = faults_named([job.fault])[0]
    amount = fault.amount_at(job.size)
    candidate = None
    try:
        candidate = job.prefix.candidate(fault.entry.before, job.home)
        bad = fault.entry.enter(candidate, amount)
        pushed = push(bad, fault.entry.before, ignoring=job.prefix.stopped_by)
        return told(fault, job.size, pushed)
    except Exception as error:  # noqa: BLE001 - one fault that cannot be made must not hide what the others show
        return broke(fault, job.size, error)
    finally:
        if candidate is not None:
            candidate.world.close()
        shutil.rmtree(job.home, ignore_errors=True)


def try_alike(job: Job) -> Alike:
    """Push the clean candidate with another seed through everything from its fit on."""
    candidate = job.prefix.candidate(Stage.TRAIN, job.home)
    spec = candidate.spec
    try:
        other = candidate.judged_by(replace(spec, training=replace(spec.training, seed=job.seed)))
        pushed: Pushed = push(other, Stage.TRAIN, last=Stage.STRESS, ignoring=job.prefix.stopped_by)
    finally:
        candidate.world.close()
        shutil.rmtree(job.home, ignore_errors=True)
    return Alike(seed=job.seed, stops=pushed.stops, seconds=round(pushed.seconds, 2))
