"""Messages: which rows of the record people are told of, in which words, and which nobody took yet.

A row names the message that tells of it, so a message is made from the record alone: whoever makes it again makes the
same one, with the same id. The id is the receiver's idempotency key: an alert's key and the number of its message.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lockgate.core.alerting.alert import Action, action_of, harm_order, key_of_row, number
from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import LedgerRow

LISTED = 20
"""So many alerts of one message are listed by name. Ours: the rest is a command away."""
_FIGURES = 6
_FIRST = ("observed", "threshold", "unit")
_STORM = "storm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent.

    Attributes:
        id: The idempotency key.
        model: Whose record it comes from.
        title: One line.
        body: The rest, plain text.
        at: When it was put on record.
    """

    id: str
    model: ModelName
    title: str
    body: str
    at: datetime


def message_id(key: str, messages: int) -> str:
    """Return the id of an alert's next message.

    >>> message_id("toy:loss", 2)
    'toy:loss#3'
    """
    return f"{key}#{messages + 1}"


def storm_id(model: str, rows: Iterable[LedgerRow]) -> str:
    """Return the id of a model's next message of many alerts."""
    told = {each for row in rows if (each := str(row.payload.get("message") or "")).startswith(f"{model}:{_STORM}#")}
    return message_id(f"{model}:{_STORM}", len(told))


def on_record(rows: Iterable[LedgerRow]) -> dict[str, list[LedgerRow]]:
    """Return the rows that each message tells of, in the order the messages came on record."""
    found: dict[str, list[LedgerRow]] = {}
    for row in rows:
        message = row.payload.get("message")
        if message and action_of(row) not in (None, Action.DELIVERED):
            found.setdefault(str(message), []).append(row)
    return found


def pending(rows: Sequence[LedgerRow]) -> tuple[Message, ...]:
    """Return the messages that are on record and not recorded as delivered, oldest first.

    A reminder (`repeated`) that was never delivered gives way to whatever was said of its alerts since.

    Args:
        rows: One model's rows of alerts, in order.
    """
    delivered = {str(row.payload.get("message")) for row in rows if action_of(row) is Action.DELIVERED}
    found = on_record(rows)
    newest = {key_of_row(row): message for message, told in found.items() for row in told}
    wanted = {
        message: told
        for message, told in found.items()
        if message not in delivered and not _outdated(message, told, newest)
    }
    return tuple(_message(message, told) for message, told in wanted.items())


def _outdated(message: str, told: Sequence[LedgerRow], newest: Mapping[str, str]) -> bool:
    return all(action_of(row) is Action.REPEATED and newest[key_of_row(row)] != message for row in told)


def _message(message: str, told: Sequence[LedgerRow]) -> Message:
    worst = sorted(told, key=lambda row: (harm_order(number(row.payload.get("harm"))), row.seq))
    title, body = (_one(worst[0]), _body_of_one(worst[0])) if len(told) == 1 else (_many(told), _body_of_many(worst))
    model = told[0].model
    listing = f"All of {model}: lockgate alert list {model}"
    said = f"Recorded {told[0].at:%Y-%m-%d %H:%M:%S} UTC; message {message}"
    return Message(
        id=message, model=model, title=f"{title} ({message})", body=f"{body}\n\n{listing}\n{said}", at=told[0].at
    )


def _one(row: LedgerRow) -> str:
    return f"Lockgate alert {action_of(row)}: {key_of_row(row)}"


def _body_of_one(row: LedgerRow) -> str:
    given = row.payload
    lines = [str(given.get("reason") or "")]
    if action_of(row) is not Action.CLOSED:
        lines.append(f"Harm {harm_words(number(given.get('harm')))}; owner: {given.get('owner') or 'nobody'}")
    figures = _figures(given.get("evidence"))
    if figures:
        lines.append(f"Evidence: {figures}")
    if given.get("next"):
        lines.append(f"Next: {given['next']}")
    if action_of(row) is not Action.CLOSED:
        lines.append(f"Say that you are at it: lockgate alert ack {quoted(key_of_row(row))}")
    return "\n".join(lines)


def _many(told: Sequence[LedgerRow]) -> str:
    counts = {
        action: sum(action_of(row) is action for row in told)
        for action in (Action.RAISED, Action.REPEATED, Action.CLOSED)
    }
    said = ", ".join(f"{count} {action}" for action, count in counts.items() if count)
    return f"Lockgate: {len(told)} alerts of {told[0].model} at once: {said}"


def _body_of_many(worst: Sequence[LedgerRow]) -> str:
    lines = [f"{number_}. {_listed(row)}" for number_, row in enumerate(worst[:LISTED], start=1)]
    if len(worst) > LISTED:
        lines.append(f"and {len(worst) - LISTED} more")
    owners = dict.fromkeys(str(row.payload.get("owner") or "nobody") for row in worst)
    return "\n".join(["The worst first:", *lines, f"Owner: {', '.join(owners)}"])


def _listed(row: LedgerRow) -> str:
    action = action_of(row)
    harm = "" if action is Action.CLOSED else f", harm {harm_words(number(row.payload.get('harm')))}"
    return f"{action} {key_of_row(row)}{harm}: {row.payload.get('reason')}"


def harm_words(harm: float) -> str:
    """Return a harm as people read it.

    >>> harm_words(0.01234), harm_words(float("nan")), harm_words(float("inf"))
    ('0.0123', 'unknown', 'unbounded')
    """
    return {"nan": "unknown", "inf": "unbounded"}.get(str(harm), f"{harm:.3g}")


def quoted(key: str) -> str:
    """Return a key as a shell takes it."""
    return shlex.quote(key)


def _figures(evidence: Json) -> str:
    """Return the first plain figures of an evidence in one line."""
    given = evidence if isinstance(evidence, Mapping) else {}
    named = [*_FIRST, *(name for name in given if name not in _FIRST)]
    plain = [(name, given.get(name)) for name in named]
    said = [
        f"{name} {_figure(value)}"
        for name, value in plain
        if isinstance(value, bool | int | float | str) and value != ""
    ]
    return ", ".join(said[:_FIGURES])


def _figure(value: bool | float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
