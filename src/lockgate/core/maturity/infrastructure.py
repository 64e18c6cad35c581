"""Tests I1 to I7: infrastructure."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.core.estimates import within
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.maturity.record import Answer, Area, Finding, Record
from lockgate.core.traffic import Kind


def _found(id_: str, title: str, answer: Answer, why: str, evidence: Sequence[str] = ()) -> Finding:
    return Finding(id=id_, area=Area.INFRASTRUCTURE, title=title, answer=answer, why=why, evidence=tuple(evidence))


def reproducible(record: Record) -> Finding:
    """I1: trained twice in clean processes."""
    title = "Training is reproducible"
    where = [record.of_gate("reproducibility")]
    if record.passed("reproducibility"):
        return _found("I1", title, Answer.YES, "trained again in a clean process, with equal answers", where)
    if record.verdict("reproducibility") is not None:
        why = f"trained again, and the gate said {record.verdict('reproducibility')}"
        return _found("I1", title, Answer.NO, why, where)
    return _found("I1", title, Answer.NO, "a second fit is not on record")


def unit_tested(record: Record) -> Finding:
    """I2: every fit is checked for what a unit test of it would ask; tests of the spec's own code leave no record."""
    title = "Model specs are unit tested"
    if record.passed("training"):
        why = "this fit's loss fell, is finite and beats a constant; tests of the spec on tiny data are not on record"
        return _found("I2", title, Answer.HALF, why, [record.of_gate("training")])
    return _found("I2", title, Answer.NO, "no check of a fit is on record")


def integration_tested(record: Record) -> Finding:
    """I3: dated results of whole releases killed at every step, and of bad candidates sent down the line."""
    title = "The ML pipeline is integration tested"
    crashes, selftest = record.dated("crash"), record.dated("selftest")
    if crashes and selftest:
        why = "whole releases were killed at every step, and known-bad candidates sent down the line"
        return _found("I3", title, Answer.YES, why, [crashes[-1], selftest[-1]])
    if crashes or selftest:
        done = "releases killed at every step" if crashes else "known-bad candidates sent down the line"
        return _found("I3", title, Answer.HALF, f"documented: {done}", [(*crashes, *selftest)[-1]])
    return _found("I3", title, Answer.NO, "no dated result of a whole release under test is in the project")


def validated(record: Record) -> Finding:
    """I4: every bundle that ever served in production was blessed before."""
    title = "Model quality is validated before serving"
    switched = [row for row in record.rows if row.event is Event.TRAFFIC_INTENDED and _promotes(row)]
    blessed: dict[str, int] = {}
    for row in record.rows:
        if row.event is Event.BLESSING:
            blessed.setdefault(str(within(row.payload.get("subjects"), "bundle")), row.seq)
    bare = [row for row in switched if blessed.get(str(row.payload.get("to")), row.seq + 1) > row.seq]
    if bare:
        return _found("I4", title, Answer.NO, f"row {bare[0].seq} switches traffic to a bundle that was not blessed")
    if not blessed:
        return _found("I4", title, Answer.NO, "no blessing is on record")
    why = f"every switch of production on record ({len(switched)}) was to a bundle blessed before it"
    if not switched:
        why = "nothing served yet, and the bundle that would is blessed"
    return _found("I4", title, Answer.YES, why, [f"blessing, row {seq}" for seq in list(blessed.values())[-3:]])


def debuggable(record: Record) -> Finding:
    """I5: what drives answers and where errors concentrate; a single request's trace leaves no record."""
    title = "The model is debuggable"
    there = [name for name in ("contributions", "errors") if record.section(name) is not None]
    if not there:
        return _found("I5", title, Answer.NO, "neither contributions nor an error analysis is on record")
    why = f"{' and '.join(there)} of this release are on record; a trace of a single request is not"
    return _found("I5", title, Answer.HALF, why, [f"evaluation.json, section {name}" for name in there])


def canaried(record: Record) -> Finding:
    """I6: real requests replayed in staging are a shadow of production, not a share of it."""
    title = "Models are canaried before serving"
    replayed = within(within(record.measured.get("staging"), "replay"), "asked")
    if record.passed("staging") and isinstance(replayed, int) and replayed > 0:
        why = f"staging answered {replayed} replayed production requests first; no share of live traffic is on record"
        return _found("I6", title, Answer.HALF, why, [record.of_gate("staging")])
    return _found("I6", title, Answer.NO, "neither a share of live traffic nor a replay of it is on record")


def rolled_back(record: Record) -> Finding:
    """I7: a rollback in production that was verified from live answers, with its time."""
    title = "Serving models can be rolled back"
    drills = [row for row in record.rows if "drill" in row.event.value]
    done = [row for row in record.rows if _is_rollback(row)]
    if drills:
        return _found("I7", title, Answer.YES, "rehearsed, with its time on record", [f"drill, row {drills[-1].seq}"])
    if done:
        why = "done in production and verified from live answers; no scheduled rehearsal is on record"
        return _found("I7", title, Answer.HALF, why, [f"rollback, row {done[-1].seq}"])
    return _found("I7", title, Answer.NO, "no rollback and no rehearsal of one is on record")


def _promotes(row: LedgerRow) -> bool:
    kind = row.payload.get("kind", Kind.PROMOTION)
    return row.payload.get("environment") == "production" and kind == Kind.PROMOTION


def _is_rollback(row: LedgerRow) -> bool:
    kind, where = row.payload.get("kind"), row.payload.get("environment")
    return row.event is Event.TRAFFIC_VERIFIED and where == "production" and kind in (Kind.ROLLBACK, Kind.UNDO)


TESTS = (reproducible, unit_tested, integration_tested, validated, debuggable, canaried, rolled_back)
