"""Contributions: what each feature does to the answers, what changed against the champion, what earns nothing."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.adapters.dossier_blocks import Section, Table, figure, not_measured, table
from lockgate.adapters.dossier_cells import count_cell, estimate_cell, share_cell
from lockgate.adapters.dossier_charts import MOST_LINES, Words, bars
from lockgate.adapters.dossier_words import number_text
from lockgate.core.estimates import count, items, number, within
from lockgate.core.ids import Json

ID, TITLE = "contributions", "What drives the answers"
_METHODS = {
    "shapley_trees": "Shapley values of the trees, before the link",
    "permutation": "change of the answer when a feature takes another row's value",
}
_WORDS = Words(
    name="contributions",
    title="Share of each feature",
    description="Share of each feature in all contributions, largest first, challenger beside champion.",
    x="share of all contributions",
)
_NAMED = 6


def contributions(section: Json) -> Section:
    """Return the section of `stages.contributions`'s measurements."""
    features = [each for each in items(within(section, "features")) if number(within(each, "share")) is not None]
    if not features:
        return not_measured(ID, TITLE, "what each feature does to the answers was not measured.")
    drawn = bars(
        _WORDS,
        [(str(within(each, "feature")), number(within(each, "share")) or 0.0) for each in features],
        [number(within(each, "champion_share")) for each in features],
    )
    return Section(
        id=ID,
        title=TITLE,
        lead=tuple(_lead(section, features)),
        blocks=(*figure("Share of each feature", drawn), *_features(features), *_slices(section)),
    )


def _lead(section: Json, features: Sequence[Json]) -> list[str]:
    sample = within(section, "sample")
    rows, of = count(within(sample, "rows")), count(within(sample, "of"))
    how = _METHODS.get(str(within(section, "method")), "mean absolute contribution")
    on = "" if rows is None or of is None else f", on {rows:,} of {of:,} rows drawn with a seed"
    lead = [f"Measured as {how}{on}."]
    shift = number(within(section, "shift"))
    if shift is not None:
        moved = sorted(features, key=lambda each: -abs(number(within(each, "change")) or 0.0))[:2]
        named = ", ".join(f"{within(each, 'feature')} ({number(within(each, 'change')) or 0:+.1%})" for each in moved)
        lead.append(f"{shift:.0%} of the weight moved to other features since the champion; most: {named}.")
    idle = [str(each) for each in items(within(within(section, "earn_nothing"), "features"))]
    if idle:
        named = ", ".join(idle[:_NAMED]) + (f" and {len(idle) - _NAMED} more" if len(idle) > _NAMED else "")
        cost = estimate_cell(within(within(section, "earn_nothing"), "together"))
        together = f" Shuffled all at once they cost {cost} of the loss." if cost else ""
        lead.append(f"Earn nothing that can be seen here: {named}.{together}")
    return lead


def _features(features: Sequence[Json]) -> tuple[Table, ...]:
    columns = ("feature", "share", "champion's", "change", "worth [95 %]", "missing", "values")
    rows = [
        (
            str(within(each, "feature")),
            share_cell(within(each, "share")),
            share_cell(within(each, "champion_share")),
            share_cell(within(each, "change"), signed=True),
            estimate_cell(within(each, "worth")),
            share_cell(within(each, "null_fraction")),
            count_cell(within(each, "distinct")),
        )
        for each in features[:MOST_LINES]
    ]
    return table("Each feature; worth: loss added by shuffling it, as a share of the loss", columns, rows)


def _slices(section: Json) -> tuple[Table, ...]:
    rows = []
    for each in items(within(section, "slices")):
        used = [
            f"{within(one, 'feature')} ({number_text(number(within(one, 'times_overall')))} times)"
            for one in items(within(each, "features"))
        ]
        rows.append((str(within(each, "slice")), count_cell(within(each, "n")), ", ".join(used)))
    return table("Where other features drive the answers", ("slice", "n", "used more or less there"), rows, words=(2,))
