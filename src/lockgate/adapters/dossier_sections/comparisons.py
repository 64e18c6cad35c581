"""Textbook tests: McNemar and DeLong beside the comparison by block, with what they leave out."""

from __future__ import annotations

from lockgate.adapters.dossier_blocks import Section, not_measured, table
from lockgate.adapters.dossier_words import interval_text, number_text
from lockgate.core.estimates import count, number, within
from lockgate.core.ids import Json

ID, TITLE = "tests", "Row-by-row tests"


def comparisons(section: Json, *, champion: bool) -> Section:
    """Return the section of `stages.comparisons`'s measurements."""
    if not champion:
        return not_measured(ID, TITLE, "there is no champion to compare with.")
    rows = [row for row in (_mcnemar(section), _delong(section)) if row is not None]
    if not rows:
        reason = within(section, "reason")
        why = f"{reason}." if isinstance(reason, str) else "McNemar and DeLong do not apply, or were not run."
        return not_measured(ID, TITLE, why)
    n, blocks = count(within(section, "n")), count(within(section, "blocks"))
    lead = [] if n is None or blocks is None else [f"Both models on the same {n:,} rows in {blocks} blocks."]
    word = within(section, "word")
    lead += [word] if isinstance(word, str) else []
    effect = number(within(within(section, "delong"), "design_effect"))
    if effect is not None:
        lead.append(f"By block the variance of the AUC gain is {number_text(effect)} times what DeLong takes it for.")
    columns = ("test", "what", "gain", "p")
    caption = "Challenger against champion, every row taken as independent"
    return Section(id=ID, title=TITLE, lead=tuple(lead), blocks=table(caption, columns, rows, words=(1,)))


def _mcnemar(section: Json) -> tuple[str, ...] | None:
    found = within(section, "mcnemar")
    ours, theirs = count(within(found, "challenger_only_right")), count(within(found, "champion_only_right"))
    if ours is None or theirs is None:
        return None
    what = f"{ours:,} rows only the challenger decides rightly, {theirs:,} only the champion"
    return "McNemar", what, _text(within(found, "accuracy_gain")), _p(within(found, "p_value"))


def _delong(section: Json) -> tuple[str, ...] | None:
    found = within(section, "delong")
    low, high = number(within(found, "low")), number(within(found, "high"))
    if low is None or high is None:
        return None
    what = f"AUC {_text(within(found, 'challenger'))} against {_text(within(found, 'champion'))}"
    gain = f"{_text(within(found, 'gain'))} {interval_text(low, high)}"
    return "DeLong", what, gain, _p(within(found, "p_value"))


def _text(given: Json) -> str:
    return number_text(number(given))


def _p(given: Json) -> str:
    found = number(given)
    if found is None:
        return "n/a"
    return "< 0.0001" if found < 0.0001 else f"{found:.2g}"
