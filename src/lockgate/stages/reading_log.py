"""How far one turn of a rollout's controller gets in the logs: to their end, not yet, or nowhere."""

from __future__ import annotations

import logging
from enum import StrEnum

from lockgate.core.rollout.bakes import time_is_up
from lockgate.core.rollout.state import Rollout
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally import Tally
from lockgate.errors import TransientError
from lockgate.stages.rollout_world import World

logger = logging.getLogger(__name__)

CATCH_UP_S = 60.0
"""How long reading goes on where the longest duration is over and the log is behind. Ours: a minute reads what a busy
server logs in an hour; who is further behind never saw most of what would be decided on."""
_READS = 20  # of the log in one turn; more would keep the lease waiting


class Reading(StrEnum):
    """What is known of the log after a turn's reading."""

    WHOLE = "whole"
    BEHIND = "behind"
    BROKEN = "broken"


def read_on(world: World, tally: Tally, cursor: str) -> tuple[str, Reading]:
    """Read the logs into a tally for a turn; return where to read on, and whether everything that is there was read."""
    for _ in range(_READS):
        try:
            seen = world.log.read(world.lane.model, cursor)
        except TransientError as broken:
            logger.warning("the log of %s could not be read: %s", world.lane.model, broken.message)
            return cursor, Reading.BROKEN
        tally.take(seen)
        cursor = seen.cursor
        if not seen.behind:
            return cursor, Reading.WHOLE
    return cursor, Reading.BEHIND


def waits(course: Course, rollout: Rollout, reading: Reading, now: float) -> bool:
    """Tell whether a look waits for what is not read yet: until the time is up, and `CATCH_UP_S` more at most.

    A log that cannot be read at all keeps no look waiting: that look is blind, and several in a row end the rollout.
    """
    over = time_is_up(course, rollout, now)
    if reading is Reading.BEHIND or (reading is Reading.BROKEN and over):
        return not time_is_up(course, rollout, now - CATCH_UP_S)
    return False
