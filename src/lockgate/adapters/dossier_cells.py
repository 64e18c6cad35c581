"""Cells of the dossier's tables: one measurement in words; nothing where there is no number to tell."""

from __future__ import annotations

from lockgate.adapters.dossier_words import interval_text, number_text
from lockgate.core.estimates import count, number, read_estimate
from lockgate.core.ids import Json


def number_cell(given: Json) -> str:
    """Return a number.

    >>> number_cell(0.48213), number_cell(None)
    ('0.482', '')
    """
    found = number(given)
    return "" if found is None else number_text(found)


def count_cell(given: Json) -> str:
    """Return a count, grouped.

    >>> count_cell(18404), count_cell(-1)
    ('18,404', '')
    """
    found = count(given)
    return "" if found is None else f"{found:,}"


def share_cell(given: Json, *, signed: bool = False) -> str:
    """Return a share of 0 to 1, or with `signed` a change of one.

    >>> share_cell(0.125), share_cell(0.125, signed=True), share_cell("x")
    ('12.5%', '+12.5%', '')
    """
    found = number(given)
    if found is None:
        return ""
    return f"{found:+.1%}" if signed else f"{found:.1%}"


def estimate_cell(given: Json) -> str:
    """Return an estimate with its interval.

    >>> estimate_cell({"estimate": 0.02, "low": 0.01, "high": 0.0434, "se": 0.01}), estimate_cell({})
    ('0.02 [0.01, 0.0434]', '')
    """
    found = read_estimate(given)
    return "" if found is None else f"{number_text(found['estimate'])} {interval_text(found['low'], found['high'])}"
