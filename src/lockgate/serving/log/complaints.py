"""What a log says of itself: at once when something breaks, then once in a while, and when it is well again."""

from __future__ import annotations

import logging
import math
import time
from typing import Final

from lockgate.serving.log.dropped import Dropped

logger = logging.getLogger("lockgate.serving.log.prediction_log")

COMPLAIN_EVERY_S: Final = 30.0


class Complaints:
    """Says what goes wrong; used by the writer's thread, its problem is read by others.

    Attributes:
        problem: Why not everything can be written now; None while the log is well.
    """

    def __init__(self, dropped: Dropped) -> None:
        """Begin well; take what counts the rows that are given up."""
        self.problem: str | None = None
        self._dropped = dropped
        self._complained_at = -math.inf
        self._told_dropped = 0

    def odd(self, prediction_id: str, why: Exception) -> None:
        """Say that one record has no line."""
        if self._is_due():
            logger.error("prediction %s cannot be logged: %s", prediction_id, why)

    def broken(self, what: str, waiting: int) -> None:
        """Say what is broken.

        Args:
            what: That, as a sentence's beginning.
            waiting: Rows that wait.
        """
        self.problem = f"{what}: {waiting} rows wait, {self._dropped.rows} were dropped; serving goes on"
        if self._is_due():
            self._told_dropped = self._dropped.for_want_of_room
            logger.error("%s", self.problem)

    def well(self) -> None:
        """Say that everything is written again, or that rows were given up although it is: more came than can be."""
        dropped = self._dropped.for_want_of_room
        if self.problem is not None:
            self.problem, self._complained_at = None, -math.inf
            self._told_dropped = dropped
            logger.warning("the prediction log is written again; %d rows were dropped so far", self._dropped.rows)
        elif dropped > self._told_dropped and self._is_due():
            logger.error(
                "the prediction log gave up %d rows: they came faster than they are written; serving goes on",
                dropped - self._told_dropped,
            )
            self._told_dropped = dropped

    def _is_due(self) -> bool:
        now = time.monotonic()
        due = now - self._complained_at >= COMPLAIN_EVERY_S
        if due:
            self._complained_at = now
        return due
