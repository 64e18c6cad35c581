"""The controllers of several rollouts beside one champion, as one process on a real server that a test can end.

python -m tests.integration.several_controller FOLDER     carries the rollouts on record in FOLDER to their ends
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from lockgate.adapters.ledger_keys import LedgerSigner
from lockgate.adapters.server_target import ServerTarget
from lockgate.adapters.sql_ledger import SqlLedger
from lockgate.adapters.tally_file import TallyFile
from lockgate.adapters.traffic_log import FileTrafficLog
from lockgate.bootstrap import SystemClock
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, ReleaseId, to_json
from lockgate.core.ledger import Event
from lockgate.core.records import read_record
from lockgate.core.rollout import record
from lockgate.core.rollout.machine import Rollout
from lockgate.core.rollout.record import RolloutRecord, read_rollout
from lockgate.core.rollout.several import arm_name, course_beside
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec import RolloutSection
from lockgate.stages.rolling_several import Several, shared_arm
from lockgate.stages.rollout_world import World
from lockgate.stages.routing import Lane
from lockgate.stages.shared_lane import SharedLane
from lockgate.stages.traffic import Switch, switch_traffic
from tests.integration.rollout_controller import CLASSES, FIRST, MODEL, Folders


class SharedPlace:
    """A folder that says everything the controllers need: `place.json`, the ledger, the server's state and token."""

    def __init__(self, folder: Path) -> None:
        told = json.loads((folder / "place.json").read_text())
        self.folder = folder
        self.section = read_record(RolloutSection, told["section"])
        self.champion = Digest(told["champion"])
        self.challengers = {ReleaseId(name): Digest(bundle) for name, bundle in told["challengers"].items()}
        self.ledger = SqlLedger(f"sqlite:///{folder}/ledger.db", SystemClock(), LedgerSigner(folder / "ledger.key"))
        self.target = ServerTarget(
            "production", told["url"], told["admin_url"], folder / "token", Folders(folder / "bundles")
        )

    @staticmethod
    def write(
        folder: Path, *, section: RolloutSection, champion: str, challengers: Mapping[str, str], url: str, admin: str
    ) -> None:
        told = {"section": to_json(section), "champion": champion, "challengers": dict(challengers)}
        (folder / "place.json").write_text(json.dumps({**told, "url": url, "admin_url": admin}))

    def switch(self) -> Switch:
        return Switch(ledger=self.ledger, target=self.target, model=MODEL, readback_requests=3, timeout_s=30)

    def begin(self) -> None:
        switch_traffic(self.switch(), FIRST, self.champion, why="the first")
        began = time.time()
        for place, (release, bundle) in enumerate(self.challengers.items(), 1):
            beside = [each for each in self.challengers if each != release]
            course = course_beside(self.section, sd=None, arm=arm_name(place), beside=beside)
            rollout = Rollout.at_start(release, bundle, self.champion, began=began)
            payload = record.begun_payload(course, rollout, salt="toy/1")
            self.ledger.append(MODEL, Event.ROLLOUT_BEGUN, payload, release=release)

    def found(self, release: ReleaseId) -> RolloutRecord:
        found = read_rollout(self.ledger.rows(MODEL, release=release), release)
        assert found is not None
        return found

    def all_found(self) -> dict[ReleaseId, RolloutRecord]:
        return {release: self.found(release) for release in self.challengers}

    def several(self) -> Several:
        found = list(self.all_found().values())
        several = Several(lane=SharedLane(self.target, MODEL, self.champion, [shared_arm(each) for each in found]))
        several.lane.take_stock()
        for each in found:
            if not each.ended:
                several.join(self._world(each), each)
        return several

    def _world(self, found: RolloutRecord) -> World:
        release, course = found.rollout.release, found.course

        def tally(kept: bytes | None) -> Tally:
            if kept is None:
                return Tally(course, self.section, TaskKind.BINARY, CLASSES)
            return Tally.from_bytes(kept, course, self.section, TaskKind.BINARY, CLASSES)

        lane = Lane(
            ledger=self.ledger,
            router=self.target,
            model=MODEL,
            release=release,
            champion=self.champion,
            challenger=found.rollout.challenger,
            salt=found.salt,
            lease_s=course.lease_s,
            timeout_s=30,
        )
        promote = partial(switch_traffic, self.switch(), release, found.rollout.challenger, why="not worse")
        return World(
            lane=lane,
            log=FileTrafficLog(self.folder / "state", self.folder / "kpi"),
            keeper=TallyFile(self.folder / f"{release}.tally"),
            clock=SystemClock(),
            readback=partial(self.target.readback, MODEL, self.champion, 3),
            promote=promote,
            tally=tally,
        )

    def close(self) -> None:
        self.target.close()
        self.ledger.close()


def main(folder: Path) -> None:
    """Carry the rollouts on record to their ends."""
    place = SharedPlace(folder)
    place.several().run()
    place.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
