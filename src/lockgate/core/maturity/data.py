"""Tests D1 to D7: features and data."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.core.estimates import items, number, within
from lockgate.core.maturity.record import UNKNOWN_SPEC, Answer, Area, Finding, Record
from lockgate.core.verdict import Verdict


def _found(id_: str, title: str, answer: Answer, why: str, evidence: Sequence[str] = ()) -> Finding:
    return Finding(id=id_, area=Area.DATA, title=title, answer=answer, why=why, evidence=tuple(evidence))


def expectations(record: Record) -> Finding:
    """D1: the suite and the form of what landed, both held against every batch."""
    held = [gate for gate in ("expectations", "schema") if record.passed(gate)]
    answer = (Answer.NO, Answer.HALF, Answer.YES)[len(held)]
    why = {
        Answer.YES: "the expectation suite and the landed form were held against this release's batch",
        Answer.HALF: f"of the suite and the landed form only {', '.join(held)} passed on record",
        Answer.NO: "neither the suite nor the landed form passed on record",
    }[answer]
    title = "Feature expectations are captured in a schema"
    return _found("D1", title, answer, why, [record.of_gate(gate) for gate in held])


def beneficial(record: Record) -> Finding:
    """D2: what each feature earns, measured for this release."""
    title = "All features are beneficial"
    section = record.section("contributions")
    idle = within(within(section, "earn_nothing"), "features")
    if not isinstance(idle, Sequence) or isinstance(idle, str):
        return _found("D2", title, Answer.NO, "what each feature earns was not measured")
    where = ["evaluation.json, section contributions"]
    if idle:
        return _found("D2", title, Answer.HALF, f"measured, and {len(idle)} features earn nothing", where)
    return _found("D2", title, Answer.YES, "measured for this release, and every feature earns something", where)


def cost(record: Record) -> Finding:
    """D3: missing and distinct values of each feature beside what it earns; the time it takes is not measured."""
    title = "No feature's cost is too much"
    features = items(within(record.section("contributions"), "features"))
    if features and all(number(within(each, "null_fraction")) is not None for each in features):
        why = "missing and distinct values of each feature stand beside what it earns; the time it takes does not"
        return _found("D3", title, Answer.HALF, why, ["evaluation.json, section contributions"])
    return _found("D3", title, Answer.NO, "no record of what each feature costs to make, in time or in missing values")


def requirements(record: Record) -> Finding:
    """D4: columns that no feature may be, declared and checked."""
    title = "Features adhere to meta-level requirements"
    declared = bool(items(within(record.spec.get("data"), "forbidden")))
    checked = record.check_passed("leakage", "forbidden_features")
    where = [record.of_gate("leakage")]
    if declared and checked:
        return _found("D4", title, Answer.YES, "the spec forbids columns, and no feature is one of them", where)
    if checked:
        why = "checked, but the spec forbids no column (data.forbidden)" if record.spec else "checked; " + UNKNOWN_SPEC
        return _found("D4", title, Answer.HALF, why, where)
    return _found("D4", title, Answer.NO, "that no feature is a forbidden column is not on record")


def privacy(record: Record) -> Finding:
    """D5: the scan for personal data."""
    title = "The data pipeline has appropriate privacy controls"
    checks = [each for each in record.checks("privacy") if within(each, "verdict") == Verdict.PASS]
    if record.passed("privacy"):
        why = "data, logged requests, probes and bundle were scanned for personal data"
        return _found("D5", title, Answer.YES, why, [record.of_gate("privacy")])
    if checks:
        why = f"scanned, and the gate said {record.verdict('privacy')}"
        return _found("D5", title, Answer.HALF, why, [record.of_gate("privacy")])
    return _found("D5", title, Answer.NO, "no scan for personal data is on record")


def quickly(record: Record) -> Finding:
    """D6: nobody has timed it."""
    del record
    title = "New features can be added quickly"
    return _found("D6", title, Answer.NO, "no timed trial of adding a feature is on record")


def input_code(record: Record) -> Finding:
    """D7: what the spec's own function makes is held against the suite; its code's tests leave no record."""
    title = "All input feature code is tested"
    if record.check_passed("skew", "feature_match_fraction"):
        why = "logged inputs were recomputed offline and compared; no test coverage of the code is on record"
        return _found("D7", title, Answer.HALF, why, [record.of_gate("skew")])
    return _found("D7", title, Answer.NO, "no test of the code that makes features is on record")


TESTS = (expectations, beneficial, cost, requirements, privacy, quickly, input_code)
