"""What became of decisions: which champion answered which landed rows, and what the other answer would have given.

    took over      release R's bundle replaced another one: both are asked the rows that landed after R's data, until
                   the data of the next release that took over. Had we not retrained, the one before had answered them;
                   where it was put back meanwhile, it did.
    held back      the policy said no: the champion of then is asked the rows that landed since, until another one took
                   over, and held against its own holdout. What it lost is the most that a release could have saved.

Rows are told apart by versions of the table: they do not depend on anybody's clock, and on no retention of a log.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from lockgate.core.ids import Digest, Json
from lockgate.core.intervals import CONFIDENCE, Estimate, t_quantile
from lockgate.core.ledger import Event, LedgerRow


class Verdict(StrEnum):
    """What the rows say of a decision."""

    RIGHT = "right"
    WRONG = "wrong"
    UNCLEAR = "inconclusive"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class TookOver:
    """A bundle that replaced another one in production.

    Attributes:
        seq: The ledger's row.
        at: When.
        release: The release that brought it.
        bundle: What took over.
        before: What served until then.
        until: The bundle of the next release that took over; None where none did.
    """

    seq: int
    at: datetime
    release: str
    bundle: Digest
    before: Digest
    until: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """A time in which the policy said no, once or often.

    Attributes:
        seq: The first no's row.
        at: When it was said.
        trigger: What asked, of the first.
        why: What was answered, to the first.
        times: How often it was said.
        champion: What served; None where nothing did.
        after: The table's version then; None before the first batch.
        until: The bundle that took over next; None where none did, or where an earlier one was put back.
        until_version: The table's version when an earlier one was put back; else None.
    """

    seq: int
    at: datetime
    trigger: str
    why: str
    champion: Digest | None
    after: int | None
    until: Digest | None = None
    until_version: int | None = None
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """Another bundle serves production: from which row on, whether it had served before, at which table's version."""

    seq: int
    bundle: str
    put_back: bool
    version: int | None


def took_over(rows: Sequence[LedgerRow]) -> tuple[TookOver, ...]:
    """Return the take-overs of a model's rows, oldest first; what was put back (it had served before) is none."""
    changes = {each.seq: each for each in _changes(rows)}
    found: list[TookOver] = []
    for row in rows:
        before, change = row.payload.get("from"), changes.get(row.seq)
        if change is None or change.put_back or not before:
            continue
        until = next((each.bundle for each in changes.values() if each.seq > row.seq and not each.put_back), None)
        found.append(
            TookOver(seq=row.seq, at=row.at, release=str(row.release or ""), bundle=Digest(change.bundle),
                     before=Digest(str(before)), until=Digest(until) if until else None)
        )  # fmt: skip
    return tuple(found)


def held_back(rows: Sequence[LedgerRow]) -> tuple[HeldBack, ...]:
    """Return the times in which the policy said no, oldest first; the same champion and rows make one of several."""
    found: dict[tuple[object, ...], HeldBack] = {}
    changes = _changes(rows)
    champion: str | None = None
    version: int | None = None
    for row in rows:
        version = _version(row, version)
        if _is_change(row):
            champion = str(row.payload["to"])
        elif row.event is Event.RETRAINING_DECIDED and row.payload.get("train") is False:
            later = next((each for each in changes if each.seq > row.seq), None)
            key = (champion, version, None if later is None else later.seq)
            known = found.get(key)
            found[key] = _held(row, champion, version, later) if known is None else _again(known)
    return tuple(found.values())


def _held(row: LedgerRow, champion: str | None, version: int | None, later: _Change | None) -> HeldBack:
    trigger = row.payload.get("trigger")
    kind = trigger.get("kind") if isinstance(trigger, Mapping) else None
    put_back = later is not None and later.put_back
    return HeldBack(
        seq=row.seq, at=row.at, trigger=str(kind or "?"), why=str(row.payload.get("why", "")),
        champion=Digest(champion) if champion else None, after=version,
        until=None if later is None or put_back else Digest(later.bundle),
        until_version=later.version if later is not None and put_back else None,
    )  # fmt: skip


