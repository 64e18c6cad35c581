"""What a rollout is carried with: the world its controller acts on, and the page that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.rollout.machine import Phase
from lockgate.core.rollout.record import RolloutRecord, read_rollout
from lockgate.line.counting import tally_of
from lockgate.line.giving_up import ACTOR, keeper_of, lane_of
from lockgate.line.model_line import Line
from lockgate.line.rollout import check_unchanged, production, promotion_of
from lockgate.ports import TrafficLog
from lockgate.stages import promote as promoting
from lockgate.stages.rollout_world import World

if TYPE_CHECKING:
    from lockgate.adapters.server_target import ServerTarget

DECIDED = (Phase.PROMOTING, Phase.RETURNING, Phase.ENDED)
SHOWN_EVERY_S = 15.0
"""Ours: each page is a new version in the orchestrator's database, with pictures."""
Show = Callable[[RolloutRecord, Mapping[str, Json]], None]


class Page:
    """Shows a rollout's page, not too often: when it has moved, and now and then between.

    Folds only the rows that came since: a rollout of days takes thousands of looks.
    """

    def __init__(self, line: Line, release: ReleaseId, show: Show) -> None:
        """Take whose page it is, and who publishes it."""
        self._line, self._release, self._show = line, release, show
        self._at, self._place, self._shown = float("-inf"), (-1, ""), dict[str, Json]()
        self._found: RolloutRecord | None = None
        self._seen = 0

    def __call__(self, shown: Mapping[str, Json]) -> None:
        """Publish the page if it is time to; see `World.show`."""
        self._shown = dict(shown) or self._shown
        rows = self._line.ledger.rows(self._line.model, release=self._release, after=self._seen)
        found = self._found = read_rollout(rows, self._release, self._found)
        self._seen = rows[-1].seq if rows else self._seen
        if found is None:
            return
        now, place = time.monotonic(), (found.rollout.step, found.rollout.phase.value)
        if place != self._place or now - self._at >= SHOWN_EVERY_S:
            self._at, self._place = now, place
            self._show(found, self._shown)


def world_of(
    line: Line,
    found: RolloutRecord,
    log: TrafficLog,
    target: ServerTarget,
    show: Callable[[Mapping[str, Json]], None],
) -> World:
    """Return what a rollout's controller acts on; who opened log and target closes them."""
    name, section = found.rollout.release, line.spec.rollout
    decided = found.rollout.phase in DECIDED  # nothing is counted any more, so what was kept need not be of use
    return World(
        lane=lane_of(line, found, target),
        log=log,
        keeper=keeper_of(line, name),
        clock=line.services.clock,
        readback=partial(target.readback, line.model, found.rollout.champion, section.readback_requests),
        promote=partial(_promote, line, found, target),
        tally=lambda kept: tally_of(line, found.course, section, None if decided else kept),
        show=show,
    )


def _promote(line: Line, found: RolloutRecord, target: ServerTarget) -> None:
    """Make the challenger the champion, if it still is what was approved."""
    name, switch = found.rollout.release, replace(production(line, actor=ACTOR), target=target)
    if (name, found.rollout.challenger) not in switch.traffic().promoted:
        check_unchanged(line, name)
    allowed = promotion_of(line, name)
    why = f"{name}: {allowed.reason}"
    promoting.promote(switch, allowed.blessing, allowed.staging, allowed.dossier, why=why)
