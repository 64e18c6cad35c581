"""A question that is void ends its release, with the reason, before anybody answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.adapters.code_identity import program_digest
from lockgate.core.approval_overrides import Wanted
from lockgate.core.blessing import Blessing, OverriddenBlessing
from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Digest, Json, digest_bytes, to_json
from lockgate.core.ledger import Event, Outcome
from lockgate.line.approval_recheck import void_of
from lockgate.line.model_line import Line
from lockgate.stages.overriding import Overriding
from lockgate.stages.reaping import Reaped, reap
from lockgate.stages.releasing import open_release
from tests.fakes import EPOCH, FakeBundleStore, FakeClock, FakeLedger, FakeNotifier
from tests.release_fakes import FakeFlowRuns, start, toy_spec
from tests.unit.approval.people import RELEASE, RUN, TOY, blessed, settings_in

PAGE = b"<html>what there was to read</html>"


class Waiting:
    """A release that waits, on disk as far as it is looked at again."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.runs, self.notifier = FakeClock(), FakeFlowRuns(), FakeNotifier()
        self.ledger, self.store = FakeLedger(self.clock), FakeBundleStore()
        self.spec, self.settings = toy_spec(), settings_in(folder)
        self.source = self.settings.project / "deployments" / "toy.py"
        self.source.write_text("rows = 1\n")
        self.book = Overriding(ledger=self.ledger, clock=self.clock, model=TOY, gates=("quality",))
        self.book.ask(Wanted(gate="quality", until=EPOCH.replace(day=20), reason="known"), by="maria")
        row = self.book.confirm("quality", by="grace").row
        code = program_digest(self.settings.project)
        open_release(self.ledger, self.runs, self.spec, replace(start(RUN), code=code))
        self.blessing = _overridden(blessed(self.spec), row.row_hash)
        bundle: Any = SimpleNamespace(digest=self.blessing.subjects.bundle)
        self.bundle: ModelBundle = self.store.put(bundle)
        self.page = self.settings.release(RELEASE) / "dossier.html"
        self.page.parent.mkdir(parents=True)
        self.page.write_bytes(PAGE)
        whole: Any = to_json(self.blessing)
        self.ledger.append(TOY, Event.BLESSING, whole, release=RELEASE)
        asked: dict[str, Json] = {
            "blessing": self.blessing.digest,
            "dossier": digest_bytes(PAGE),
            "champion": None,
            "expires_at": EPOCH.replace(day=3).isoformat(),
        }
        self.ledger.append(TOY, Event.APPROVAL_ASKED, asked, release=RELEASE)
        self.runs.put(RUN, "PAUSED", "Suspended")

    def reap(self) -> Reaped | None:
        services: Any = SimpleNamespace(ledger=self.ledger, settings=self.settings, bundles=self.store)
        line = Line(services=services, spec=self.spec)
        return reap(
            self.ledger,
            self.runs,
            self.clock,
            self.notifier,
            self.spec,
            lives=lambda _: True,
            void=lambda held: void_of(line, held),
        )

    def other_champion(self) -> None:
        facts: dict[str, Json] = {"environment": "production", "from": None, "to": "9" * 64}
        self.ledger.append(TOY, Event.TRAFFIC_INTENDED, {**facts, "why": "by hand"})
        self.ledger.append(TOY, Event.TRAFFIC_VERIFIED, {**facts, "sequence": 9})

    def other_spec(self) -> None:
        self.spec = replace(self.spec, sensitive=("c",))


def _overridden(blessing: Blessing, row: Digest) -> Blessing:
    return OverriddenBlessing(subjects=blessing.subjects, reports=blessing.reports, overrides={"quality": row})


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    return Waiting(tmp_path)


def test_while_everything_is_as_it_was_asked_about_nothing_is_done(waiting: Waiting) -> None:
    assert waiting.reap() is None
    assert waiting.notifier.sent == []


@pytest.mark.parametrize(
    ("change", "outcome", "says"),
    [
        (Waiting.other_champion, Outcome.SUPERSEDED, "the champion changed"),
        (Waiting.other_spec, Outcome.EXPIRED, "the spec changed"),
        (lambda each: each.source.write_text("rows = 2\n"), Outcome.EXPIRED, "the code changed"),
        (lambda each: each.settings.project.joinpath("requirements.lock").write_text("x==2"), Outcome.EXPIRED, "code"),
        (lambda each: each.store.tampered.add(each.bundle.digest), Outcome.BLOCKED, "not what was signed"),
        (lambda each: each.store.bundles.clear(), Outcome.BLOCKED, "there is no bundle"),
        (lambda each: each.page.write_bytes(PAGE + b" "), Outcome.BLOCKED, "not the dossier that was asked about"),
        (lambda each: each.page.unlink(), Outcome.BLOCKED, "not the dossier that was asked about"),
        (
            lambda each: each.book.withdraw("quality", by="vera", reason="mended"),
            Outcome.BLOCKED,
            "override of gate quality",
        ),
    ],
    ids=["champion", "spec", "code", "lock", "tampered bundle", "lost bundle", "dossier", "lost dossier", "override"],
)
def test_what_changed_ends_the_release_with_the_reason(
    waiting: Waiting, change: Callable[[Waiting], object], outcome: Outcome, says: str
) -> None:
    change(waiting)
    reaped = waiting.reap()
    assert reaped is not None
    ended = waiting.ledger.rows(TOY, events=(Event.RELEASE_ENDED,))[0]
    assert (ended.payload["outcome"], ended.actor) == (outcome.value, "reaper")
    assert says in str(ended.payload["reason"])
    assert (waiting.runs.states[RUN].type, waiting.runs.states[RUN].name) == ("CANCELLED", outcome.value.title())
    assert len(waiting.notifier.sent) == 1
    assert waiting.reap() is None


def test_a_run_that_goes_on_again_is_left_to_its_own_checks(waiting: Waiting) -> None:
    waiting.other_champion()
    waiting.runs.put(RUN, "RUNNING")
    assert waiting.reap() is None