def _changes(rows: Sequence[LedgerRow]) -> list[_Change]:
    """Return when another bundle came to serve, oldest first."""
    served: set[str] = set()
    version: int | None = None
    found: list[_Change] = []
    for row in rows:
        version = _version(row, version)
        if _is_change(row):
            bundle = str(row.payload["to"])
            found.append(_Change(seq=row.seq, bundle=bundle, put_back=bundle in served, version=version))
            served |= {bundle, str(row.payload.get("from"))}
    return found


def _version(row: LedgerRow, before: int | None) -> int | None:
    """Return the table's version after a row."""
    taken = row.payload.get("table_version") if row.event is Event.BATCH_INGESTED else None
    return taken if isinstance(taken, int) else before


def _again(held: HeldBack) -> HeldBack:
    return replace(held, times=held.times + 1)


def _is_change(row: LedgerRow) -> bool:
    """Tell whether another bundle serves production since this row."""
    said = row.payload
    in_production = row.event is Event.TRAFFIC_VERIFIED and said.get("environment") == "production"
    return in_production and said.get("from") != said.get("to")


def unpaired(since: Estimate, before: Estimate, blocks: int) -> Estimate:
    """Return by how much `since` is more than `before`, two estimates of different rows.

    Args:
        since: The one.
        before: The other.
        blocks: Blocks of the one that has fewer.

    Source: Welch's statistic with the fewer degrees of freedom, which is the safe side.

    >>> a, b = (Estimate(value=v, low=0, high=0, se=s) for v, s in ((0.5, 0.03), (0.4, 0.04)))
    >>> found = unpaired(a, b, 21)
    >>> round(found.se, 6), round(found.low, 4)  # sqrt(9 + 16) / 100; .1 - 2.08596 * .05
    (0.05, -0.0043)
    """
    value, se = since.value - before.value, math.hypot(since.se, before.se)
    if not math.isfinite(se) or blocks < 3:
        nan = float("nan")
        return Estimate(value=value, low=nan, high=nan, se=nan)
    half = t_quantile((1.0 + CONFIDENCE) / 2, blocks - 1) * se
    return Estimate(value=value, low=value - half, high=value + half, se=se)


def verdict_of(gain: Estimate | None) -> Verdict:
    """Return what a gain of the decision that was taken says of it; positive is better."""
    if gain is None or not (math.isfinite(gain.low) and math.isfinite(gain.high)):
        return Verdict.NOT_MEASURED
    return Verdict.RIGHT if gain.low > 0 else Verdict.WRONG if gain.high < 0 else Verdict.UNCLEAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was measured of one decision.

    Attributes:
        verdict: What it says.
        reason: Why it was not measured; else one sentence.
        n: Rows.
        blocks: Blocks they are in.
        metrics: By name: for a take-over `now`, `before` and `gain`; for a no `since`, `holdout` and `worse`.
        unanswered: Labelled rows that were answered with no number, and are not among `n`, by who or what they are of:
            for a take-over `now`, `before`, and `either` of them; for a no `since` and `holdout`.
    """

    verdict: Verdict
    reason: str
    n: int = 0
    blocks: int = 0
    metrics: Mapping[str, Json] = field(default_factory=dict)
    unanswered: Mapping[str, int] = field(default_factory=dict)


def summary(took: Sequence[tuple[TookOver, Told]], held: Sequence[tuple[HeldBack, Told]]) -> str:
    """Return one line for the record and the board."""
    counted = (*_counted("took over", [told for _, told in took]), *_counted("held back", [told for _, told in held]))
    return f"looked back: {'; '.join(counted) or 'no decision yet'}"


def _counted(what: str, told: Sequence[Told]) -> Iterator[str]:
    if told:
        each = [f"{sum(one.verdict is verdict for one in told)} {verdict.value}" for verdict in Verdict]
        yield f"{what} {len(told)} times ({', '.join(one for one in each if not one.startswith('0 '))})"
