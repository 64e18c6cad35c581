"""What grows old, and what changed upstream: the model, its data, its libraries, the form of what lands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lockgate.core.ids import Json
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.judged import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """What a champion was made of, and what is there now.

    Attributes:
        lock: sha256 of the champion's lock of libraries; None where its bundle does not say.
        lock_now: Of the project's; None where there is none.
        refused: Why the newest landed file was quarantined; None where it was taken in, or none ever landed.
        landed: How many files landed.
    """

    lock: str | None = None
    lock_now: str | None = None
    refused: str | None = None
    landed: int = 0


def judge_ages(window: Window, upstream: Upstream) -> tuple[Finding, ...]:
    """Judge ages and changes upstream."""
    section, reference = window.section, window.reference
    return (
        _age(window, "age.model", reference.since, section.max_model_age_days, "the champion serves for"),
        _age(window, "age.data", reference.data_as_of, section.max_data_age_days, "what it learned from is older than"),
        _lock(window, upstream),
        _landed(window, upstream),
    )


def _age(window: Window, name: str, since: datetime | None, most: int | None, words: str) -> Finding:
    if since is None:
        return window.finding(name, Subject.AGE, state=State.NO_DATA, reason="the record does not say since when")
    days = (window.now - since).total_seconds() / 86_400
    over = most is not None and days > most
    return window.finding(
        name, Subject.AGE, state=State.NOISE if over else State.OK, observed=days,
        threshold=None if most is None else float(most), unit="days",
        harm=0.01 * days / most if over and most else 0.0, reason=f"{words} {days:.0f} days",
        next=f"lockgate release --model {window.reference.model}" if over else "",
    )  # fmt: skip


def _lock(window: Window, upstream: Upstream) -> Finding:
    if upstream.lock is None or upstream.lock_now is None:
        return window.finding("age.libraries", Subject.AGE, state=State.NO_DATA, reason="no lock to compare with")
    same = upstream.lock == upstream.lock_now
    evidence: dict[str, Json] = {"champion": upstream.lock, "now": upstream.lock_now}
    return window.finding(
        "age.libraries", Subject.AGE, state=State.OK if same else State.NOISE, evidence=evidence,
        harm=0.0 if same else 0.01,
        reason="libraries are those of the champion" if same else "libraries changed since the champion was made",
        next="" if same else "the next release runs on the new ones; lockgate diff shows which",
    )  # fmt: skip


def _landed(window: Window, upstream: Upstream) -> Finding:
    """Judge the newest landed file: one that lacks a column, or has it of another type, was quarantined."""
    if upstream.refused is None:
        state, reason = (
            (State.OK, "the newest file was taken in") if upstream.landed else (State.NO_DATA, "none landed")
        )
        return window.finding("age.schema", Subject.AGE, state=state, reason=reason)
    return window.finding(
        "age.schema", Subject.AGE, state=State.NOISE, harm=0.05, next="ask the source; lockgate history shows the file",
        reason=f"the newest landed file was quarantined: {upstream.refused}",
    )  # fmt: skip
