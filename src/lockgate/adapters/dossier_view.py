"""What the dossier says, in words and rows: facts in, values the template only has to place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockgate.adapters.dossier_blocks import Section
from lockgate.adapters.dossier_changes import changes_of
from lockgate.adapters.dossier_gates import MARKS, GateBlock, gate_blocks
from lockgate.adapters.dossier_unknown import unknown_of
from lockgate.adapters.dossier_words import PLAIN, interval_text, listed, metric_name, number_text, per_thousand
from lockgate.core.contract import TaskKind
from lockgate.core.estimates import count, number, read_estimate, unit_of, within
from lockgate.core.ids import Json
from lockgate.core.verdict import GateReport, Verdict

if TYPE_CHECKING:
    from lockgate.adapters.dossier import DossierFacts

_MOST_DRAWN = 24  # a forest of more lines is not read


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One metric, challenger against champion."""

    name: str
    challenger: str
    champion: str
    gain: str
    tone: str
    meaning: str
    binding: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """The slices to draw, worst first."""

    drawn: tuple[Mapping[str, Json], ...]
    left_out: int
    small: tuple[str, ...]
    unit: str
    bound: float | None
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The whole page."""

    verdict: str
    mark: str
    headline: str
    summary: tuple[str, ...]
    gates: tuple[GateBlock, ...]
    metrics: tuple[MetricRow, ...]
    changes: tuple[str, ...]
    users: tuple[tuple[str, str, str], ...]
    slices: Slices
    unknown: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]


def view_of(facts: DossierFacts, sections: Sequence[Section] = ()) -> View:
    """Return what the page says about some facts, beside its sections."""
    verdict, headline = _headline(facts)
    gates = facts.evaluation.get("gates")
    slices = _slices(facts, gates)
    return View(
        verdict=verdict,
        mark=MARKS[Verdict(verdict)],
        headline=headline,
        summary=_summary(facts, gates),
        gates=gate_blocks(facts.reports, facts.required, facts.titles, facts.recorded),
        metrics=_metrics(facts, gates),
        changes=changes_of(facts),
        users=_users(facts),
        slices=slices,
        unknown=unknown_of(facts, slices.small, sections),
        commands=_commands(facts, verdict),
    )


def _let_pass(facts: DossierFacts, report: GateReport) -> bool:
    return report.verdict is Verdict.FAIL and report.gate in facts.overridden


def _headline(facts: DossierFacts) -> tuple[str, str]:
    reports = {each.gate: each for each in facts.reports}
    missing = [name for name in facts.required if name not in reports]
    not_passed = [each for each in facts.reports if each.verdict is not Verdict.PASS]
    what = f"release {facts.release}"
    if not not_passed and not missing and reports:
        place = "replace the model that serves now" if facts.champion else "become the first model to serve"
        return Verdict.PASS, f"All {len(reports)} gates passed: {what} may {place}."
    worst = next(
        (v for v in (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE) if any(r.verdict is v for r in not_passed)),
        Verdict.INCONCLUSIVE,
    )
    names = listed([each.gate for each in not_passed if each.verdict is worst] or missing)
    if not_passed and not missing and all(_let_pass(facts, each) for each in not_passed):
        return (
            Verdict.FAIL,
            f"OVERRIDDEN: {what} failed {names}, and two people let it pass. Read why before you decide.",
        )
    said = {
        Verdict.FAIL: f"Do not approve: {what} failed {names}.",
        Verdict.ERROR: f"Do not approve yet: {what} could not be measured by {names}.",
        Verdict.INCONCLUSIVE: f"Do not approve yet: {what} has too little evidence in {names}.",
    }
    return worst, said[worst]


def _summary(facts: DossierFacts, gates: Json) -> tuple[str, ...]:
    quality, champion = within(gates, "quality"), within(gates, "champion")
    lines = [*facts.overridden.values()]
    lines += [each.reason for each in facts.reports if each.verdict is not Verdict.PASS]
    rows, blocks = count(within(quality, "n")), count(within(quality, "blocks"))
    if rows is not None and blocks is not None:
        unit = "days" if facts.spec.split.block == "day" else "blocks"
        lines.append(f"Judged on {rows:,} rows it was not fitted on, in {blocks} {unit}, up to {facts.as_of:%d %B %Y}.")
    binding = str(within(champion, "binding_metric"))
    asked = facts.spec.gates.get("champion")
    binding = str(getattr(asked, "metric", None) or binding)
    gain = within(within(champion, "metrics"), binding)
    found = read_estimate(within(gain, "gain"))
    if found is not None:
        better = "better" if found["estimate"] >= 0 else "worse"
        ours, theirs = number(within(gain, "challenger")), number(within(gain, "champion"))
        lines.append(
            f"{metric_name(binding)} {number_text(ours)} against the champion's {number_text(theirs)}, same rows: "
            f"{better} by {number_text(abs(found['estimate']))} "
            f"(95 % interval of the gain {interval_text(found['low'], found['high'])})."
        )
        lines += _conflict(within(champion, "metrics"), binding)
    elif facts.champion is None:
        lines.append(
            "There is no champion to compare with: this would be the first release, judged by the absolute checks."
        )
    return tuple(lines)


def _conflict(metrics: Json, binding: str) -> list[str]:
    """Say that metrics disagree, where the interval of one gain is above zero and that of another below."""
    if not isinstance(metrics, Mapping):
        return []
    rows = [(name, _compared(name, each, False).tone) for name, each in metrics.items()]
    better, worse = ([metric_name(name) for name, tone in rows if tone == each] for each in ("better", "worse"))
    if not better or not worse:
        return []
    return [
        f"Metrics disagree: better on {', '.join(better)}; worse on {', '.join(worse)}. {metric_name(binding)} binds."
    ]


def _metrics(facts: DossierFacts, gates: Json) -> tuple[MetricRow, ...]:
    champion, quality = within(gates, "champion"), within(gates, "quality")
    asked = facts.spec.gates.get("champion")
    binding = str(getattr(asked, "metric", None) or within(champion, "binding_metric"))
    compared, alone = within(champion, "metrics"), within(quality, "metrics")
    if isinstance(compared, Mapping):
        return tuple(_compared(name, each, name == binding) for name, each in compared.items())
    if isinstance(alone, Mapping):
        return tuple(_alone(name, each) for name, each in alone.items())
    return ()


def _compared(name: str, given: Json, binding: bool) -> MetricRow:
    gain = read_estimate(within(given, "gain"))
    directed = within(given, "higher_is_better") is not None
    tone = "same"
    if gain is not None and directed and not gain["low"] <= 0 <= gain["high"]:
        tone = "better" if gain["estimate"] > 0 else "worse"
    text = "not defined"
    if gain is not None:
        text = f"{gain['estimate']:+.3g} {interval_text(gain['low'], gain['high'])}"
    return MetricRow(
        name=_with_unit(name, given),
        challenger=number_text(number(within(given, "challenger"))),
        champion=number_text(number(within(given, "champion"))),
        gain=text,
        tone=tone,
        meaning=PLAIN.get(name, ""),
        binding=binding,
    )


def _alone(name: str, given: Json) -> MetricRow:
    found = read_estimate(given)
    text = "" if found is None else interval_text(found["low"], found["high"])
    return MetricRow(
        name=_with_unit(name, given),
        challenger=number_text(number(within(given, "estimate"))),
        champion="",
        gain=text,
        tone="same",
        meaning=PLAIN.get(name, ""),
        binding=False,
    )


def _with_unit(name: str, given: Json) -> str:
    unit = unit_of(given)
    return metric_name(name) if unit in ("1", "fraction", "nat", "cost") else f"{metric_name(name)}, {unit}"


def _users(facts: DossierFacts) -> tuple[tuple[str, str, str], ...]:
    """Return what a user would notice, of 1,000 rows: (what, challenger, champion)."""
    curves = facts.evaluation.get("curves")
    if facts.spec.task.kind is not TaskKind.BINARY:
        return ()
    ours, theirs = (per_thousand(within(within(curves, side), "confusion")) for side in ("challenger", "champion"))
    if ours is None:
        return ()
    positive = facts.spec.task.classes[1]
    told = (f"said “{positive}”", f"of these, rightly “{positive}”", f"“{positive}” that was missed")
    return tuple((what, ours[k], theirs[k] if theirs is not None else "") for k, what in enumerate(told))


def _slices(facts: DossierFacts, gates: Json) -> Slices:
    measured = within(gates, "slices")
    report = next((each for each in facts.reports if each.gate == "slices"), None)
    checks = report.checks if report is not None else ()
    judged = {each.slice: each for each in checks if each.name == "q_value_of_excess_loss"}
    rows = within(measured, "slices")
    listed = [each for each in rows if within(each, "slice") in judged] if isinstance(rows, Sequence) else []
    ranked = sorted(listed, key=lambda each: -(number(within(within(each, "excess"), "low")) or 0.0))
    drawn = tuple(
        {
            "slice": f"{within(each, 'slice')}  (n {count(within(each, 'n')) or 0:,})",
            "excess": within(each, "excess"),
            "bad": judged[str(within(each, "slice"))].verdict is not Verdict.PASS,
        }
        for each in ranked[:_MOST_DRAWN]
    )
    return Slices(
        drawn=drawn,
        left_out=max(0, len(ranked) - _MOST_DRAWN),
        small=tuple(each.slice for each in checks if each.name == "too_small_to_judge"),
        unit=unit_of(within(ranked[0], "excess")) if ranked else "1",
        bound=_bound(facts, measured),
        basis=str(within(measured, "basis")),
    )


def _bound(facts: DossierFacts, measured: Json) -> float | None:
    from lockgate.core.gates import slices as gate

    return gate.excess_bound(measured, facts.spec.gates.get("slices", gate.Thresholds()))


def _commands(facts: DossierFacts, verdict: str) -> tuple[tuple[str, str], ...]:
    release, model = facts.release, facts.spec.name
    decide = (
        (f"lockgate approve {release}", "let it into production"),
        (f'lockgate reject {release} --reason "…"', "keep what serves now"),
    )
    look = (
        (f"lockgate explain {release}", "why each gate said what it said"),
        (f"lockgate verify {release}", "recompute hashes, signatures and verdicts from the record"),
    )
    undo = ((f"lockgate rollback {model} --reason '...'", "after promotion: put the previous model back"),)
    overridden = bool(facts.overridden) and all(
        _let_pass(facts, each) for each in facts.reports if each.verdict is not Verdict.PASS
    )
    return (decide + look + undo) if verdict == Verdict.PASS or overridden else look
