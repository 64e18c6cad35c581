"""Drift: how far the newest rows have moved from what the champion was fitted on, feature by feature and together."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.adapters.dossier_blocks import Section, Table, figure, not_measured, table
from lockgate.adapters.dossier_cells import estimate_cell, number_cell, share_cell
from lockgate.adapters.dossier_charts import MOST_LINES, Words, bars
from lockgate.adapters.dossier_words import number_text
from lockgate.core.estimates import count, items, number, read_estimate, within
from lockgate.core.ids import Json

ID, TITLE = "drift", "Drift of the newest rows"
CONVENTIONAL = 0.25
"""PSI from which one usually acts (Siddiqi, Credit Risk Scorecards); drawn as a guide where the spec binds none."""
_WORDS = Words(
    name="drift-psi",
    title="Shift of each feature",
    description="Population stability index of each feature, largest first, beside what chance alone stays below.",
    x="population stability index (0: as it was)",
)


def drift(measured: Json, *, champion: bool) -> Section:
    """Return the section of the drift gate's measurements."""
    if not champion:
        return not_measured(ID, TITLE, "there is no champion, so there is nothing the newest rows could have left.")
    features = _features(measured)
    if not features:
        return not_measured(ID, TITLE, "no comparison with the champion's reference can be read from the record.")
    over = sum(index > CONVENTIONAL for _, index, _ in features)
    rows = count(within(measured, "rows"))
    lead = [
        f"{over} of {len(features)} features moved by more than {CONVENTIONAL} since the champion was fitted"
        + ("" if rows is None else f", seen on {rows:,} rows")
        + ". Drift is no harm in itself: a retrained model is its cure."
    ]
    lead += _joint(within(measured, "domain"))
    floors = [number(within(facts, "noise_floor")) for _, _, facts in features]
    pairs = floors if any(each is not None for each in floors) else []
    drawn = bars(
        _WORDS,
        [(name, index) for name, index, _ in features],
        pairs,
        bound=CONVENTIONAL,
        names=("shift", "what chance stays below"),
    )
    return Section(
        id=ID,
        title=TITLE,
        lead=tuple(lead),
        blocks=(*figure("Shift of each feature", drawn, "Dashed: the conventional level to act."), *_table(features)),
    )


def _features(measured: Json) -> list[tuple[str, float, Json]]:
    found = within(measured, "features")
    listed = found.items() if isinstance(found, Mapping) else ()
    read = [(str(name), number(within(facts, "psi")), facts) for name, facts in listed]
    kept = [(name, index, facts) for name, index, facts in read if index is not None]
    return sorted(kept, key=lambda each: (-each[1], each[0]))


def _joint(domain: Json) -> list[str]:
    """Return how well rows of now can be told from the reference's, in words."""
    if read_estimate(within(domain, "auc")) is None:
        why = within(domain, "not_measured")
        return [f"All features together: not measured, {why}."] if isinstance(why, str) else []
    named = [str(within(each, "feature")) for each in items(within(domain, "by"))][:3]
    away = f"; it goes by {', '.join(named)}" if named else ""
    auc = estimate_cell(within(domain, "auc"))
    return [f"All features together: a classifier tells new rows from the champion's with AUC {auc} (0.5: not){away}."]


def _table(features: list[tuple[str, float, Json]]) -> tuple[Table, ...]:
    columns = ("feature", "PSI", "chance stays below", "mean moved, sd", "Cramér's V", "q", "missing")
    names = ("noise_floor", "shift_sd", "cramers_v", "q_value")
    rows = [
        (
            name,
            number_text(index),
            *(number_cell(within(facts, each)) for each in names),
            share_cell(within(facts, "missing")),
        )
        for name, index, facts in features[:MOST_LINES]
    ]
    return table("Each feature, the farthest first", columns, rows)
