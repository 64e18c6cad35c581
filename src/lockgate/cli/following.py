"""Following one release: what the ledger and the orchestrator say, line by line, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockgate.cli.surface import Surface
from lockgate.core.ids import Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.errors import NotRunning, TransientError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

_LOOK_AT_RUN_S = 2.0
_SILENT_S = 5.0  # ours: whoever watches a terminal for longer wonders whether it hangs
_STARTING = (Event.APPROVAL_GIVEN,)
_STARTED = (Event.ROLLOUT_BEGUN, Event.TRAFFIC_INTENDED, Event.RELEASE_ENDED)
_MARKS = {"COMPLETED": ("✔", "green"), "FAILED": ("✘", "red"), "CRASHED": ("✘", "red"), "CANCELLED": ("■", "yellow")}


@dataclass(kw_only=True)
class Followed:
    """What became of a run.

    Attributes:
        run: The flow run.
        release: The release it carried; None when it opened none.
        outcome: How the release ended; None when it did not, or there was none.
        reason: Why, in one sentence.
        completed: Whether the run itself came to its end; without a release this means there was nothing to do.
        verdicts: The gates' verdicts, newest of each gate.
    """

    run: str
    release: ReleaseId | None = None
    outcome: Outcome | None = None
    reason: str = ""
    completed: bool = False
    verdicts: dict[str, Mapping[str, Json]] = field(default_factory=dict)

    @property
    def content(self) -> dict[str, Json]:
        """The same as JSON."""
        return {
            "run": self.run,
            "release": self.release,
            "outcome": None if self.outcome is None else self.outcome.value,
            "reason": self.reason,
            "verdicts": [
                {"gate": gate, "verdict": each.get("verdict"), "reason": each.get("reason")}
                for gate, each in self.verdicts.items()
            ],
        }


class Follower:
    """Follows one flow run of one model."""

    def __init__(  # noqa: PLR0913 - what, for whom, and two paces
        self,
        services: Services,
        surface: Surface,
        model: ModelName,
        run: str,
        *,
        look_s: float = 0.5,
        silent_s: float = _SILENT_S,
    ) -> None:
        self._services = services
        self._silent_s = silent_s
        self._look_s = look_s
        self._surface = surface
        self._model = model
        self._began = time.monotonic()
        self._seq = 0
        self._tasks: dict[str, str] = {}
        self._looked_at_run = 0.0
        self._said_at = time.monotonic()
        self._awaits_rollout = False
        self.followed = Followed(run=run)

    def until_end(self, on_question: Callable[[LedgerRow], None], *, within_s: float | None = None) -> Followed:
        """Show what happens until the release ended.

        Args:
            on_question: Called with the ledger's row when the approval is asked.
            within_s: How long to follow; None: as long as it takes.

        Raises:
            TransientError: It did not end in time.
        """
        deadline = None if within_s is None else time.monotonic() + within_s
        while True:
            for row in self._new_rows():
                self._show(row)
                if row.event is Event.APPROVAL_ASKED:
                    on_question(row)
            if self.followed.outcome is not None or self._run_is_over():
                return self.followed
            self._tell_what_is_awaited()
            if deadline is not None and time.monotonic() >= deadline:
                raise TransientError(f"run {self.followed.run} goes on after {within_s:.0f} s; see lockgate status")
            time.sleep(self._look_s)

    def skip_what_was(self) -> None:
        """Take in what happened so far without showing it."""
        for row in self._new_rows():
            self._note(row)
        try:
            known = self._services.runs.task_runs(self.followed.run)
        except (NotRunning, TransientError):
            return  # it may be away for a minute; stages that it has finished are then told once more
        self._tasks |= {str(each["id"]): str(each.get("state_type")) for each in known}

    def _new_rows(self) -> Sequence[LedgerRow]:
        ledger = self._services.ledger
        if ledger.last_seq(self._model) == self._seq:
            return ()
        if self.followed.release is None:
            self.followed.release = self._find_release()
        if self.followed.release is None:
            return ()
        rows = [row for row in ledger.rows(self._model, release=self.followed.release) if row.seq > self._seq]
        self._seq = max([self._seq, *(row.seq for row in rows)])
        return rows

    def _find_release(self) -> ReleaseId | None:
        opened = self._services.ledger.rows(self._model, events=(Event.RELEASE_OPENED, Event.RELEASE_RESUMED))
        return next((row.release for row in reversed(opened) if row.payload.get("run") == self.followed.run), None)

    def _note(self, row: LedgerRow) -> None:
        """Keep what a row means for the outcome."""
        if row.event in (*_STARTING, *_STARTED):
            self._awaits_rollout = row.event in _STARTING
        if row.event is Event.VERDICT:
            self.followed.verdicts[str(row.payload.get("gate"))] = row.payload
        if row.event is Event.RELEASE_RESUMED:  # after a Retry: how it ended before is past
            self.followed.outcome, self.followed.reason = None, ""
        if row.event is Event.RELEASE_ENDED:
            self.followed.outcome = Outcome(str(row.payload.get("outcome")))
            self.followed.reason = str(row.payload.get("reason") or "")

    def _show(self, row: LedgerRow) -> None:
        self._note(row)
        payload, say = row.payload, self._say
        match row.event:
            case Event.RELEASE_OPENED:
                say(f"release {row.release} opened: {payload.get('reason')}", "bold")
            case Event.VERDICT:
                self._show_verdict(payload)
            case Event.BLESSING:
                say("  blessed: every required gate passed for one bundle", "green")
            case Event.REGISTERED:
                say(f"  registered as version {payload.get('version')}")
            case Event.APPROVAL_GIVEN | Event.APPROVAL_REFUSED:
                word = "approved" if row.event is Event.APPROVAL_GIVEN else "rejected"
                say(f"  {word} by {payload.get('approver')}: {payload.get('reason') or 'no reason given'}", "bold")
            case Event.TRAFFIC_VERIFIED:
                answers = payload.get("answers")
                count = len(answers) if isinstance(answers, list) else answers
                to = str(payload.get("to"))[:12]
                say(f"  {payload.get('environment')} serves {to}, read back from {count} live answers", "green")
            case _:
                from lockgate.cli.rollout_lines import rollout_lines

                for text, style in rollout_lines(row):
                    say(text, style)

    def _show_verdict(self, report: Mapping[str, Json]) -> None:
        gate, verdict = str(report.get("gate")), str(report.get("verdict"))
        why = "" if verdict == "PASS" else f"  {report.get('reason')}"
        style = {"PASS": "green", "INCONCLUSIVE": "yellow"}.get(verdict, "bold red")
        self._say(f"    gate {gate:<13} {verdict}{why}", style)

    def _run_is_over(self) -> bool:
        """Look at the orchestrator now and then: stages that finished, and a run that ended without a release."""
        if time.monotonic() - self._looked_at_run < _LOOK_AT_RUN_S:
            return False
        self._looked_at_run = time.monotonic()
        try:
            self._show_tasks(self._services.runs.task_runs(self.followed.run))
            state = self._services.runs.state(self.followed.run)
            if state is None or not state.ended:
                return False
            told = self._services.runs.run(self.followed.run).get("state") or {}
        except (NotRunning, TransientError):
            return False  # the orchestrator may be away for a minute; the ledger goes on
        rows = self._new_rows()  # what was written between the two looks
        for row in rows:
            self._show(row)
        self.followed.completed = state.type == "COMPLETED"
        self.followed.reason = self.followed.reason or str(told.get("message") or state.name)
        return True

    def _show_tasks(self, runs: Sequence[Mapping[str, object]]) -> None:
        for each in runs:
            key, kind = str(each["id"]), str(each.get("state_type"))
            if self._tasks.get(key) == kind:
                continue
            self._tasks[key] = kind
            name = str(each["name"]).rsplit("-", 1)[0]
            if kind == "RUNNING":
                self._say(f"  ▸ {name}")
            elif kind in _MARKS and each.get("state_name") != "Cached":
                mark, style = _MARKS[kind]
                took = each.get("total_run_time")
                self._say(f"  {mark} {name}  {took:.1f} s" if isinstance(took, float) else f"  {mark} {name}", style)

    def _tell_what_is_awaited(self) -> None:
        """Say now and then that a rollout's own process is being started, which takes longer than people expect."""
        if self._awaits_rollout and time.monotonic() - self._said_at > self._silent_s:
            self._say("  the rollout's own run is being started; a process of the orchestrator takes 8 to 20 s")

    def _say(self, text: str, style: str = "") -> None:
        self._said_at = time.monotonic()
        self._surface.say(f"[{time.monotonic() - self._began:6.1f} s] {text}", style)
