"""What a server had to count between two readings of its own numbers, as its callers saw it. Pure.

A reading is no moment: it is asked for, and a while later it is there; where a machine has much else to do, a second
later. Requests go on meanwhile, so of some nobody can say on which side of a reading they were counted.

        first reading                       last reading
    ----[asked    there]--------------------[asked    there]----
              ?              certain              ?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """When a server's numbers were read, twice; all in seconds from the start of the test.

    Attributes:
        first_asked_s: When the first reading was asked for.
        first_there_s: When it was there.
        last_asked_s: When the last reading was asked for.
        last_there_s: When it was there.
    """

    first_asked_s: float
    first_there_s: float
    last_asked_s: float
    last_there_s: float

    def may_hold(self, sent_s: float, answered_s: float) -> bool:
        """Tell whether a request may have been counted between the readings.

        >>> Between(first_asked_s=1, first_there_s=2, last_asked_s=5, last_there_s=6).may_hold(0.5, 1.5)
        True
        """
        return answered_s >= self.first_asked_s and sent_s <= self.last_there_s

    def holds(self, sent_s: float, answered_s: float) -> bool:
        """Tell whether a request cannot but have been counted between the readings.

        >>> Between(first_asked_s=1, first_there_s=2, last_asked_s=5, last_there_s=6).holds(0.5, 2.5)
        False
        """
        return sent_s >= self.first_there_s and answered_s <= self.last_asked_s

    def to_count(self, requests: Sequence[tuple[float, float]], counted: float) -> int:
        """Return how many requests a server had to count that counted so many.

        Args:
            requests: When each was sent, and answered; seconds from the start of the test.
            counted: What the server says.

        Returns:
            The number that is nearest to what it says, of those that the readings leave possible.

        >>> between = Between(first_asked_s=1, first_there_s=2, last_asked_s=5, last_there_s=6)
        >>> [between.to_count([(0.5, 1.5), (3, 3.5), (4, 4.5)], counted) for counted in (0, 2, 3, 9)]
        [2, 2, 3, 3]
        """
        possible = sum(self.may_hold(*each) for each in requests)
        certain = sum(self.holds(*each) for each in requests)
        return int(min(max(counted, certain), possible))
