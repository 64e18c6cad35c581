"""What asks for releases, brought to the policy: landed files, the schedule, harm found, messages, another program.

    landed files ── announce ──> event ─┐
    schedule ───────────────────────────┤
    harm found ── on_degradation ───────┼──> run ── begin: the policy is asked ──> release, or NothingNew with the why
    message ── on_message ──────────────┤
    program changed ── on_code_change ──┘

Each of them asks before it starts a run, and the run asks again before anything is opened: what is true then decides.
Runs are started under a key of their cause, so that a cause told four times starts one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lockgate.core.ids import Digest, Json, digest_of
from lockgate.core.learning.policy import Decision
from lockgate.core.learning.standing import Waiting
from lockgate.core.learning.triggers import STARTERS, Trigger, TriggerKind, reason_of, trigger_of
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.errors import BadInput
from lockgate.line.model_line import Line
from lockgate.ports import Batch
from lockgate.stages import learning, releasing


class Answer(StrEnum):
    """What became of a message."""

    STARTED = "started"
    ALREADY = "already started"
    CONFLICT = "conflict"
    LATER = "later"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a sender of a message is told.

    Attributes:
        answer: What became of it.
        why: In one sentence.
        next: What to do now.
        run: The run that carries it, when one was started.
        decision: What the policy said; None when it was not asked.
    """

    answer: Answer
    why: str
    next: str
    run: str | None = None
    decision: Decision | None = None

    @property
    def retry_after_s(self) -> float | None:
        """When it may be accepted by itself."""
        return None if self.decision is None else self.decision.retry_after_s


def ask_policy(line: Line, trigger: Trigger, *, code: Digest | None = None) -> Decision:
    """Ask whether a trigger would start a release, by the record and the landing folder; nothing is written.

    Args:
        line: The model's line.
        trigger: What asks.
        code: Digest of the program now; None: as this process began with it.
    """
    landed = line.services.store.landed(line.model)
    return learning.consult(
        line.ledger, line.spec, trigger, program=_program(line, code), waiting=waiting_rows(line, landed)
    )


def ask_to_open(line: Line, start: releasing.Start) -> Decision | None:
    """Ask before a run opens its release, and put the answer on record.

    Returns:
        The answer; None when there is nothing to ask, because the run carries a release already.
    """
    ledger, spec = line.ledger, line.spec
    if releasing.release_of_run(ledger, spec, start.run) is not None:
        return None
    held = ledger.state(spec.name).open
    if held is not None:
        releasing.end_dead(ledger, line.services.runs, spec, held)
    trigger = trigger_of(start.reason, start.started_by, line.services.clock.now())
    decision = learning.consult(ledger, spec, trigger, program=_program(line, start.code))
    held = ledger.state(spec.name).open
    if decision.train and held is not None and not held.waiting:
        return decision  # it waits its turn, and is asked again when that comes
    learning.put_on_record(ledger, line.services.notifier, decision, spec, subject=start.run, run=start.run)
    return decision


def ask_about_landed(line: Line, fresh: Sequence[Batch]) -> Decision:
    """Ask whether landed files start a run; the answer goes on record, once for the same files."""
    names: list[Json] = [batch.name for batch in fresh[:10]]
    facts: dict[str, Json] = {"files": len(fresh), "names": names}
    reason = reason_of(TriggerKind.NEW_DATA)
    trigger = Trigger(kind=TriggerKind.NEW_DATA, reason=reason, at=line.services.clock.now(), facts=facts)
    decision = learning.consult(
        line.ledger, line.spec, trigger, program=_program(line, None), waiting=waiting_rows(line, fresh)
    )
    if not decision.train:
        subject = digest_of(sorted(batch.sha256 for batch in fresh))
        learning.put_on_record(line.ledger, line.services.notifier, decision, line.spec, subject=subject)
    return decision


def on_degradation(line: Line, findings: Sequence[Finding]) -> Decision | None:
    """Start a release because of harm that labels show, if the policy agrees; at most one a day for the same findings.

    Args:
        line: The model's line.
        findings: Everything the monitor found. Only harm that labels show is picked: the service is not mended by
            training, and what is estimated may be wrong about harm.

    Returns:
        The policy's answer; None when there was no such harm.
    """
    harm = [each for each in findings if each.state is State.HARM and each.subject is Subject.TRUTH]
    if not harm:
        return None
    now, worst = line.services.clock.now(), max(harm, key=lambda each: (each.harm, each.name))
    listed: list[Json] = [*sorted(each.name for each in harm)]
    words = f"{worst.name}: {worst.reason}"
    facts: dict[str, Json] = {"findings": listed}
    trigger = Trigger(
        kind=TriggerKind.DEGRADATION, reason=reason_of(TriggerKind.DEGRADATION, words), at=now, facts=facts
    )
    decision, _ = _ask_and_start(line, trigger, subject=f"{now:%Y-%m-%d}:{worst.name}")
    return decision


