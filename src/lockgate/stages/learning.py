"""Asking the retraining policy, and its answer on record: once for each subject and answer, however often it is asked.

The answer's row comes before the release it leads to, and carries the run that asked, so that `explain` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from lockgate.core.ids import Digest, Json, digest_of, to_json
from lockgate.core.learning.policy import Decision, decide
from lockgate.core.learning.standing import EVENTS, Standing, Waiting, read_standing
from lockgate.core.learning.triggers import Trigger
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import Ledger, Notifier


def standing_of(
    ledger: Ledger,
    spec: ReleaseSpec,
    *,
    now: datetime,
    program: Mapping[str, str] | None = None,
    waiting: Waiting | None = None,
) -> Standing:
    """Return what the record says that the policy weighs; evidence is read only where a cost is weighed."""
    weighed = spec.retraining.cost is not None
    return read_standing(
        ledger.rows(spec.name, events=EVENTS),
        ledger.state(spec.name),
        now=now,
        program=program,
        waiting=waiting,
        evidence=ledger.rows(spec.name, events=(Event.EVIDENCE, Event.COUNTERFACTUALS)) if weighed else (),
    )


def consult(
    ledger: Ledger,
    spec: ReleaseSpec,
    trigger: Trigger,
    *,
    program: Mapping[str, str] | None = None,
    waiting: Waiting | None = None,
) -> Decision:
    """Ask the policy; nothing is written.

    Args:
        ledger: The record.
        spec: Holds the policy.
        trigger: What asks; its time is the time of asking.
        program: Digests of `code` and `spec` now.
        waiting: What lies in the landing folder.
    """
    standing = standing_of(ledger, spec, now=trigger.at, program=program, waiting=waiting)
    return decide(spec.name, spec.retraining, trigger, standing)


def put_on_record(  # noqa: PLR0913 - two ports, the answer, and what it was about
    ledger: Ledger, notifier: Notifier, decision: Decision, spec: ReleaseSpec, *, subject: str, run: str = ""
) -> LedgerRow | None:
    """Write the answer, unless the same was said of the same subject; people who are to start it are told.

    Args:
        ledger: The record.
        notifier: Tells people.
        decision: The answer.
        spec: The model's spec.
        subject: What it was about: the run, the landed files, the findings.
        run: The flow run that asks, if any.

    Returns:
        The row; None when it was there.
    """
    key = key_of(decision, subject)
    if any(row.payload.get("key") == key for row in ledger.rows(spec.name, events=(Event.RETRAINING_DECIDED,))):
        return None
    told = to_json(decision)
    facts: dict[str, Json] = {**told} if isinstance(told, Mapping) else {}
    row = ledger.append(spec.name, Event.RETRAINING_DECIDED, {**facts, "key": key, "subject": subject, "run": run})
    if decision.tell:
        notifier.notify(
            f"Lockgate: {spec.name} could be trained anew",
            f"{decision.trigger.reason}: {decision.why}.\nTo start it: {decision.next}",
        )
    return row


def held_back(ledger: Ledger, spec: ReleaseSpec) -> str | None:
    """Return the hash of the newest batch that was taken in and that the policy let no release learn from so far.

    Without files in the landing folder nothing would ask again: what was held back would wait for the next file.
    """
    events = (Event.RELEASE_OPENED, Event.BATCH_INGESTED, Event.RETRAINING_DECIDED)
    newest = {row.event: row for row in ledger.rows(spec.name, events=events)}
    taken, said = newest.get(Event.BATCH_INGESTED), newest.get(Event.RETRAINING_DECIDED)
    opened = newest.get(Event.RELEASE_OPENED)
    if taken is None or said is None or said.payload.get("train") is not False or said.seq < taken.seq:
        return None
    return None if opened is not None and opened.seq > taken.seq else str(taken.payload["sha256"])


def key_of(decision: Decision, subject: str) -> Digest:
    """Return what makes two answers the same one: subject, trigger, answer and what spoke against."""
    against = [each.name for each in decision.against]
    return digest_of([decision.trigger.kind, subject, decision.train, against])


def accepted_before(ledger: Ledger, spec: ReleaseSpec, key: str) -> Mapping[str, Json] | None:
    """Return the facts of the accepted trigger that carried this idempotency key; None when there was none."""
    for row in reversed(ledger.rows(spec.name, events=(Event.RETRAINING_DECIDED,))):
        trigger = row.payload.get("trigger")
        facts = trigger.get("facts") if isinstance(trigger, Mapping) else None
        if isinstance(facts, Mapping) and facts.get("key") == key and row.payload.get("train") is True:
            return facts
    return None
