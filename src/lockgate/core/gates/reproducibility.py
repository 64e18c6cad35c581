"""Gate `reproducibility`: does the same training give the same model again?

Two things are asked, both bit by bit. The model as it was saved must answer, in another process, as it did in the one
that fitted it. And a second fit in a clean process, of the same spec, snapshot and seed, must give the same answers
and the same graph. A search is not repeated: how many trials fit into its time is the machine's matter, so the second
fit takes the parameters that were chosen.

A spec that says `refit: never` gives up the second fit, not the first question; what was given up is shown as an
advisory check that says so, and a model of `risk: high` may not give it up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Stage
from lockgate.core.spec import Positive, Seconds
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, report


class Refit(StrEnum):
    """Whether a release fits its model a second time."""

    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What must be the same when the training is run again.

    Attributes:
        refit: always: the model is fitted a second time, which doubles the time of the fit. never: only the saved
            model is asked again, and the report shows that the fit was not repeated; not allowed for risk: high.
        time_limit_s: The second fit may take no longer; beyond it the gate cannot say. Null: `training.time_limit_s`.
        rows: Answers to fewer validation rows say nothing.
    """

    refit: Refit = Refit.ALWAYS
    time_limit_s: Seconds | None = None
    rows: Positive = 100


CAUSES = {
    "threads": (
        "it is the same in one thread, so the order in which threads finish decides: "
        "set training.threads: 1 (or n_jobs of the estimator)"
    ),
    "randomness": (
        "it differs in one thread too, so something draws without the seed or reads the clock: give the seed of the "
        "spec (training.seed) to random_state of everything that training.estimator builds"
    ),
}
_UNKNOWN = "why was not found out; set training.threads: 1, and give training.seed to everything that draws"


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.reproducing.measure_reproducibility`; what was not measured is an ERROR check."""
    checks = [_reloaded(evidence, thresholds)]
    if thresholds.refit is Refit.NEVER and value_at(evidence.measurements, "refit") is None:
        checks.append(_given_up())
    elif value_at(evidence.measurements, "refit_beyond_time") is not None:
        checks.append(_beyond_time(evidence))
    else:
        checks += _refitted(evidence, thresholds)
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _reloaded(evidence: Evidence, thresholds: Thresholds) -> Check:
    return _same_answers(
        "reloaded_answers_differ",
        evidence,
        "reloaded",
        thresholds,
        reason="the saved model answers otherwise in another process than in the one that fitted it; its answers must "
        "depend on nothing but the row",
    )


def _refitted(evidence: Evidence, thresholds: Thresholds) -> Iterator[Check]:
    cause = value_at(evidence.measurements, "cause")
    why = CAUSES.get(cause, _UNKNOWN) if isinstance(cause, str) else _UNKNOWN
    largest = number(evidence.measurements, "refit.largest")
    apart = "" if largest is None else f" by up to {largest:.3g}"
    yield _same_answers(
        "refitted_answers_differ",
        evidence,
        "refit",
        thresholds,
        reason=f"fitted again from the same rows and seed, the model answers otherwise{apart}; {why}",
    )
    same = value_at(evidence.measurements, "refit.same_graph")
    yield compare(
        "refitted_graph_same",
        float(same) if isinstance(same, bool) else None,
        1.0,
        Direction.EQUAL,
        reason=f"fitted again from the same rows and seed, the model is another graph; {why}",
    )


def _same_answers(name: str, evidence: Evidence, part: str, thresholds: Thresholds, *, reason: str) -> Check:
    """Check that no row is answered otherwise, and that enough rows were asked."""
    rows = count(evidence.measurements, f"{part}.rows")
    differing = number(evidence.measurements, f"{part}.differing")
    return compare(
        name,
        differing if rows is not None else None,
        0,
        Direction.EQUAL,
        unit="rows",
        n=rows,
        # One row that differs is proof; only "none differs" needs rows behind it.
        n_min=0 if differing else thresholds.rows,
        reason=reason,
    )


def _given_up() -> Check:
    return Check(
        name="refitted_answers_differ",
        observed=None,
        threshold=0,
        direction=Direction.EQUAL,
        verdict=Verdict.INCONCLUSIVE,
        unit="rows",
        required=False,
        reason="the fit was not repeated, because the spec says gates.reproducibility.refit: never; whether this model "
        "can be made again is not known",
    )


def _beyond_time(evidence: Evidence) -> Check:
    limit = number(evidence.measurements, "refit_beyond_time")
    seconds = "its time limit" if limit is None else f"its time limit of {limit:g} s"
    check = compare(
        "refitted_answers_differ", None, 0, Direction.EQUAL, unit="rows", reason="the second fit did not end"
    )
    return replace(
        check,
        verdict=Verdict.INCONCLUSIVE,
        reason=f"the second fit was ended at {seconds}, so nobody can say whether it gives the same model; raise "
        "gates.reproducibility.time_limit_s, or say refit: never",
    )


GATE = Gate(
    name="reproducibility",
    stage=Stage.TRAIN,
    thresholds=Thresholds,
    judge=judge,
    title="The same training gives the same model",
)
