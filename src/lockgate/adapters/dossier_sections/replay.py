"""Replay: recent production requests answered by the challenger in staging, beside what production decided."""

from __future__ import annotations

from lockgate.adapters.dossier_blocks import Block, Section, figure, not_measured, table
from lockgate.adapters.dossier_charts import Words, bars
from lockgate.core.estimates import count, items, number, within
from lockgate.core.ids import Json

ID, TITLE = "replay", "Replayed production requests"
_WORDS = Words(
    name="disagreement",
    title="Disagreement by slice",
    description="Share of replayed production requests that the challenger decides otherwise, by slice, largest first.",
    x="decided otherwise, share of replayed rows",
)
FEW = 100
"""Ours: below a hundred rows a share has a standard error of up to 5 points, as much as most disagreements."""


def replay(staging: Json) -> Section:
    """Return the section of the staging gate's replay."""
    told = within(staging, "replay")
    asked, agreed = count(within(told, "asked")), number(within(told, "agreement_fraction"))
    if not asked or agreed is None:
        return not_measured(ID, TITLE, "no logged production request could be replayed against this bundle.")
    unanswered = count(within(told, "unanswered"))
    otherwise = f"{round((1 - agreed) * asked):,} otherwise ({1 - agreed:.1%})"
    lead = [
        f"Of {asked:,} rows that production answered lately, the challenger decides {otherwise}.",
        "To differ is no fault: which of the two was right is not known yet.",
    ]
    if asked < FEW:
        lead.append(f"{asked} rows say little, and requests of one client are not independent: no interval is told.")
    if unanswered:
        lead.append(f"{unanswered:,} requests could not be compared: they were logged under another contract.")
    slices = [(f"{name}  (n {n:,})", 1 - share) for name, share, n in _slices(told)]
    drawn = bars(_WORDS, slices)
    rows = [(name, f"{n:,}", f"{1 - share:.1%}") for name, share, n in _slices(told)]
    blocks: tuple[Block, ...] = (
        *figure("Disagreement by slice", drawn),
        *table("By slice", ("slice", "rows", "otherwise"), rows),
    )
    return Section(id=ID, title=TITLE, lead=tuple(lead), blocks=blocks)


def _slices(told: Json) -> list[tuple[str, float, int]]:
    read = [
        (str(within(each, "slice")), number(within(each, "agreement_fraction")), count(within(each, "n")))
        for each in items(within(told, "slices"))
    ]
    kept = [(name, share, n) for name, share, n in read if share is not None and n is not None]
    return sorted(kept, key=lambda each: (each[1], each[0]))
