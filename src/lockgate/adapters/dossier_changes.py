"""What would change for users, in plain words: of 1,000 requests how many are decided otherwise, and for better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.adapters.dossier_words import interval_text, metric_name, number_text
from lockgate.core.contract import TaskKind
from lockgate.core.estimates import count, number, read_estimate, unit_of, within
from lockgate.core.ids import Json

if TYPE_CHECKING:
    from lockgate.adapters.dossier import DossierFacts

_THOUSAND = 1000
_IN_WORDS = {TaskKind.BINARY: "accuracy", TaskKind.MULTICLASS: "accuracy", TaskKind.REGRESSION: "mae"}


def changes_of(facts: DossierFacts) -> tuple[str, ...]:
    """Return what users would notice against the champion, a sentence each; nothing without a champion."""
    if facts.champion is None:
        return ()
    tests = within(facts.evaluation.get("sections"), "tests")
    told = _decisions(within(tests, "mcnemar"), count(within(tests, "n")), facts.spec.task.kind)
    if told is None and facts.spec.task.kind is not TaskKind.REGRESSION:
        told = "How many single decisions would change was not measured; the table below shows how many of each kind."
    gain = _gain(facts)
    return tuple(each for each in (told, gain) if each is not None)


def _decisions(mcnemar: Json, rows: int | None, kind: TaskKind) -> str | None:
    """Return how many decisions change; of two classes exactly, of more those that turn right or wrong."""
    righted = count(within(mcnemar, "challenger_only_right"))
    wronged = count(within(mcnemar, "champion_only_right"))
    if righted is None or wronged is None or not rows:
        return None
    per = _THOUSAND / rows
    changed, right, wrong = (f"{each * per:.0f}" for each in (righted + wronged, righted, wronged))
    least = "" if kind is TaskKind.BINARY else "at least "  # two wrong classes may differ from each other
    return (
        f"Of 1,000 requests like those of the holdout, {least}{changed} would be decided otherwise than today: "
        f"{right} that are wrong today would be right, and {wrong} that are right would be wrong."
    )


def _gain(facts: DossierFacts) -> str | None:
    kind = facts.spec.task.kind
    name = _IN_WORDS[kind]
    metric = within(within(within(facts.evaluation.get("gates"), "champion"), "metrics"), name)
    found = read_estimate(within(metric, "gain"))
    if found is None or number(within(metric, "champion")) is None:
        return None
    if kind is TaskKind.REGRESSION:
        unit = unit_of(metric)
        shown = "" if unit in ("1", "fraction") else f" {unit}"
        better = "smaller" if found["estimate"] >= 0 else "larger"
        by = f"{number_text(abs(found['estimate']))}{shown}"
        return (
            f"The typical error ({metric_name(name)}) would be {better} by {by}; "
            f"95 % interval of the gain {interval_text(found['low'], found['high'])}."
        )
    low, high = _THOUSAND * found["low"], _THOUSAND * found["high"]
    word = "more" if found["estimate"] >= 0 else "fewer"
    sure = "" if low > 0 or high < 0 else " The interval holds zero: the data cannot say which way it goes."
    return (
        f"Net, of 1,000 requests {abs(_THOUSAND * found['estimate']):.0f} {word} would be decided rightly "
        f"(95 % interval of the gain {low:+.0f} to {high:+.0f}).{sure}"
    )
