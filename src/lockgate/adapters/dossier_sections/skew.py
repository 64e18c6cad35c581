"""Training against serving: production's logged requests, recomputed offline."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.adapters.dossier_blocks import Section, not_measured, table
from lockgate.adapters.dossier_words import number_text
from lockgate.core.estimates import count, number, within
from lockgate.core.ids import Json

ID, TITLE = "skew", "Training against serving"


def skew(measured: Json, *, champion: bool) -> Section:
    """Return the section of the skew gate's measurements."""
    if not champion:
        return not_measured(ID, TITLE, "nothing serves yet, so no logged request could be recomputed.")
    features, answers = within(measured, "features"), within(measured, "answers")
    joined, compared = count(within(features, "joined")), count(within(answers, "compared"))
    if not joined and not compared:
        return not_measured(
            ID, TITLE, "no logged request of production could be joined with a landed row, or asked again."
        )
    lead = []
    share = number(within(features, "match_fraction"))
    if joined and share is not None:
        lead.append(f"Of {joined:,} logged rows {share:.2%} of the values are exactly those landed later.")
    largest, exact = number(within(answers, "largest_difference")), number(within(answers, "exact_fraction"))
    if compared and largest is not None:
        same = "" if exact is None else f", {exact:.1%} of them equal to the last bit"
        lead.append(f"{compared:,} logged answers were asked again{same}; the farthest is {number_text(largest)} off.")
    by_feature = within(features, "by_feature")
    listed = by_feature.items() if isinstance(by_feature, Mapping) else ()
    rows = [(str(name), f"{found:.2%}") for name, each in listed if (found := number(each)) is not None]
    blocks = table("Features that are not the same everywhere", ("feature", "equal"), rows)
    return Section(id=ID, title=TITLE, lead=tuple(lead), blocks=blocks)
