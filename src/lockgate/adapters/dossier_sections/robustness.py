"""Robustness: the model asked again about rows that were changed on purpose, and what the spec expects of it."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.adapters.dossier_blocks import Section, figure, not_measured, table
from lockgate.adapters.dossier_cells import count_cell, estimate_cell, number_cell, share_cell
from lockgate.adapters.dossier_charts import MOST_LINES, Line, Words, forest
from lockgate.adapters.dossier_words import number_text
from lockgate.core.estimates import count, items, number, read_estimate, within
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
    changed = [each for each in items(within(measured, "perturbations")) if isinstance(each, Mapping)]
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
    expected = [_expected(each) for each in items(within(measured, "expectations"))]
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
    return (
        _name(change),
        count_cell(within(change, "n")),
        estimate_cell(within(change, "loss_ratio")),
        share_cell(within(within(change, "flips"), "estimate")),
        number_cell(within(within(change, "change"), "largest")),
    )


def _expected(each: Json) -> tuple[str, ...]:
    return (
        str(within(each, "kind")),
        str(within(each, "column")),
        count_cell(within(each, "n")),
        estimate_cell(within(each, "violations")),
        number_cell(within(each, "largest")),
    )
