"""How many columns a request may name one by one."""

from __future__ import annotations

from typing import Final

from lockgate.serving.refusals import Reason, refuse

MOST_COLUMNS: Final = 1 << 16
"""Ours: more than any model has of a table, and few enough to be looked at one by one on the event loop; a body of 16
MiB can name a million."""


def check_columns(count: int) -> None:
    """Refuse a request before so many columns are looked at.

    Raises:
        RequestRefused: There are too many.
    """
    if count > MOST_COLUMNS:
        raise refuse(Reason.UNKNOWN_COLUMN, f"the request names {count} columns; no model takes over {MOST_COLUMNS}")
