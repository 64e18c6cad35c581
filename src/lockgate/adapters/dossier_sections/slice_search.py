"""Slices that nobody declared: found on one half of the blocks, measured afresh on the other."""

from __future__ import annotations

from lockgate.adapters.dossier_blocks import Section, figure, not_measured, table
from lockgate.adapters.dossier_cells import count_cell, estimate_cell, number_cell
from lockgate.adapters.dossier_charts import MOST_LINES, Line, Words, forest
from lockgate.core.estimates import count, items, read_estimate, unit_of, within
from lockgate.core.ids import Json

ID, TITLE = "slice-search", "Slices nobody declared"


def slice_search(section: Json) -> Section:
    """Return the section of `stages.slice_search`'s measurements."""
    if within(section, "searched") is not True:
        reason = within(section, "reason")
        why = (
            f"{reason}." if isinstance(reason, str) else "features were not searched for slices that are served worse."
        )
        return not_measured(ID, TITLE, why)
    findings = [each for each in items(within(section, "findings")) if read_estimate(within(each, "excess"))]
    confirmed = sum(within(each, "confirmed") is True for each in findings)
    looked, few = count(within(section, "candidates")), count(within(section, "too_small"))
    lead = [
        f"{confirmed} of {len(findings)} candidates were confirmed on rows that did not choose them"
        + ("" if looked is None else f", out of {looked:,} looked at")
        + ("" if not few else f"; {few:,} more were too small to be looked at")
        + "."
    ]
    kept = count(within(section, "not_confirmable"))
    lead += [f"{kept} more were suspected, and the other half has too few rows of them to say."] if kept else []
    words = Words(
        name="searched-slices",
        title="Searched slices",
        description="Excess loss of each slice that the search kept, with its interval on the other half.",
        x=_axis(section),
    )
    lines = [_line(each) for each in findings[:MOST_LINES]]
    note = "Measured on the half that did not choose them. Red: confirmed."
    columns = ("slice", "n", "excess [95 %]", "q", "confirmed")
    return Section(
        id=ID,
        title=TITLE,
        lead=tuple(lead),
        blocks=(
            *figure("Excess loss of searched slices", forest(words, lines), note),
            *table("What the search kept", columns, [_row(each) for each in findings[:MOST_LINES]]),
        ),
    )


def _axis(section: Json) -> str:
    basis = "above the champion's" if within(section, "basis") == "champion" else "above rows answered alike"
    unit = unit_of(section)
    return f"loss {basis}{'' if unit == '1' else f', {unit}'} (left is better)"


def _line(finding: Json) -> Line:
    found = read_estimate(within(finding, "excess")) or {"low": 0.0, "estimate": 0.0, "high": 0.0}
    name = f"{within(finding, 'slice')}  (n {count(within(finding, 'n')) or 0:,})"
    bad = within(finding, "confirmed") is True
    return Line(name=name, low=found["low"], value=found["estimate"], high=found["high"], bad=bad)


def _row(finding: Json) -> tuple[str, ...]:
    return (
        str(within(finding, "slice")),
        count_cell(within(finding, "n")),
        estimate_cell(within(finding, "excess")),
        number_cell(within(finding, "q_value")),
        "yes" if within(finding, "confirmed") is True else "no",
    )
