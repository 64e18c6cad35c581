"""What a person reads of a rollout at any moment: where it stands, what each guardrail says, what may be done now.

One record, three forms: markdown for its page, plain text for a terminal, JSON for a program. The last line of each is
what happens next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from lockgate.core.estimates import number, within
from lockgate.core.ids import Json, to_json
from lockgate.core.online.guardrails import Finding, RolloutVerdict, State
from lockgate.core.rollout.machine import Phase
from lockgate.core.rollout.record import LookRow, RolloutRecord
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.rollout.steps import Step, StepKind
from lockgate.line.course_words import attempt_words, by_proxy, proxy_words, untimed
from lockgate.line.rollout_pictures import E_VALUES, rollout_pictures, slice_flips
from lockgate.stages.rollout_forecast import minutes

MARKS: Final = {
    State.CLEAR: "✓ clear",
    State.HARM: "✗ harm",
    State.BROKEN: "! not to be trusted",
    State.NO_DATA: "? no data yet",
    State.UNMET: "… promotion waits",
}
VERDICTS: Final = {
    RolloutVerdict.PROMOTE: "promoted",
    RolloutVerdict.ROLL_BACK: "rolled back",
    RolloutVerdict.INCONCLUSIVE: "inconclusive, the champion stays",
    RolloutVerdict.CONTINUE: "under way",
}
_LARGEST: Final = 700.0  # exp of more is no double
_COUNTED: Final = (
    ("requests", "requests"),
    ("failed_fraction", "failed, share"),
    ("entities", "entities"),
    ("entities_failed", "of these with a first failure"),
    ("mean_score", "mean score"),
)


def rollout_page(record: RolloutRecord, shown: Mapping[str, Json]) -> str:
    """Return the page of a rollout, in markdown, with its plots.

    Args:
        record: What the ledger holds of it.
        shown: What the last look counted for pages (`Counted.shown`); empty: only what is on record is shown.
    """
    rollout = record.rollout
    lines = [f"# {rollout.release}: rollout", "", f"**{headline(record)}**", "", f"{_sentence(rollout.reason)}", ""]
    lines += [f"Next: {_sentence(rollout.next)}", "", *(f"> **{each}.**\n" for each in proxy_words(record))]
    lines += _steps(record)
    lines += _guardrails(record)
    lines += _plan(record)
    lines += _arms(record, shown)
    lines += [f"![{title}]({address})" for title, address in rollout_pictures(record, shown)]
    lines += ["", *_commands(record)]
    return "\n".join(lines) + "\n"


def rollout_text(record: RolloutRecord) -> str:
    """Return where a rollout stands, for a terminal."""
    rollout = record.rollout
    lines = [f"{rollout.release}: {headline(record)}", f"  why   {_sentence(rollout.reason)}"]
    lines += [f"  step  {mark} {words}" for mark, words in _step_lines(record)]
    last = _last(record)
    if last is not None:
        width = max(len(each.guardrail) for each in last.look.findings) if last.look.findings else 0
        lines += [f"  {each.guardrail:<{width}}  {MARKS[each.state]}: {each.reason}" for each in last.look.findings]
    lines += [f"  plan  {plan_words(record)}", *(f"  PROXY {each}" for each in proxy_words(record))]
    lines += [f"  asked {each.what} by {each.by}, not answered yet" for each in record.wishes]
    todo = [f"        {words}: {command}" for command, words in commands(record)]
    lines += [f"  next  {_sentence(rollout.next)}", *todo]
    return "\n".join(lines)


def rollout_content(record: RolloutRecord) -> dict[str, Json]:
    """Return where a rollout stands, for a program."""
    last = _last(record)
    written = to_json(record.rollout)
    return {
        **(written if isinstance(written, dict) else {}),
        "headline": headline(record),
        "ended": record.ended,
        "sequence": record.sequence,
        "course": to_json(record.course),
        "findings": [] if last is None else to_json(last.look.findings),
        "plan": plan_words(record),
        "proxy": list(proxy_words(record)),
        "wishes": to_json(record.wishes),
        "commands": [command for command, _ in commands(record)],
    }


def headline(record: RolloutRecord) -> str:
    """Say in one line what happens now."""
    rollout, steps = record.rollout, record.course.steps
    at = f"step {rollout.step + 1} of {len(steps)}, {step_words(steps[rollout.step])}" if steps else "the switch"
    who = "" if rollout.held_by is None else f" by {rollout.held_by}"
    said = {
        Phase.BEGUN: f"begins: {at}",
        Phase.PLACING: f"put in place: {at}",
        Phase.BAKING: f"{at}: {_baked(record)}",
        Phase.PAUSED: f"held{who} at {at}; guardrails go on deciding",
        Phase.PROMOTING: "the challenger takes all traffic, not verified yet",
        Phase.RETURNING: f"{_verdict(record)}: the champion alone takes all traffic, not verified yet",
        Phase.ENDED: f"{_verdict(record)}, after {minutes(max(_at(record) - rollout.began, 0.0))}",
    }
    return said[rollout.phase]


def step_words(step: Step) -> str:
    """Return a step for a reader.

    >>> step_words(Step(kind=StepKind.WEIGHT, share=0.05, bake_s=300.0))
    '5 % of entities for 5 min'
    """
    if step.kind is StepKind.PAUSE:
        return f"a pause: {step.reason}"
    what = "of requests copied" if step.kind is StepKind.SHADOW else "of entities"
    adapts = ", then by rewards" if step.kind is StepKind.ADAPT else ""
    return f"{100.0 * step.share:.3g} % {what}{adapts} for {minutes(step.bake_s)}"


def plan_words(record: RolloutRecord) -> str:
    """Say how far the promotion plan is."""
    plan, metric = record.course.plan, record.course.metric
    if plan is None or metric is None:
        return "none: the switch alone"
    what = f"{metric.value} not worse by {plan.margin:g}{attempt_words(record.course)}"
    told = [each.plan for each in record.looked if each.plan is not None]
    if not told:
        return f"{what}: no look yet, the first at {plan.fractions[0]:.0%} of the information"
    last = told[-1]
    return f"{what}: {len(told)} of {len(plan.fractions)} looks, {last.verdict.value}: {last.reason}"


def commands(record: RolloutRecord) -> tuple[tuple[str, str], ...]:
    """Return what a person may do now: the command, and what it does."""
    release, rollout = record.rollout.release, record.rollout
    if record.ended or rollout.phase in (Phase.ENDED, Phase.RETURNING, Phase.PROMOTING):
        model = release.rpartition("-")[0]
        if rollout.verdict is RolloutVerdict.PROMOTE:
            return ((f"lockgate rollback {model}", "put the champion before it back"),)
        if rollout.verdict is RolloutVerdict.INCONCLUSIVE:
            return ((f"lockgate rollout start {release}", "roll it out again"),)
        return ((f"lockgate explain {release}", "see all of it"),)
    held = rollout.phase is Phase.PAUSED or rollout.held_by is not None
    hold = (f"lockgate rollout resume {release}", "go on") if held else (f"lockgate rollout pause {release}", "hold it")
    found = [hold, (f'lockgate rollout abort {release} --reason "..."', "take it back now")]
    if rollout.clear:
        found.append((f'lockgate rollout promote {release} --reason "..."', "promote now, every guardrail is clear"))
    return tuple(found)


def _last(record: RolloutRecord) -> LookRow | None:
    return record.looked[-1] if record.looked else None


def _at(record: RolloutRecord) -> float:
    last = _last(record)
    return max(record.rollout.step_began, last.now if last is not None else -math.inf)


def _baked(record: RolloutRecord) -> str:
    if not record.course.steps:
        return "looked at"
    held_s = max(_at(record) - record.rollout.step_began, 0.0)
    if held_s >= record.course.steps[record.rollout.step].bake_s:
        return "baked, held until the plan or a guardrail decides"
    return f"{minutes(held_s)} of it over"


def _verdict(record: RolloutRecord) -> str:
    return f"{VERDICTS[record.rollout.verdict or RolloutVerdict.CONTINUE]}{by_proxy(record)}"


def _sentence(words: str) -> str:
    return words.replace("\n", " ").strip()


def _cell(words: str) -> str:
    return _sentence(words).replace("|", "\\|")


def _step_lines(record: RolloutRecord) -> list[tuple[str, str]]:
    now, over = record.rollout.step, record.rollout.verdict is RolloutVerdict.PROMOTE
    marks = ["✓" if index < now or over else "▶" if index == now else "·" for index in range(len(record.course.steps))]
    return [(mark, step_words(step)) for mark, step in zip(marks, record.course.steps, strict=True)]


def _steps(record: RolloutRecord) -> list[str]:
    if not record.course.steps:
        return []
    return [*(f"{n}. {mark} {_cell(words)}" for n, (mark, words) in enumerate(_step_lines(record), 1)), ""]


def _guardrails(record: RolloutRecord) -> list[str]:
    last = _last(record)
    alpha = math.fsum(record.course.guardrails.values())
    if last is None:
        shares = ", ".join(f"{name} {share:.3g}" for name, share in record.course.guardrails.items())
        return ["## Guardrails", "", f"No look yet. False alarms together at most {alpha:.3g}: {shares}.", ""]
    rows = [
        f"| {each.guardrail} | {MARKS[each.state]} | {_observed(each)} | {_threshold(each)} | {_cell(each.reason)} |"
        for each in last.look.findings
    ]
    head = ["| guardrail | says | observed | stops at | in words |", "|---|---|---|---|---|"]
    told = f"Look {last.number}; false alarms of all at all looks together at most {alpha:.3g}.{untimed(record.course)}"
    return ["## Guardrails", "", *head, *rows, "", told, ""]


def _observed(finding: Finding) -> str:
    return _number(finding.guardrail, finding.observed)


def _threshold(finding: Finding) -> str:
    return _number(finding.guardrail, finding.threshold)


def _number(guardrail: str, value: float) -> str:
    if math.isnan(value):
        return "none"
    if guardrail in E_VALUES:
        return f"e {math.exp(min(value, _LARGEST)):.3g}"
    return f"{value:.4g}"


def _plan(record: RolloutRecord) -> list[str]:
    return ["## Promotion", "", f"{_sentence(plan_words(record))}.", ""]


def _arms(record: RolloutRecord, shown: Mapping[str, Json]) -> list[str]:
    last = _last(record)
    rows = _shown_arms(shown)
    if last is None and not rows:
        return []
    head = ["## Traffic", ""]
    if last is not None:
        look = last.look
        head.append(
            f"Since the look before: {look.champion_requests} requests of the champion, {look.challenger_requests} of "
            "the challenger."
        )
    return [*head, "", *rows, "", *_shown_pairs(shown), *_shown_gaps(shown)]


def _shown_arms(shown: Mapping[str, Json]) -> Sequence[str]:
    """Return what was counted of each arm as a table; nothing where pages are told nothing."""
    arms = {arm: within(dict(shown), arm) for arm in (CHAMPION, CHALLENGER)}
    if not any(isinstance(told, Mapping) for told in arms.values()):
        return []
    rows = [
        f"| {arm} | " + " | ".join(_plain(within(told, key)) for key, _ in _COUNTED) + " |"
        for arm, told in arms.items()
    ]
    head = ["| arm | " + " | ".join(words for _, words in _COUNTED) + " |", "|---" * (len(_COUNTED) + 1) + "|"]
    return [*head, *rows]


def _shown_pairs(shown: Mapping[str, Json]) -> Sequence[str]:
    """Return what shadow and champion said to the same requests, and the slices worth a look."""
    pairs = within(dict(shown), "pairs")
    agreement, count = number(within(pairs, "agreement_fraction")), number(within(pairs, "pairs"))
    if agreement is None or not count:
        return []
    alike = number(within(pairs, "score_correlation"))
    said = f"{count:.0f} requests were answered by both: {agreement:.2%} decided alike"
    said += "" if alike is None else f", scores correlate by {alike:.4f}"
    flips = slice_flips(pairs)[:3]
    worst = ", ".join(f"{name} ({share:.1%} differ)" for name, share in flips)
    return [f"{said}.", "", *([f"Slices to watch, the costliest first: {_cell(worst)}.", ""] if worst else [])]


def _shown_gaps(shown: Mapping[str, Json]) -> Sequence[str]:
    """Return what was not counted, where there is any, and how many labels have come."""
    told, labels = within(dict(shown), "not_counted"), within(dict(shown), "labels")
    gaps = [
        f"{count:.0f} {name.replace('_', ' ')}"
        for name, value in (told.items() if isinstance(told, Mapping) else ())
        if (count := number(value)) and name != "outside_requests"
    ]
    coverage = number(within(labels, "coverage_fraction"))
    lines = [f"Labels have come for {coverage:.1%} of the answers that are due.", ""] if coverage is not None else []
    return [*lines, *([f"Not counted: {', '.join(gaps)}.", ""] if gaps else [])]


def _plain(value: Json) -> str:
    read = number(value)
    return "none" if read is None else f"{read:.4g}" if read != round(read) else f"{read:.0f}"


def _commands(record: RolloutRecord) -> list[str]:
    found = commands(record)
    return ["## What you can do", "", *(f"- `{command}`: {words}" for command, words in found)] if found else []
