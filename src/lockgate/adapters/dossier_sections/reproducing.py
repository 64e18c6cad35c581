"""Reproducibility: the saved model asked in another process, and the same training run a second time."""

from __future__ import annotations

from lockgate.adapters.dossier_blocks import Section, Terms, not_measured
from lockgate.adapters.dossier_words import number_text
from lockgate.core.estimates import count, number, within
from lockgate.core.ids import Json

ID, TITLE = "reproducibility", "Trained twice"


def reproducing(measured: Json) -> Section:
    """Return the section of the reproducibility gate's measurements."""
    told = [
        _told(label, within(measured, name)) for label, name in (("Asked again", "reloaded"), ("Fitted again", "refit"))
    ]
    pairs = tuple(each for each in told if each is not None)
    if not pairs:
        return not_measured(ID, TITLE, "the training was not run a second time, so whether it repeats is not known.")
    beyond = number(within(measured, "refit_beyond_time"))
    more: tuple[tuple[str, str], ...] = (
        () if beyond is None else (("Second fit", f"did not end within {number_text(beyond)} s, so it says nothing"),)
    )
    named = [(label, within(measured, name)) for label, name in (("Cause", "cause"), ("Search", "search"))]
    more += tuple((label, value) for label, value in named if isinstance(value, str))
    lead = ("The same data, spec and seed in a clean process: a difference here is noise that no metric can explain.",)
    return Section(id=ID, title=TITLE, lead=lead, blocks=(Terms(pairs=pairs + more),))


def _told(label: str, found: Json) -> tuple[str, str] | None:
    rows, differing = count(within(found, "rows")), count(within(found, "differing"))
    if rows is None or differing is None:
        return None
    if not differing:
        return label, f"all {rows:,} answers are equal, bit for bit"
    largest = number(within(found, "largest"))
    return label, f"{differing:,} of {rows:,} answers differ, by up to {number_text(largest)}"
