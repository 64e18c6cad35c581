"""Staleness: how past champions do on today's holdout, by the age of what they were fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lockgate.adapters.dossier_blocks import Figure, Section, figure, not_measured, table
from lockgate.adapters.dossier_cells import count_cell, estimate_cell
from lockgate.adapters.dossier_charts import Series, Words, curves
from lockgate.adapters.dossier_words import metric_name, number_text
from lockgate.core.estimates import count, items, number, read_estimate, within
from lockgate.core.ids import Json

ID, TITLE = "staleness", "Staleness"


def staleness(section: Json) -> Section:
    """Return the section of `stages.staleness`'s measurements."""
    points = [each for each in items(within(section, "points")) if number(within(each, "age_days")) is not None]
    if not points:
        return not_measured(ID, TITLE, "no past champion was scored on this holdout, so how it ages is not known.")
    oldest = max(points, key=lambda each: number(within(each, "age_days")) or 0.0)
    age = number(within(oldest, "age_days")) or 0.0
    lead = [
        f"{len(points)} past champions answered the rows of this holdout; the oldest was fitted {age:.0f} days before."
    ]
    lead += [
        f"Could not be scored: {_name(each)}, {within(each, 'reason')}." for each in items(within(section, "failures"))
    ]
    left = count(within(section, "left_out"))
    lead += [f"{left} older ones were left out."] if left else []
    asked = within(section, "metrics")
    names = [str(each) for each in asked] if isinstance(asked, Mapping) else []
    drawn = tuple(each for name in names for each in _curve(name, within(section, "present"), points))
    rows = [row for name in names for row in _rows(name, points)]
    columns = ("past champion", "age, days", "metric", "then", "gain of the challenger [95 %]", "n")
    caption = "Past champions on the present rows; a gain is positive where the challenger is better"
    return Section(id=ID, title=TITLE, lead=tuple(lead), blocks=(*drawn, *table(caption, columns, rows, words=(2,))))


def _curve(name: str, present: Json, points: Sequence[Json]) -> tuple[Figure, ...]:
    read = [(number(within(each, "age_days")), _estimate(each, name)) for each in (present, *points)]
    kept = sorted((age, e["estimate"], e["low"], e["high"]) for age, e in read if age is not None and e is not None)
    if len(kept) < 2:
        return ()
    words = Words(
        name=f"staleness-{name.replace('_', '-')}",
        title=f"{metric_name(name)} by age",
        description=f"{metric_name(name)} of models on the present holdout, by days since they were fitted.",
        x="age of what the model was fitted on, days",
        y=metric_name(name),
    )
    series = Series(
        name="models of that age",
        points=[(age, value) for age, value, _, _ in kept],
        band=[(age, low, high) for age, _, low, high in kept],
    )
    return figure(f"{metric_name(name)} by age", curves(words, [series]), "Age 0: the challenger. Shaded: 95 %.")


def _rows(name: str, points: Sequence[Json]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for each in points:
        found, age = _estimate(each, name), number(within(each, "age_days"))
        then = "" if found is None else number_text(found["estimate"])
        gain = estimate_cell(within(within(each, "gain"), name))
        n = count_cell(within(each, "n"))
        rows.append((_name(each), f"{age or 0:.0f}", metric_name(name), then, gain, n))
    return rows


def _estimate(point: Json, name: str) -> Mapping[str, float] | None:
    return read_estimate(within(within(point, "metrics"), name))


def _name(point: Json) -> str:
    return str(within(point, "release") or within(point, "bundle") or "unknown")[:24]
