"""How many rows of the prediction log were given up, and why."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Why(StrEnum):
    """Why rows were given up.

    Attributes:
        QUEUE_FULL: More waited than is kept: the disk took nothing, or rows came faster than they are written.
        NO_KEY: The same, while they waited for the key of hashed columns.
        NO_FORM: Something in them can be written in no line.
    """

    QUEUE_FULL = "queue_full"
    NO_KEY = "no_key"
    NO_FORM = "no_form"


class Dropped:
    """The counts of one log: `refused` is changed by the thread that answers, `lost` by the one that writes.

    Attributes:
        refused: Rows that were never let in.
        lost: Rows that were given up later.
    """

    def __init__(self) -> None:
        """Start at nought, with every reason: a dictionary that grew could not be read by the other thread."""
        self.refused: Final = dict.fromkeys(Why, 0)
        self.lost: Final = dict.fromkeys(Why, 0)

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self.refused.values()) + sum(self.lost.values())

    @property
    def for_want_of_room(self) -> int:
        """Those that there was no room for while they waited."""
        return self.rows - self.refused[Why.NO_FORM] - self.lost[Why.NO_FORM]

    @property
    def by_reason(self) -> dict[str, int]:
        """All of them, by why."""
        return {why.value: self.refused[why] + self.lost[why] for why in Why}
