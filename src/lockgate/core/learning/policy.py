"""Whether a trigger starts a release: every condition with its numbers, and what to watch if the answer was wrong.

A person who asks is always heard: the conditions are told and bind nothing, except that one release of a model is open
at a time. For everything else each condition must hold. What was not measured never holds a release back; it is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from lockgate.core.ids import Json
from lockgate.core.learning.standing import WEEK, Gain, Standing
from lockgate.core.learning.triggers import Trigger, TriggerKind
from lockgate.core.ledger import Outcome
from lockgate.core.spec_sections.learning import Automation, RetrainingSection

UNWEIGHED = (TriggerKind.DEGRADATION, TriggerKind.CODE, TriggerKind.BY_HAND)
"""Triggers that are not held against a cost: harm is shown, or what would learn is not what was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that was weighed.

    Attributes:
        name: automation, trigger, turn, new_rows, cooldown, storm or expected_gain.
        holds: Whether it speaks for a release.
        binds: Whether it alone may hold one back.
        observed: The number it rests on; None where there is none.
        threshold: What that was held against.
        unit: Of both.
        reason: In one clause.
        retry_after_s: When it may hold by itself; None when time alone changes nothing.
    """

    name: str
    holds: bool
    binds: bool = True
    observed: float | None = None
    threshold: float | None = None
    unit: str = ""
    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policy says.

    Attributes:
        model: Of which model.
        trigger: What asked.
        train: Whether a release is started.
        why: In one sentence.
        checks: Everything that was weighed, also what spoke the other way.
        counterfactual: What would show that the other answer was better, and where it will be read.
        tell: Whether people are to be told, because they start it.
        next: What to do now.
    """

    model: str
    trigger: Trigger
    train: bool
    why: str
    checks: tuple[Condition, ...]
    counterfactual: Mapping[str, Json]
    tell: bool
    next: str

    @property
    def against(self) -> tuple[Condition, ...]:
        """What holds a release back."""
        return tuple(each for each in self.checks if each.binds and not each.holds)

    @property
    def retry_after_s(self) -> float | None:
        """When the answer may be another one by itself; None when time alone changes nothing."""
        waits = [each.retry_after_s for each in self.against if each.retry_after_s is not None]
        return max(waits) if waits and len(waits) == len(self.against) else None


def decide(model: str, section: RetrainingSection, trigger: Trigger, standing: Standing) -> Decision:
    """Weigh a trigger.

    Args:
        model: Of which model.
        section: The spec's policy.
        trigger: What asks.
        standing: What the record says.
    """
    by_hand = trigger.kind is TriggerKind.BY_HAND
    checks = tuple(_unbound(each) if by_hand else each for each in _conditions(section, trigger, standing))
    against = [each for each in checks if each.binds and not each.holds]
    return Decision(
        model=model,
        trigger=trigger,
        train=not against,
        why=_why(trigger, standing, against),
        checks=checks,
        counterfactual=_counterfactual(standing, train=not against),
        tell=[each.name for each in against] == ["automation"],
        next=_next(model, against),
    )


def _unbound(condition: Condition) -> Condition:
    return condition if condition.name == "turn" else replace(condition, binds=False)


def _conditions(section: RetrainingSection, trigger: Trigger, standing: Standing) -> Iterator[Condition]:
    for weigh in _WEIGHED:
        yield weigh(section, trigger, standing)


def _automation(section: RetrainingSection, trigger: Trigger, standing: Standing) -> Condition:
    del trigger, standing
    holds = section.automation is not Automation.NOTIFY
    told = "releases start by themselves" if holds else "people start releases (automation: notify)"
    return Condition(name="automation", holds=holds, reason=told)


def _trigger(section: RetrainingSection, trigger: Trigger, standing: Standing) -> Condition:
    key, on = {
        TriggerKind.NEW_DATA: ("on_new_data", section.on_new_data),
        TriggerKind.DEGRADATION: ("on_degradation", section.on_degradation),
        TriggerKind.CODE: ("on_code_change", section.on_code_change),
    }.get(trigger.kind, (trigger.kind.value, True))
    if not on:
        return Condition(name="trigger", holds=False, reason=f"retraining.{key} is false")
    if trigger.kind is TriggerKind.CODE:
        changed = standing.changed
        told = f"{' and '.join(changed)} changed" if changed else "program and spec are those of the newest release"
        return Condition(name="trigger", holds=bool(changed), observed=float(len(changed)), threshold=1.0, reason=told)
    found = trigger.facts.get("findings")
    told = f"; harm found: {', '.join(map(str, found))}" if isinstance(found, list | tuple) and found else ""
    return Condition(name="trigger", holds=True, reason=f"it may start one ({trigger.kind.value}){told}")


def _turn(section: RetrainingSection, trigger: Trigger, standing: Standing) -> Condition:
    del section, trigger
    if standing.open is None:
        return Condition(name="turn", holds=True, reason="no release is open")
    if not standing.open_waits:
        return Condition(name="turn", holds=True, reason=f"{standing.open} is running; the next one waits its turn")
    if standing.fresh:
        told = f"{standing.open} waits for its approval and is superseded by what landed since"
        return Condition(name="turn", holds=True, reason=told)
    told = f"{standing.open} waits for its approval and nothing newer landed; approve or reject it first"
    return Condition(name="turn", holds=False, reason=told)


