"""Robustness: the model asked again about rows that were changed on purpose, and what the spec expects of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lockgate.adapters.dossier_blocks import Section, figure, not_measured, table
from lockgate.adapters.dossier_charts import MOST_LINES, Line, Words, forest
from lockgate.adapters.dossier_words import interval_text, number_text
from lockgate.core.estimates import count, number, read_estimate, within
from lockgate.core.ids import Json

ID, TITLE = "robustness", "When inputs go bad"
_WORDS = Words(
    name="loss-ratio",
    title="Loss when inputs are changed",
    description="Mean loss after each change, as a share of the naive answer's loss, with its interval.",
    x="loss / loss of the naive answer (1: worth nothing)",
)


_KINDS = {"null": "missing", "tenth_null": "a tenth of all cells missing"}


def robustness(measured: Json) -> Section:
    """Return the section of the robustness gate's measurements."""
    changed = [each for each in _list(within(measured, "perturbations")) if isinstance(each, Mapping)]
    if not changed:
        return not_measured(ID, TITLE, "the model was not asked about missing, unseen, noisy or extreme inputs.")
    ranked = sorted(changed, key=lambda each: -(_value(each, "loss_ratio") or 0.0))
    n, of = count(within(within(measured, "sample"), "rows")), count(within(within(measured, "sample"), "of"))
    lead = (
        [] if n is None or of is None else [f"Asked again about {n:,} of {of:,} rows, drawn with a seed and changed."]
    )
    worst = _value(ranked[0], "loss_ratio")
    if worst is not None:
        lead.append(
            f"Worst: {_name(ranked[0])}, which brings the loss to {number_text(worst)} of what the naive answer costs."
        )
    invalid = [
        f"{_name(each)} ({count(within(each, 'invalid'))})" for each in changed if count(within(each, "invalid"))
    ]
    lead += [f"Answers that are no answer: {', '.join(invalid[:5])}."] if invalid else []
    lines = [line for line in map(_line, ranked) if line is not None]
    drawn = forest(_WORDS, lines, origin=1.0)
    columns = ("change", "n", "loss ratio [95 %]", "decisions turned", "largest change")
    expected = [_expected(each) for each in _list(within(measured, "expectations"))]
    asked = ("expectation", "column", "n", "violations [95 %]", "largest")
    return Section(
        id=ID,
        title=TITLE,
        lead=tuple(lead),
        blocks=(
            *figure("Loss when inputs are changed", drawn, "Worst first; dotted: worth nothing."),
            *table("Each change, worst first", columns, [_row(each) for each in ranked[:MOST_LINES]]),
            *table("What the spec expects", asked, expected, words=(1,)),
        ),
    )


def _name(change: Json) -> str:
    kind, column = str(within(change, "kind")), within(change, "column")
    return f"{_KINDS.get(kind, kind.replace('_', ' '))}{f' in {column}' if column else ''}"


def _value(change: Json, name: str) -> float | None:
    return number(within(within(change, name), "estimate"))


def _line(change: Json) -> Line | None:
    found = read_estimate(within(change, "loss_ratio"))
    if found is None:
        return None
    return Line(
        name=_name(change), low=found["low"], value=found["estimate"], high=found["high"], bad=found["low"] > 1.0
    )


def _row(change: Json) -> tuple[str, ...]:
    n = count(within(change, "n"))
    flips, largest = _value(change, "flips"), number(within(within(change, "change"), "largest"))
    return (
        _name(change),
        "" if n is None else f"{n:,}",
        _told(within(change, "loss_ratio")),
        "" if flips is None else f"{flips:.1%}",
        "" if largest is None else number_text(largest),
    )


def _expected(each: Json) -> tuple[str, ...]:
    n, largest = count(within(each, "n")), number(within(each, "largest"))
    return (
        str(within(each, "kind")),
        str(within(each, "column")),
        "" if n is None else f"{n:,}",
        _told(within(each, "violations")),
        "" if largest is None else number_text(largest),
    )


def _told(given: Json) -> str:
    found = read_estimate(given)
    return "" if found is None else f"{number_text(found['estimate'])} {interval_text(found['low'], found['high'])}"


def _list(given: Json) -> Sequence[Json]:
    return given if isinstance(given, Sequence) and not isinstance(given, str) else ()
