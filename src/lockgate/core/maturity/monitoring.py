"""Tests O1 to O7: monitoring. Without a monitor's records most of them can be half at best."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.core.estimates import within
from lockgate.core.maturity.record import Answer, Area, Finding, Record


def _found(id_: str, title: str, answer: Answer, why: str, evidence: Sequence[str] = ()) -> Finding:
    return Finding(id=id_, area=Area.MONITORING, title=title, answer=answer, why=why, evidence=tuple(evidence))


def dependencies(record: Record) -> Finding:
    """O1: a break in what lands is refused by name; a change of libraries tells nobody."""
    title = "Dependency changes result in notification"
    if record.passed("schema"):
        why = "a change in the form of what lands blocks a release; a change of libraries tells nobody on record"
        return _found("O1", title, Answer.HALF, why, [record.of_gate("schema")])
    return _found("O1", title, Answer.NO, "no check of what the model depends on is on record")


def invariants(record: Record) -> Finding:
    """O2: the suite on every batch; live requests leave no record of it."""
    title = "Data invariants hold for inputs"
    if record.passed("expectations"):
        why = "held against every batch that lands; violations by live requests are not on record"
        return _found("O2", title, Answer.HALF, why, [record.of_gate("expectations")])
    return _found("O2", title, Answer.NO, "no check of inputs passed on record")


def skew(record: Record) -> Finding:
    """O3: logged requests recomputed offline."""
    title = "Training and serving are not skewed"
    # the gate also passes with too few requests to say anything; the check then is inconclusive
    if record.check_passed("skew", "feature_match_fraction"):
        why = "logged requests were recomputed offline and agree"
        return _found("O3", title, Answer.YES, why, [record.of_gate("skew")])
    if record.passed("parity"):
        why = "the served graph answers like the estimator; logged requests were not recomputed on record"
        return _found("O3", title, Answer.HALF, why, [record.of_gate("parity")])
    return _found("O3", title, Answer.NO, "neither logged requests nor the served graph were compared on record")


def stale(record: Record) -> Finding:
    """O4: the age of the data is bounded; the age of a serving model is not watched on record."""
    title = "Models are not too stale"
    if record.check_passed("batch", "batch_age"):
        why = "the newest rows are young enough by a bound of the spec; the age of what serves is not watched on record"
        return _found("O4", title, Answer.HALF, why, [record.of_gate("batch")])
    return _found("O4", title, Answer.NO, "no bound on the age of data or model is on record")


def numerically_stable(record: Record) -> Finding:
    """O5: finite at the fit, and finite answers of the graph to the whole holdout."""
    title = "Models are numerically stable"
    fit = record.check_passed("training", "finite")
    graph = record.check_passed("parity", "holdout_not_finite")
    where = [record.of_gate(gate) for gate, held in (("training", fit), ("parity", graph)) if held]
    if fit and graph:
        why = "the fit, and every answer of the graph to the holdout, are finite"
        return _found("O5", title, Answer.YES, why, where)
    if where:
        return _found("O5", title, Answer.HALF, "only the fit or only the graph was checked for finite numbers", where)
    return _found("O5", title, Answer.NO, "no check for numbers that are not finite is on record")


def performance(record: Record) -> Finding:
    """O6: side by side with the champion under load, in every release."""
    title = "Computing performance has not regressed"
    where = [record.of_gate("stress")]
    if record.passed("stress") and record.check_passed("stress", "champion_ratio"):
        return _found("O6", title, Answer.YES, "no slower than the champion, side by side in one run", where)
    if record.passed("stress"):
        why = "within its service level; there was no champion to compare with"
        return _found("O6", title, Answer.HALF, why, where)
    return _found("O6", title, Answer.NO, "no load test passed on record")


def quality(record: Record) -> Finding:
    """O7: the champion is scored again on labelled rows it has not seen; served answers are not joined with labels."""
    title = "Prediction quality has not regressed"
    champion = record.measured.get("champion")
    if within(champion, "scored") is True:
        why = "the champion was scored on newer labelled rows; served answers are not joined with labels on record"
        return _found("O7", title, Answer.HALF, why, [record.of_gate("champion")])
    return _found("O7", title, Answer.NO, "the quality of what serves is not on record")


TESTS = (dependencies, invariants, skew, stale, numerically_stable, performance, quality)