def on_code_change(line: Line, code: Digest) -> Decision | None:
    """Start a release because program or spec are not those of the newest one, if the spec asks for that.

    Args:
        line: The model's line.
        code: Digest of the program as it is on disk now.
    """
    if not line.spec.retraining.on_code_change:
        return None
    now, program = line.services.clock.now(), _program(line, code)
    changed = learning.standing_of(line.ledger, line.spec, now=now, program=program).changed
    if not changed:
        return None
    words = f"{' and '.join(changed)}, program {code[:12]}, spec {line.spec.digest[:12]}"
    trigger = Trigger(kind=TriggerKind.CODE, reason=reason_of(TriggerKind.CODE, words), at=now)
    decision, _ = _ask_and_start(line, trigger, subject=digest_of(program), code=code)
    return decision


def on_message(line: Line, words: str, *, key: str, body: Digest) -> Told:
    """Start a release because another program asks, once for each key.

    Args:
        line: The model's line.
        words: The sender's reason.
        key: The sender's idempotency key.
        body: Digest of the whole message: another one under the same key is refused.
    """
    before = learning.accepted_before(line.ledger, line.spec, key)
    if before is not None and before.get("body") != body:
        why = f"the key {key!r} was used with another message"
        return Told(answer=Answer.CONFLICT, why=why, next="send it under a key of its own")
    trigger = Trigger(
        kind=TriggerKind.MESSAGE,
        reason=reason_of(TriggerKind.MESSAGE, words),
        at=line.services.clock.now(),
        facts={"key": key, "body": body},
    )
    if before is not None:
        same = _start(line, trigger, subject=key)
        return Told(answer=Answer.ALREADY, why="this key started a run before", next="lockgate status", run=same)
    decision, run = _ask_and_start(line, trigger, subject=key)
    if decision.train:
        return Told(answer=Answer.STARTED, why=decision.why, next=decision.next, run=run, decision=decision)
    later = Answer.LATER if decision.retry_after_s is not None else Answer.REFUSED
    return Told(answer=later, why=decision.why, next=decision.next, decision=decision)


def trigger_named(kind: str, at: datetime, words: str = "") -> Trigger:
    """Return the trigger that a person names to ask what would be.

    Raises:
        BadInput: There is no such kind.
    """
    known = {each.value.replace("_", "-"): each for each in TriggerKind}
    found = known.get(kind.replace("_", "-"))
    if found is None:
        raise BadInput(f"there is no trigger {kind!r}; triggers: {', '.join(known)}")
    return Trigger(kind=found, reason=reason_of(found, words or "asked what would be"), at=at)


def waiting_rows(line: Line, batches: Sequence[Batch]) -> Waiting:
    """Count the rows of landed files that were not taken in, by their own account."""
    from lockgate.adapters.landing import told_rows

    known = line.ledger.state(line.model).ingested
    rows = [told_rows(batch.path) for batch in batches if batch.sha256 not in known]
    counted = [each for each in rows if each is not None]
    return Waiting(files=len(rows), rows=sum(counted) if len(counted) == len(rows) else None)


def _ask_and_start(
    line: Line, trigger: Trigger, *, subject: str, code: Digest | None = None
) -> tuple[Decision, str | None]:
    """Ask, put the answer on record, and start the run; the row first, so that a crash in between starts it again."""
    decision = ask_policy(line, trigger, code=code)
    learning.put_on_record(line.ledger, line.services.notifier, decision, line.spec, subject=subject)
    return decision, _start(line, trigger, subject=subject) if decision.train else None


def _start(line: Line, trigger: Trigger, *, subject: str) -> str:
    parameters: Mapping[str, Json] = {
        "model": line.model,
        "reason": trigger.reason,
        "started_by": STARTERS[trigger.kind],
    }
    key = f"{trigger.kind.value}:{line.model}:{subject}"
    return line.services.runs.start_run(f"release-model/{line.model}", parameters, idempotency_key=key)


def _program(line: Line, code: Digest | None) -> dict[str, str]:
    return {"code": code or line.services.code.digest, "spec": line.spec.digest}
