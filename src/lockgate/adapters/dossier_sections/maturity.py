"""The ML Test Score: the four areas, every test with its record, and the score of the releases before."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.adapters.dossier_blocks import Section, figure, not_measured, table
from lockgate.adapters.dossier_charts import Series, Words, curves
from lockgate.core.maturity import Answer, Area, Assessment, meaning

ID, TITLE = "maturity", "ML Test Score"
_SAID = {Answer.YES: "✓ yes", Answer.HALF: "½ half", Answer.NO: "✕ no"}
_WORDS = Words(
    name="maturity-trend",
    title="ML Test Score of past releases",
    description="The score of each release, oldest first; 7 is the most.",
    x="release",
    y="score, 0 to 7",
)


def maturity(assessed: Sequence[Assessment]) -> Section:
    """Return the section of the newest assessment, with the ones before as its trend."""
    if not assessed:
        return not_measured(ID, TITLE, "no record to compute it from.")
    newest = assessed[-1]
    low = min(newest.areas, key=lambda area: newest.areas[area])
    lead = (
        f"{newest.score:g} of 7, the least of four areas ({low}): {meaning(newest.score)}.",
        "28 tests (Breck et al. 2017), each answered from a record and never without one: yes counts 1, half 0.5.",
    )
    areas = tuple((area.value, f"{newest.areas[area]:g} of 7") for area in Area)
    rows = [
        (f"{each.id} {each.title}", _SAID[each.answer], each.why, "; ".join(each.evidence)) for each in newest.findings
    ]
    return Section(
        id=ID,
        title=TITLE,
        lead=lead,
        blocks=(
            *table("Sum of each area", ("area", "sum"), areas),
            *figure("Trend", _trend(assessed), "Computed for each release from its own records."),
            *table("The 28 tests", ("test", "answer", "why", "record"), rows, words=(1, 2, 3)),
        ),
    )


def _trend(assessed: Sequence[Assessment]) -> str | None:
    if len(assessed) < 2:
        return None
    numbers = [int(each.release.rpartition("-")[2]) for each in assessed if each.release.rpartition("-")[2].isdigit()]
    if len(numbers) != len(assessed):
        return None
    points = [(float(at), each.score) for at, each in zip(numbers, assessed, strict=True)]
    return curves(_WORDS, [Series(name="score", points=points)], floor=0.0)
