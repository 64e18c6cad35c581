"""A real release whose gate fails under an override: it goes on, and what the approver is shown says so first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lockgate.core.approval_overrides import Wanted
from lockgate.core.approval_people import Role
from lockgate.core.blessing import OverriddenBlessing, Subjects
from lockgate.core.gates.registry import GATES, names
from lockgate.core.ids import Digest, Stage
from lockgate.core.ledger import Event, Outcome
from lockgate.core.progress import Progress
from lockgate.line import ask, line_of
from lockgate.stages.overriding import Overriding
from lockgate.stages.recording import bless_release, reports_of
from tests.fakes import FakeRegistry
from tests.line_world import MODEL, LineWorld, line_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LineWorld]:
    with line_world(tmp_path) as made:
        made.change(made.spec_file, "gates:\n", "gates:\n  quality:\n    auc_floor: 0.99999\n")
        made.land()
        yield made


def override(world: LineWorld) -> None:
    services = world.services
    book = Overriding(ledger=services.ledger, clock=services.clock, model=MODEL, gates=names(GATES))
    until = services.clock.now() + timedelta(days=7)
    book.ask(Wanted(gate="quality", until=until, reason="the strike of March"), by="maria")
    book.confirm("quality", by="grace")


def blessed(world: LineWorld, so_far: Progress) -> OverriddenBlessing:
    subjects = Subjects(
        release=so_far.release,
        bundle=Digest(so_far.refs["bundle"]),
        spec=so_far.spec,
        data=Digest(so_far.refs["data"]),
        champion=None,
        code=so_far.code,
    )
    measured = [each.gate for each in reports_of(world.services.ledger, MODEL, so_far.release)]
    made = bless_release(world.services.ledger, MODEL, subjects, measured)
    assert isinstance(made, OverriddenBlessing)
    return made


def test_an_overridden_failure_does_not_stop_a_release_and_is_the_first_thing_its_approver_reads(
    world: LineWorld,
) -> None:
    override(world)
    world.services.approvers.add("root", Role.ADMIN, by="login ada")
    vars(world.services)["registry"] = FakeRegistry(down=True)
    so_far = world.release(through=Stage.PACKAGE)
    assert so_far.ended is None, so_far.reason
    assert set(blessed(world, so_far).overrides) == {"quality"}
    question = ask(line_of(MODEL), so_far)
    assert question.text.startswith("# GATE QUALITY FAILED AND IS OVERRIDDEN by maria and grace until ")
    assert "the strike of March" in question.text.splitlines()[0]
    assert question.authenticated
    assert "one-time code" in question.text
    page = world.services.settings.release(so_far.release) / "dossier.html"
    assert "GATE QUALITY FAILED AND IS OVERRIDDEN" in page.read_text()
    assert world.rows(Event.APPROVAL_ASKED)[0].payload["authenticated"] is True


def test_without_an_override_the_same_release_is_blocked_by_that_gate(world: LineWorld) -> None:
    so_far = world.release(through=Stage.EVALUATE)
    assert (so_far.ended, so_far.gate) == (Outcome.BLOCKED, "quality")
