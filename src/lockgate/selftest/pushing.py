"""Pushing a candidate through the line until a gate stops it, and telling whether the right one did."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from lockgate.core.blessing import Subjects
from lockgate.core.gates.registry import required_for_blessing
from lockgate.core.ids import Digest, Stage
from lockgate.core.progress import Progress
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import LockgateError, MeasurementError
from lockgate.line.model_line import Line
from lockgate.line.running import run
from lockgate.selftest.fault import By, Fault, Size
from lockgate.selftest.world import Candidate
from lockgate.stages.recording import bless_release, reports_of

STAGES = (
    Stage.INGEST,
    Stage.VALIDATE_DATA,
    Stage.TRAIN,
    Stage.EVALUATE,
    Stage.PACKAGE,
    Stage.INFRA,
    Stage.STRESS,
    Stage.STAGING,
)
"""What a candidate is pushed through: every stage that has gates. Staging needs a blessing, hence a clean candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What one gate said against a candidate.

    Attributes:
        stage: Where.
        gate: Which; empty when the stage itself broke.
        check: The worst check; empty when there is none.
        verdict: What it said.
        reason: Why.
        checks: Every required check of the gate that did not pass, with its verdict.
    """

    stage: Stage
    gate: str
    check: str
    verdict: Verdict
    reason: str
    checks: tuple[tuple[str, Verdict], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """How far a candidate came.

    Attributes:
        so_far: Its progress after the last stage.
        stops: What stopped it, all of one stage; empty when nothing did.
        seconds: Wall clock.
    """

    so_far: Progress
    stops: tuple[Stop, ...]
    seconds: float


def push(candidate: Candidate, first: Stage, *, last: Stage = STAGES[-1], ignoring: Collection[str] = ()) -> Pushed:
    """Run the line's stages from `first` until gates stop the candidate, or to `last`.

    Args:
        candidate: What is pushed; its rows are landed if they were not.
        first: The stage to begin with; those before have been run.
        last: The stage to end with.
        ignoring: Gates that do not stop it, because they stop the clean candidate too.
    """
    began = time.monotonic()
    so_far, line = candidate.opened(), candidate.line
    stops: tuple[Stop, ...] = ()
    for stage in STAGES[STAGES.index(first) : STAGES.index(last) + 1]:
        try:
            if stage is Stage.STAGING:
                _bless(line, so_far)
                candidate.world.open_staging(Digest(so_far.refs["bundle"]))
            done = run(line, stage, so_far)
        except LockgateError as broken:
            stops = _recorded(line, so_far, stage, ignoring) or _broken(stage, broken, ignoring)
            if stops:
                break
            continue
        so_far = replace(done.so_far, ended=None, gate=None, reason="")
        stops = tuple(_stops(stage, (each for each in done.reports if each.gate not in ignoring)))
        if stops:
            break
    return Pushed(so_far=so_far, stops=stops, seconds=time.monotonic() - began)


def _bless(line: Line, so_far: Progress) -> None:
    """Bless the bundle as `register_model` does, without listing it: staging takes nothing unblessed.

    Raises:
        NotBlessed: A gate did not pass.
    """
    champion = so_far.refs["champion"]
    subjects = Subjects(
        release=so_far.release,
        bundle=Digest(so_far.refs["bundle"]),
        spec=so_far.spec,
        data=Digest(so_far.refs["data"]),
        champion=Digest(champion) if champion else None,
        code=so_far.code,
    )
    bless_release(line.ledger, line.model, subjects, required_for_blessing(), actor="selftest")


def _stops(stage: Stage, reports: Iterable[GateReport]) -> Iterable[Stop]:
    for report in reports:
        if report.verdict is Verdict.PASS:
            continue
        bad = [each for each in report.checks if each.required and each.verdict is not Verdict.PASS]
        bad = [each for each in bad if each.verdict is not Verdict.NOT_APPLICABLE]
        worst = next((each.name for each in bad if each.verdict is report.verdict), "")
        yield Stop(
            stage=stage,
            gate=report.gate,
            check=worst,
            verdict=report.verdict,
            reason=report.reason,
            checks=tuple((each.name, each.verdict) for each in bad),
        )


def _recorded(line: Line, so_far: Progress, stage: Stage, ignoring: Collection[str]) -> tuple[Stop, ...]:
    """Return what the gates of a stage that raised had said by then: one ERROR does not unsay another gate's FAIL."""
    reports = reports_of(line.ledger, line.model, so_far.release)
    return tuple(_stops(stage, (each for each in reports if each.stage is stage and each.gate not in ignoring)))


def _broken(stage: Stage, error: LockgateError, ignoring: Collection[str]) -> tuple[Stop, ...]:
    """Tell a stage that could not measure: the line stops there too, with no gate's word against the candidate."""
    if str(error.data.get("gate")) in ignoring:
        return ()
    gate = str(error.data.get("gate", "")) if isinstance(error, MeasurementError) else ""
    kind = type(error).__name__
    words, told = f"{kind}: {error.message}", ((kind, Verdict.ERROR),)
    return (Stop(stage=stage, gate=gate, check=kind, verdict=Verdict.ERROR, reason=words, checks=told),)


class How(StrEnum):
    """How a fault ended. Only `CAUGHT` is as it must be."""

    CAUGHT = "caught"
    ELSEWHERE = "caught elsewhere"
    ESCAPED = "escaped"
    BROKE = "broke"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One fault at one size.

    Attributes:
        fault: Its name.
        size: How large.
        amount: The same in the fault's own unit.
        how: Whether the gate that it names stopped it.
        stop: What stopped it; the rightful gate's word where it had one.
        seconds: Wall clock.
    """

    fault: str
    size: Size
    amount: float
    how: How
    stop: Stop | None
    seconds: float


def told(fault: Fault, size: Size, pushed: Pushed) -> Trial:
    """Tell whether what stopped a fault is a gate that may rightly stop it."""
    right = next((each for each in pushed.stops if rightful(fault, each)), None)
    how = How.CAUGHT if right is not None else How.ELSEWHERE if pushed.stops else How.ESCAPED
    return Trial(
        fault=fault.name,
        size=size,
        amount=fault.amount_at(size),
        how=how,
        stop=None if not pushed.stops else pushed.stops[0] if right is None else _by_the_check_meant(fault, right),
        seconds=round(pushed.seconds, 2),
    )


def _by_the_check_meant(fault: Fault, stop: Stop) -> Stop:
    """Return the stop under the name of the check that the fault lists, where it lists one."""
    listed = {name for by in fault.by if by.gate == stop.gate for name in by.checks}
    meant = next((name for name, verdict in stop.checks if name in listed and verdict in fault.verdicts), None)
    return stop if meant is None else replace(stop, check=meant)


def broke(fault: Fault, size: Size, error: Exception) -> Trial:
    """Tell that a candidate could not be made or pushed at all: nothing was shown."""
    reason = f"{type(error).__name__}: {error}"
    stop = Stop(stage=fault.entry.before, gate="", check="", verdict=Verdict.ERROR, reason=reason)
    return Trial(fault=fault.name, size=size, amount=fault.amount_at(size), how=How.BROKE, stop=stop, seconds=0.0)


def rightful(fault: Fault, stop: Stop) -> bool:
    """Tell whether this is a gate, a check and a verdict that the fault lists."""
    return any(_matches(each, stop, fault.verdicts) for each in fault.by)


def _matches(by: By, stop: Stop, verdicts: Collection[Verdict]) -> bool:
    if by.gate != stop.gate or stop.verdict not in verdicts:
        return False
    return not by.checks or any(name in by.checks and verdict in verdicts for name, verdict in stop.checks)
