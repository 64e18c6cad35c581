"""How long each period of a backtest is; read by the command line, so it imports nothing."""

from __future__ import annotations

from enum import StrEnum


class Period(StrEnum):
    """How often a release would have been made, and how long each answers."""

    MONTH = "month"
    WEEK = "week"
