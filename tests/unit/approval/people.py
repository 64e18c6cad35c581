"""An installation with people, and a release of the toy model that waits for their decision."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lockgate.adapters.approvers import Approvers
from lockgate.config import Settings, load_settings
from lockgate.core.approval_code import Bound
from lockgate.core.approval_people import Role
from lockgate.core.blessing import Blessing, Subjects, bless
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, Stage
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.progress import Progress
from lockgate.core.spec import ApprovalMode, ReleaseSpec
from lockgate.core.verdict import GateReport, Verdict
from lockgate.stages.answering import Desk, Taken, take
from lockgate.stages.approving import Answer, Question, ask
from lockgate.stages.releasing import open_release
from tests.fakes import FakeClock, FakeLedger, FakeNotifier
from tests.release_fakes import FakeFlowRuns, start, toy_spec

TOY, RELEASE, RUN = ModelName("toy"), ReleaseId("toy-0001"), "run-1"
DOSSIER = Digest("d" * 64)
PEOPLE = {"root": Role.ADMIN, "maria": Role.APPROVER, "grace": Role.APPROVER, "otto": Role.OPERATOR, "vic": Role.VIEWER}


def settings_in(folder: Path) -> Settings:
    """Return the settings of an installation in a folder of its own."""
    project = folder / "project"
    (project / "deployments").mkdir(parents=True, exist_ok=True)
    return load_settings({"LOCKGATE_PROJECT": str(project), "LOCKGATE_HOME": str(folder / "home")})


def blessed(spec: ReleaseSpec) -> Blessing:
    """Return the blessing of the toy release."""
    passed = GateReport(
        gate="toy", stage=Stage.INFRA, verdict=Verdict.PASS, checks=(), evidence=Digest("e" * 64), reason="ok"
    )
    subjects = Subjects(
        release=RELEASE,
        bundle=Digest("b" * 64),
        spec=spec.digest,
        data=Digest("a" * 64),
        champion=None,
        code=Digest("c" * 64),
    )
    return bless(subjects, [passed], ["toy"])


@dataclass
class Waiting:
    """A release that waits, and the desk its answers are taken at.

    Attributes:
        folder: The installation's.
        four_eyes: As the spec says.
        started_by: Who or what started it.
        token: Whether that person showed a token.
        people: Whether people were added.
    """

    folder: Path
    four_eyes: bool = False
    started_by: str = "ada"
    token: bool = False
    people: bool = True
    clock: FakeClock = field(default_factory=FakeClock)
    tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = FakeLedger(clock=self.clock)
        spec = toy_spec()
        self.spec = replace(spec, approval=replace(spec.approval, four_eyes=self.four_eyes))
        self.approvers = Approvers(settings_in(self.folder), self.ledger, self.clock)
        for name, role in PEOPLE.items() if self.people else ():
            self.tokens[name] = self.approvers.add(name, role, by="root")
        open_release(self.ledger, FakeFlowRuns(), self.spec, replace(start(RUN), started_by=self.started_by))
        if self.token:
            asked: dict[str, Json] = {"run": RUN, "by": self.started_by}
            self.ledger.append(TOY, Event.RELEASE_ASKED, asked, actor=self.started_by)
        self.needed = 2 if self.four_eyes and not self.token else 1
        ask(
            self.ledger,
            self.clock,
            FakeNotifier(),
            self.spec,
            blessed(self.spec),
            dossier=DOSSIER,
            links={},
            run=RUN,
            authenticated=self.people,
            needed=self.needed,
        )

    @property
    def question(self) -> Question:
        so_far = Progress(model=TOY, release=RELEASE, run=RUN, spec=self.spec.digest, code=Digest("c" * 64))
        return Question(
            so_far=so_far,
            text="?",
            mode=ApprovalMode.HUMAN,
            approvers=(),
            checklist=self.spec.approval.checklist,
            four_eyes=self.four_eyes,
            started_by=self.started_by,
            timeout_s=60,
            authenticated=self.people,
            needed=self.needed,
        )

    def code(self, name: str, decision: str = "approve", **other: Any) -> str:
        """Return a code as `--print-code` makes it."""
        bound = replace(Bound(release=RELEASE, dossier=DOSSIER, decision=decision), **other)
        return self.approvers.code(self.approvers.who(self.tokens[name]), bound)[0]

    def answer(self, code: str = "", decision: str = "approve", **other: Any) -> Answer:
        """Return what a form brings."""
        checklist = self.spec.approval.checklist
        return replace(
            Answer(decision=decision, approver="", reason="read it", checklist=checklist, code=code), **other
        )

    def give(self, answer: Answer, attempt: int = 0) -> Taken:
        """Take an answer as the flow does."""
        desk = Desk(
            ledger=self.ledger,
            clock=self.clock,
            spec=self.spec,
            blessing=blessed(self.spec),
            dossier=DOSSIER,
            identify=self.approvers.identify if self.approvers.exist else None,
        )
        return take(desk, self.question, answer, attempt)

    def rows(self, *events: Event) -> tuple[LedgerRow, ...]:
        return self.ledger.rows(TOY, events=events)

    def refused(self, taken: Taken) -> str:
        """Return why an answer did not count; it must be on record, nothing approved, and the question still open."""
        assert not taken.settled
        assert self.ledger.state(TOY).open is not None
        row = self.rows(Event.REFUSED)[-1]
        assert str(row.payload["reason"]) in taken.note
        return str(row.payload["reason"])
