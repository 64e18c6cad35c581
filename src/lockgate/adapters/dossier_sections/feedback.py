"""Feedback: what people said of the champion's answers, in figures and in the newest of their own words."""

from __future__ import annotations

from lockgate.adapters.dossier_blocks import Block, Section, not_measured, table
from lockgate.core.monitoring.feedback import VERDICTS, FeedbackSummary

ID, TITLE = "feedback", "What people say of the champion"
COMMENTS = 5
"""Ours: enough to hear what it is about; `lockgate feedback` has more."""


def feedback(found: FeedbackSummary | str | None) -> tuple[Section, ...]:
    """Return the section of what people said; none where nobody said anything.

    Args:
        found: What they said; a text: why that could not be read; None: nobody was asked, as there is no champion.
    """
    if isinstance(found, str):
        return (not_measured(ID, TITLE, found),)
    if found is None or not found.said:
        return ()
    blocks: tuple[Block, ...] = (
        *table(
            "Verdicts by arm",
            ("arm", *VERDICTS),
            [(arm, *(f"{counts[verdict]:,}" for verdict in VERDICTS)) for arm, counts in found.by_arm.items()],
        ),
        *table(
            "Newest comments",
            ("when", "verdict", "comment", "prediction"),
            [
                (f"{each.time:%Y-%m-%d %H:%M}", each.verdict, each.text, f"{each.prediction_id}, row {each.row}")
                for each in found.comments[:COMMENTS]
            ],
            words=(1, 2, 3),
        ),
    )
    return (Section(id=ID, title=TITLE, lead=_lead(found), blocks=blocks),)


def _lead(found: FeedbackSummary) -> tuple[str, ...]:
    counts = ", ".join(f"{found.verdicts[verdict]:,} {verdict}" for verdict in VERDICTS)
    since = "" if found.since is None else f" since {found.since:%d %B %Y}"
    told = [
        f"People called answers of the champion {counts}{since}: {found.said:,} verdicts on {found.rows:,} answers.",
        "Those who speak are no sample of those who were answered: read the words, do not compare the shares.",
    ]
    if found.share_fraction is not None:
        told.append(f"Something was said of {found.share_fraction:.2%} of {found.predictions:,} answers.")
    if found.contradicted:
        told.append(f"Of {found.contradicted:,} answers one person says right and another says otherwise.")
    return tuple(told)
