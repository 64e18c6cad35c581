"""Where the errors lie: bins that lose more than they should, what the worst rows share, and errors along time."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.adapters.dossier_blocks import Block, Figure, Section, Table, figure, not_measured, table
from lockgate.adapters.dossier_cells import count_cell, estimate_cell, number_cell, share_cell
from lockgate.adapters.dossier_charts import Series, Words, curves
from lockgate.adapters.dossier_words import interval_text, number_text
from lockgate.core.estimates import count, items, number, read_estimate, within
from lockgate.core.ids import Json

ID, TITLE = "errors", "Where the errors lie"
_SHOWN = 15
_SURE = 0.05
"""The false discovery rate at which the stage calls a bin's excess sure (`stages.error_analysis.DISCOVERIES`)."""
_TIME = Words(
    name="errors-time",
    title="Errors along time",
    description="Mean of answer minus outcome, block by block, in order.",
    x="block, in order of time",
    y="answer minus outcome",
)


def errors(section: Json) -> Section:
    """Return the section of `stages.error_analysis`'s measurements."""
    bins = [each for each in items(within(section, "bins")) if number(within(each, "loss_fraction")) is not None]
    shared = items(within(within(section, "worst"), "shared"))
    drawn = _time(within(section, "time"))
    if not bins and not shared and not drawn:
        return not_measured(ID, TITLE, "where the errors concentrate was not looked at.")
    blocks: tuple[Block, ...] = (*_bins(bins), *_worst(shared), *_confusion(within(section, "confusion")), *drawn)
    return Section(id=ID, title=TITLE, lead=tuple(_lead(section, bins)), blocks=blocks)


def _lead(section: Json, bins: Sequence[Json]) -> list[str]:
    tested = count(within(section, "bins_tested"))
    sure = sum((number(within(each, "q_value")) or 1.0) <= _SURE for each in bins)
    lead = [] if tested is None else [f"{sure} of {tested:,} bins looked at surely lose more than they should."]
    worst = within(section, "worst")
    rows, loss = number(within(worst, "rows_fraction")), number(within(worst, "loss_fraction"))
    if rows is not None and loss is not None:
        lead.append(f"The worst {rows:.1%} of the rows hold {loss:.1%} of the loss.")
    most = within(within(section, "confusion"), "most")
    share = number(within(most, "errors_fraction"))
    if share is not None:
        what = f"“{within(most, 'actual')}” called “{within(most, 'decided')}”"
        lead.append(f"Most frequent mistake: {what}, {share:.0%} of all.")
    trend = read_estimate(within(within(section, "time"), "trend"))
    if trend is not None:
        moves = f"{number_text(trend['estimate'])} {interval_text(trend['low'], trend['high'])}"
        flat = " (its interval holds zero)" if trend["low"] <= 0 <= trend["high"] else ""
        lead.append(f"From block to block errors move by {moves}{flat}.")
    return lead or ["Errors were looked at; the page shows what could be read."]


def _bins(bins: Sequence[Json]) -> tuple[Table, ...]:
    columns = ("feature", "bin", "n", "of rows", "of loss", "excess [95 %]", "q")
    rows = [
        (
            str(within(each, "feature")),
            str(within(each, "bin")),
            count_cell(within(each, "n")),
            share_cell(within(each, "rows_fraction")),
            share_cell(within(each, "loss_fraction")),
            estimate_cell(within(each, "excess")),
            number_cell(within(each, "q_value")),
        )
        for each in bins[:_SHOWN]
    ]
    return table("Bins that lose most above what is expected of them", columns, rows, words=(1,))


def _worst(shared: Sequence[Json]) -> tuple[Table, ...]:
    rows = [
        (
            str(within(each, "feature")),
            str(within(each, "bin")),
            share_cell(within(each, "worst_fraction")),
            share_cell(within(each, "overall_fraction")),
            number_cell(within(each, "lift")),
        )
        for each in shared[:_SHOWN]
    ]
    columns = ("feature", "bin", "of the worst rows", "of all rows", "times")
    return table("What the worst rows share", columns, rows, words=(1,))


def _confusion(confusion: Json) -> tuple[Table, ...]:
    rows = [
        (
            str(within(each, "class")),
            count_cell(within(each, "n")),
            count_cell(within(each, "decided")),
            share_cell(within(each, "recall")),
            share_cell(within(each, "precision")),
        )
        for each in items(within(confusion, "by_class"))
    ]
    return table("Decisions by class", ("class", "rows", "decided so", "recall", "precision"), rows)


def _time(time: Json) -> tuple[Figure, ...]:
    read = [number(within(each, "residual")) for each in items(within(time, "blocks"))]
    points = [(float(at), value) for at, value in enumerate(read) if value is not None]
    if len(points) < 2:
        return ()
    return figure("Errors along time", curves(_TIME, [Series(name="errors", points=points)]), "Around zero is best.")
