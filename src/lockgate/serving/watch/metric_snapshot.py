"""What processes counted, as plain data: written by one, added up by another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

Kind = Literal["live", "forced", "probe", "shadow"]
Labelled: TypeAlias = dict[tuple[str, ...], float]
"""Samples by the values of their labels."""
_KEPT_FAILURES = 20


class Family(msgspec.Struct, array_like=True, frozen=True):
    """One metric with its samples.

    Attributes:
        name: As it is shown.
        kind: `counter` or `gauge`; a counter outlives its process.
        help: One sentence.
        labels: Names of the labels.
        values: By the labels' values.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    values: Labelled = {}


class ArmSnapshot(msgspec.Struct, array_like=True, frozen=True):
    """What one arm answered.

    Attributes:
        model: Name of the model.
        arm: Name of the arm.
        kind: Whether callers were assigned to it, forced it, only probed it, or never saw the answers.
        rows: Rows answered.
        seconds: Sum of the latencies.
        latency: Requests by bin of `sketch.LATENCY_S`.
        recent: Requests of the last minute.
        output: The output that the scores are of; empty without scores.
        scores: Rows by bin, one list a column of the output.
        totals: Sum of the scores, one a column.
    """

    model: str
    arm: str
    kind: Kind
    rows: int
    seconds: float
    latency: list[int]
    recent: int
    output: str
    scores: list[list[int]]
    totals: list[float]

    def plus(self, other: ArmSnapshot) -> ArmSnapshot:
        """Return both together; scores of another kind of output are left out."""
        scores, totals = self.scores or other.scores, self.totals or other.totals
        if self.output == other.output and len(self.scores) == len(other.scores):
            scores = [_sums(a, b) for a, b in zip(self.scores, other.scores, strict=True)]
            totals = [a + b for a, b in zip(self.totals, other.totals, strict=True)]
        return ArmSnapshot(
            model=self.model,
            arm=self.arm,
            kind=self.kind,
            rows=self.rows + other.rows,
            seconds=self.seconds + other.seconds,
            latency=_sums(self.latency, other.latency),
            recent=self.recent + other.recent,
            output=self.output or other.output,
            scores=scores,
            totals=totals,
        )


class Snapshot(msgspec.Struct, array_like=True, frozen=True):
    """What one process, or several, counted.

    Attributes:
        number: How many its process had taken before it; of several the sum.
        arms: One a model, arm and kind.
        families: All other metrics, one a name.
        failures: The last requests that failed inside: seconds since the epoch, and what failed; oldest first.
        problems: What does not work now though requests are answered, one sentence each.
    """

    number: int
    arms: list[ArmSnapshot]
    families: list[Family]
    failures: list[tuple[float, str]]
    problems: list[str] = []

    def ended(self) -> Snapshot:
        """Return what stays of it when its process is gone: what was counted, not what was the case."""
        return Snapshot(
            self.number,
            [msgspec.structs.replace(arm, recent=0) for arm in self.arms],
            [family for family in self.families if family.kind == "counter"],
            self.failures,
        )


class _Number(msgspec.Struct, array_like=True, frozen=True):
    number: int


def number_of(data: bytes) -> int:
    """Return the number of a snapshot that is encoded, without reading the rest."""
    return msgspec.msgpack.decode(data, type=_Number).number


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return several snapshots as one: everything is added up, but for what cannot be."""
    arms: dict[tuple[str, str, Kind], ArmSnapshot] = {}
    families: dict[str, Family] = {}
    failures: list[tuple[float, str]] = []
    problems: list[str] = []
    number = 0
    for snapshot in snapshots:
        number += snapshot.number
        failures += snapshot.failures
        problems += snapshot.problems
        for arm in snapshot.arms:
            key = (arm.model, arm.arm, arm.kind)
            arms[key] = arms[key].plus(arm) if key in arms else arm
        for family in snapshot.families:
            known = families.get(family.name)
            families[family.name] = family if known is None else _added(known, family)
    return Snapshot(
        number,
        list(arms.values()),
        list(families.values()),
        sorted(failures)[-_KEPT_FAILURES:],
        list(dict.fromkeys(problems)),
    )


def encode(snapshot: Snapshot) -> bytes:
    """Return a snapshot as bytes."""
    return msgspec.msgpack.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """Read a snapshot.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return msgspec.msgpack.decode(data, type=Snapshot)


def _added(one: Family, other: Family) -> Family:
    values = dict(one.values)
    for labels, value in other.values.items():
        values[labels] = _folded(one.name, values[labels], value) if labels in values else value
    return msgspec.structs.replace(one, values=values)


def _folded(name: str, one: float, other: float) -> float:
    match name:
        case "process_start_time_seconds":
            return min(one, other)
        case "lockgate_switches_total":  # every worker makes every change; the one that lived longest has seen most
            return max(one, other)
        case _:
            return one + other


def _sums(one: list[int], other: list[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]
