"""A rollout's controller as a process of its own, on a real server, so that a test can end it at any moment.

python -m tests.integration.rollout_controller FOLDER           carries the rollout on record in FOLDER to its end
python -m tests.integration.rollout_controller FOLDER baking    stands still once it bakes, until it is ended
"""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lockgate.adapters.ledger_keys import LedgerSigner
from lockgate.adapters.server_target import ServerTarget
from lockgate.adapters.sql_ledger import SqlLedger
from lockgate.adapters.tally_file import TallyFile
from lockgate.adapters.traffic_log import FileTrafficLog
from lockgate.bootstrap import SystemClock
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, ModelName, ReleaseId, to_json
from lockgate.core.ledger import Event
from lockgate.core.records import read_record
from lockgate.core.rollout import record
from lockgate.core.rollout.machine import Phase, Rollout
from lockgate.core.rollout.record import RolloutRecord, read_rollout
from lockgate.core.rollout.steps import course_of
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec import RolloutSection
from lockgate.stages.rolling_out import Controller
from lockgate.stages.rollout_world import World
from lockgate.stages.routing import Lane
from lockgate.stages.traffic import Switch, switch_traffic

MODEL = ModelName("toy")
FIRST, SECOND = ReleaseId("toy-0001"), ReleaseId("toy-0002")
CLASSES = ("no", "yes")


@dataclass(frozen=True)
class Folders:
    """Where bundles lie."""

    store: Path

    def folder(self, digest: Digest) -> Path:
        return self.store / digest


class Place:
    """A folder that says everything a controller needs: `place.json`, the ledger, the server's state and token."""

    def __init__(self, folder: Path) -> None:
        told = json.loads((folder / "place.json").read_text())
        self.folder = folder
        self.section = read_record(RolloutSection, told["section"])
        self.champion, self.challenger = Digest(told["champion"]), Digest(told["challenger"])
        self.ledger = SqlLedger(f"sqlite:///{folder}/ledger.db", SystemClock(), LedgerSigner(folder / "ledger.key"))
        self.target = ServerTarget(
            "production", told["url"], told["admin_url"], folder / "token", Folders(folder / "bundles")
        )

    @staticmethod
    def write(folder: Path, *, section: RolloutSection, champion: str, challenger: str, url: str, admin: str) -> None:
        told = {"section": to_json(section), "champion": champion, "challenger": challenger}
        (folder / "place.json").write_text(json.dumps({**told, "url": url, "admin_url": admin}))

    def switch(self) -> Switch:
        return Switch(ledger=self.ledger, target=self.target, model=MODEL, readback_requests=3, timeout_s=30)

    def first_champion(self) -> None:
        switch_traffic(self.switch(), FIRST, self.champion, why="the first")

    def begin(self) -> None:
        rollout = Rollout.at_start(SECOND, self.challenger, self.champion, began=time.time())
        payload = record.begun_payload(course_of(self.section, sd=None), rollout, salt=f"{SECOND}/1")
        self.ledger.append(MODEL, Event.ROLLOUT_BEGUN, payload, release=SECOND)

    def found(self) -> RolloutRecord:
        found = read_rollout(self.ledger.rows(MODEL, release=SECOND), SECOND)
        assert found is not None
        return found

    def controller(self) -> Controller:
        course = self.found().course

        def tally(kept: bytes | None) -> Tally:
            if kept is None:
                return Tally(course, self.section, TaskKind.BINARY, CLASSES)
            return Tally.from_bytes(kept, course, self.section, TaskKind.BINARY, CLASSES)

        lane = Lane(
            ledger=self.ledger,
            router=self.target,
            model=MODEL,
            release=SECOND,
            champion=self.champion,
            challenger=self.challenger,
            salt=f"{SECOND}/1",
            lease_s=course.lease_s,
            timeout_s=30,
        )
        world = World(
            lane=lane,
            log=FileTrafficLog(self.folder / "state", self.folder / "kpi"),
            keeper=TallyFile(self.folder / "rollout.tally"),
            clock=SystemClock(),
            readback=partial(self.target.readback, MODEL, self.champion, 3),
            promote=partial(switch_traffic, self.switch(), SECOND, self.challenger, why="not worse"),
            tally=tally,
        )
        return Controller.of(world, self.found())

    def close(self) -> None:
        self.target.close()
        self.ledger.close()


def main(folder: Path, *held_in: Phase) -> None:
    """Carry the rollout on record to its end; where it comes to a phase to be held in, no further."""
    place = Place(folder)
    controller = place.controller()
    controller.take_over()
    if controller.run(lambda rollout: rollout.phase in held_in).phase in held_in:
        signal.pause()
    place.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(Phase, sys.argv[2:]))
