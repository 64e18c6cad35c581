"""Delivery: the four DORA figures of this model's releases, from the ledger."""

from __future__ import annotations

from lockgate.adapters.dossier_blocks import Section, not_measured, table
from lockgate.core.delivery import Delivery, Durations

ID, TITLE = "delivery", "Delivery so far"
_SCALES = ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes"))


def delivery(found: Delivery | None) -> Section:
    """Return the section of a model's delivery figures."""
    if found is None or found.since is None or found.until is None:
        return not_measured(ID, TITLE, "the ledger of this model is empty.")
    lead = (
        f"The four DORA figures of {found.releases} releases, {found.since:%d %B %Y} to {found.until:%d %B %Y}, read "
        "from the ledger up to this release's newest verdict."
    )
    often = "not told: less than a day of record"
    if found.per_30_days is not None:
        often = f"{found.per_30_days:.3g} in 30 days"
    rows = (
        ("Deployment frequency", often, f"{found.promotions} promotions"),
        ("Lead time, data to serving", *_told(found.lead_time)),
        ("Of it, waiting for a decision", *_told(found.waited)),
        ("Change failure share", _share(found), f"{found.failures} of {found.changes} changes"),
        ("Time to restore", *_told(found.restore)),
        ("From bad switch to restored", *_told(found.exposed)),
    )
    columns = ("figure", "value", "from")
    return Section(id=ID, title=TITLE, lead=(lead,), blocks=table("DORA figures of this model", columns, rows))


def _share(found: Delivery) -> str:
    if found.failure_fraction is None or found.failure_interval is None:
        return "none yet"
    low, high = found.failure_interval
    return f"{found.failure_fraction:.0%} [{low:.0%}, {high:.0%}]"


def _told(found: Durations | None) -> tuple[str, str]:
    if found is None:
        return "none yet", ""
    return f"median {duration_text(found.median_s)}", f"{found.n}, longest {duration_text(found.longest_s)}"


def duration_text(seconds: float) -> str:
    """Return a duration for people.

    >>> duration_text(5400), duration_text(42)
    ('1.5 hours', '42 seconds')
    """
    return next((f"{seconds / size:.3g} {unit}" for size, unit in _SCALES if seconds >= size), f"{seconds:.3g} seconds")
