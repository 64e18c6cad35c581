"""How often a holdout was judged on before is counted from the ledger's evidence, once a release."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lockgate.core.ids import Digest
from lockgate.core.ledger import Event
from lockgate.errors import BadInput
from lockgate.line.past import holdout_uses
from lockgate.stages.examination import HoldoutUses
from tests.unit.judgement.scenes import spec_of

NOW = datetime(2024, 6, 1, tzinfo=UTC)


class World:
    """A line whose record says which release was judged on which rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snapshots: dict[str, Any] = {}
        self.evidence: list[Any] = []
        store = SimpleNamespace(snapshot=self._snapshot)
        ledger = SimpleNamespace(rows=lambda _model, events: self.evidence if events == (Event.EVIDENCE,) else ())
        self.line: Any = SimpleNamespace(
            ledger=ledger, model="toy", spec=spec_of(), services=SimpleNamespace(store=store)
        )

    def _snapshot(self, digest: str) -> Any:
        if digest not in self.snapshots:
            raise BadInput(f"there is no snapshot {digest}")
        return self.snapshots[digest]

    def freeze(self, digest: str, holdout: str, *, days_ago: int = 0) -> Any:
        folder = self.folder / digest
        folder.mkdir()
        (folder / "snapshot.json").write_text(json.dumps({"parts": {"holdout": holdout}}))
        frozen = SimpleNamespace(digest=Digest(digest), folder=folder, as_of=NOW - timedelta(days=days_ago))
        self.snapshots[digest] = frozen
        return frozen

    def judge(self, release: str, digest: str, gate: str = "quality") -> None:
        payload = {"gate": gate, "subjects": {"data": digest}}
        self.evidence.append(SimpleNamespace(release=release, payload=payload))

    def uses(self, digest: str, release: str = "toy-9") -> HoldoutUses:
        so_far: Any = SimpleNamespace(release=release)
        return holdout_uses(self.line, so_far, self.snapshots[digest])


def test_equal_rows_count_as_the_same_and_shared_days_as_overlapping(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.freeze("now", "h1")
    world.freeze("other-train", "h1")
    world.freeze("a-week-ago", "h2", days_ago=7)
    world.freeze("long-ago", "h3", days_ago=60)
    for release, digest in (("toy-1", "long-ago"), ("toy-2", "a-week-ago"), ("toy-3", "other-train"), ("toy-4", "now")):
        world.judge(release, digest)
    assert world.uses("now") == HoldoutUses(same=2, overlapping=3)


def test_a_retried_stage_and_the_release_itself_count_once_or_not_at_all(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.freeze("now", "h1")
    for release in ("toy-1", "toy-1", "toy-9"):
        world.judge(release, "now")
    world.judge("toy-2", "now", gate="schema")
    assert world.uses("now") == HoldoutUses(same=1, overlapping=1)


def test_rows_that_are_gone_are_taken_for_overlapping(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.freeze("now", "h1")
    world.judge("toy-1", "deleted")
    assert world.uses("now") == HoldoutUses(same=0, overlapping=1)