def _new_rows(section: RetrainingSection, trigger: Trigger, standing: Standing) -> Condition:
    least, waiting = section.min_new_rows, standing.waiting
    there = float(standing.new_rows + (waiting.rows or 0))
    base = Condition(
        name="new_rows", holds=True, observed=there, threshold=float(least), unit="rows", reason=f"{there:.0f} new rows"
    )
    if there >= least:
        return replace(base, reason=f"{there:.0f} new rows, {least} are asked")
    excused = _excused(trigger, standing)
    if excused:
        return replace(base, reason=excused)
    if there == 0:
        return replace(base, holds=False, reason="nothing new landed; land a file, or start a release by hand")
    return replace(base, holds=False, reason=f"only {there:.0f} new rows, {least} are asked")


def _excused(trigger: Trigger, standing: Standing) -> str:
    """Return why too few new rows hold nothing back; empty where they do."""
    if trigger.kind is TriggerKind.CODE:
        return "another program may learn other things from the same rows"
    if standing.uncounted:
        return f"{standing.uncounted} files were taken in whose rows are not on record"
    if standing.waiting.rows is None:
        return "a landed file does not say its rows; they count when it is taken in"
    if standing.refused and not standing.new_rows:
        return f"{standing.refused} landed files were refused; the schema gate says why"
    return ""


def _cooldown(section: RetrainingSection, trigger: Trigger, standing: Standing) -> Condition:
    del trigger
    asked = section.cooldown_s
    base = Condition(name="cooldown", holds=True, threshold=asked, unit="s", reason="no cooldown is asked")
    counted = [each for each in standing.opened if each.outcome is not Outcome.FAILED]
    if not asked:
        return base
    if not counted:
        return replace(base, reason="no release was opened that did not crash")
    passed = (standing.now - counted[-1].at).total_seconds()
    told = f"{counted[-1].release} was opened {_span(passed)} ago, {_span(asked)} are asked"
    over = passed >= asked
    return replace(base, holds=over, observed=passed, reason=told, retry_after_s=None if over else asked - passed)


def _storm(section: RetrainingSection, trigger: Trigger, standing: Standing) -> Condition:
    del trigger
    most, seen = section.most_per_week, standing.automatic_within(WEEK)
    told = f"triggers opened {seen} releases in seven days, {most} are allowed"
    left = None
    if seen >= most:
        recent = [each.at for each in standing.opened if each.kind is not TriggerKind.BY_HAND]
        left = (recent[-most] + WEEK - standing.now).total_seconds()
    return Condition(
        name="storm",
        holds=seen < most,
        observed=float(seen),
        threshold=float(most),
        unit="releases",
        reason=told,
        retry_after_s=left,
    )


def _expected_gain(section: RetrainingSection, trigger: Trigger, standing: Standing) -> Condition:
    told = "retraining.cost is not set: not weighed"
    base = Condition(name="expected_gain", holds=True, threshold=section.cost, unit="loss x rows", reason=told)
    if section.cost is None:
        return base
    if trigger.kind in UNWEIGHED:
        return replace(base, reason="this trigger is not weighed against a cost")
    gains, rows = _gains(standing), standing.waiting.rows
    if not gains or rows is None:
        what = "the gain is unknown, no release was compared with a champion yet"
        return replace(base, reason=f"not weighed: {what if not gains else 'the new rows are not counted yet'}")
    highest = max(each.high for each in gains)  # the one that speaks most for a release: a doubt holds nothing back
    best = highest * (standing.new_rows + rows)
    how = ("gained on its holdout", "turned out to gain since")
    known = "; ".join(
        f"{each.release} {how[each is standing.realised]} {each.estimate:.4g} a row in {each.metric}, at most "
        f"{each.high:.4g}"
        for each in gains
    )
    told = f"as many rows again could gain {best:.4g} at best ({known}); a release costs {section.cost:.4g}"
    return replace(base, holds=best >= section.cost, observed=best, reason=told)


def _gains(standing: Standing) -> tuple[Gain, ...]:
    """Return what is known of a release's gain in one metric: on a holdout, and where somebody looked back, since."""
    first, since = standing.gain, standing.realised
    if first is not None and since is not None and since.metric != first.metric:
        since = None
    return tuple(each for each in (first, since) if each is not None)


Weigh = Callable[[RetrainingSection, Trigger, Standing], Condition]
_WEIGHED: tuple[Weigh, ...] = (_automation, _trigger, _turn, _new_rows, _cooldown, _storm, _expected_gain)


def _why(trigger: Trigger, standing: Standing, against: list[Condition]) -> str:
    if against:
        more = f" (and {len(against) - 1} more)" if len(against) > 1 else ""
        return f"{against[0].reason}{more}"
    if trigger.kind is TriggerKind.BY_HAND:
        return f"a person asks: {trigger.reason}"
    rows = standing.new_rows + (standing.waiting.rows or 0)
    return f"{trigger.reason}: {rows} new rows, and nothing speaks against it"


def _counterfactual(standing: Standing, *, train: bool) -> dict[str, Json]:
    """Say what would show that the other answer was better: evaluations score past champions on the newest rows."""
    champion = standing.champion
    where = "lockgate counterfactuals, once rows landed; section staleness of the next releases' dossiers"
    if champion is None:
        return {"champion": None, "question": "there is no champion to compare with", "where": ""}
    question = "had we not retrained: the champion of now, scored on" if train else "had we retrained: the next gain"
    return {"champion": champion, "question": question, "where": where}


def _next(model: str, against: list[Condition]) -> str:
    if not against:
        return "lockgate status"
    if against[0].name == "turn":
        return "lockgate status"
    return f"lockgate release --model {model}"


def _span(seconds: float) -> str:
    """Return a time span for people.

    >>> _span(5400.0), _span(86400.0 * 3)
    ('1.5 h', '3 days')
    """
    if seconds >= timedelta(days=2).total_seconds():
        return f"{seconds / 86_400:.3g} days"
    return f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds:.0f} s"
