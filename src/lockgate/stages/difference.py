"""Two releases of one model side by side: what they are made of, how they were judged, what was measured.

Pure over ledger rows and what is known of each bundle (`Sheet`). Every fact has a group and a name; facts of one name
are compared, and one that only one release has differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lockgate.core.estimates import number, read_estimate, within
from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.model_state import project
from lockgate.stages.history import last_of, rows_of
from lockgate.stages.recording import newest_reports

Value: TypeAlias = str | float | None
Sheet: TypeAlias = Mapping[str, Mapping[str, str | float]]
"""What is known of a release beyond the ledger: by group ("lock", "size", ...), name to value."""

GROUPS = ("release", "spec", "data", "code", "lock", "parameters", "metrics", "verdicts", "checks", "size")
"""In the order they are shown; a sheet's other groups follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact of two releases.

    Attributes:
        group: What it is a fact of, one of `GROUPS` or a sheet's.
        what: Its name: a digest's role, a parameter, a metric, a gate, or `gate.check` (with its slice).
        first: The first release's; None where it has none.
        second: The second's.
        first_interval: The interval of the first, where it was measured with one.
        second_interval: The second's.
        differs: Whether the two are not equal.
    """

    group: str
    what: str
    first: Value
    second: Value
    first_interval: tuple[float, float] | None
    second_interval: tuple[float, float] | None
    differs: bool


@dataclass(frozen=True, slots=True)
class _Fact:
    value: Value
    interval: tuple[float, float] | None = None


_Facts: TypeAlias = dict[tuple[str, str], _Fact]


def diff(  # noqa: PLR0913 - two releases with two sheets, and whether to show all
    rows: Sequence[LedgerRow],
    first: ReleaseId,
    second: ReleaseId,
    *,
    first_sheet: Sheet | None = None,
    second_sheet: Sheet | None = None,
    everything: bool = False,
) -> tuple[Difference, ...]:
    """Return what differs between two releases of one model, group by group; with `everything` also what does not.

    Raises:
        BadInput: The record holds no such release.
    """
    one, two = _facts(rows, first, first_sheet or {}), _facts(rows, second, second_sheet or {})
    listed = [_compared(key, one.get(key), two.get(key)) for key in dict.fromkeys((*one, *two))]
    shown = [each for each in listed if each.differs or everything]
    return tuple(sorted(shown, key=lambda each: _place(each.group)))


def _place(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def _compared(key: tuple[str, str], one: _Fact | None, two: _Fact | None) -> Difference:
    return Difference(
        group=key[0],
        what=key[1],
        first=None if one is None else one.value,
        second=None if two is None else two.value,
        first_interval=None if one is None else one.interval,
        second_interval=None if two is None else two.interval,
        differs=(None if one is None else one.value) != (None if two is None else two.value),
    )


def _facts(rows: Sequence[LedgerRow], release: ReleaseId, sheet: Sheet) -> _Facts:
    mine = rows_of(rows, release)
    outcome = project(rows).outcomes.get(release)
    found: _Facts = {("release", "outcome"): _Fact(None if outcome is None else outcome.value)}
    found.update(_digests(mine))
    measured = {
        str(row.payload.get("gate")): row.payload.get("measurements") for row in mine if row.event is Event.EVIDENCE
    }
    found.update(_data(within(measured.get("schema"), "snapshot")))
    found.update(_named("parameters", within(measured.get("training"), "parameters")))
    found.update(_metrics(within(measured.get("quality"), "metrics")))
    found.update(_judged(mine))
    for group, facts in sheet.items():
        found.update({(group, name): _Fact(value) for name, value in facts.items()})
    return found


def _digests(mine: Sequence[LedgerRow]) -> Iterator[tuple[tuple[str, str], _Fact]]:
    places = {"spec": "spec", "code": "code", "data": "data", "bundle": "release", "champion": "release"}
    opened, blessed, made = (last_of(mine, each) for each in (Event.RELEASE_OPENED, Event.BLESSING, Event.BUNDLE))
    for row, names in (
        (opened, ("spec", "code")),
        (made, ("data", "bundle")),
        (blessed, ("data", "bundle", "champion")),
    ):
        held = {} if row is None else row.payload.get("subjects", row.payload)
        for name in names:
            if within(held, name):
                yield (places[name], name), _Fact(str(within(held, name)))


def _data(snapshot: Json) -> Iterator[tuple[tuple[str, str], _Fact]]:
    for name in ("as_of", "table_version"):
        value = within(snapshot, name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield ("data", name), _Fact(value)
    for name in ("rows", "unlabelled"):
        for part, value in _items(within(snapshot, name)):
            yield ("data", f"{name}.{part}"), _Fact(number(value))


def _named(group: str, given: Json) -> Iterator[tuple[tuple[str, str], _Fact]]:
    for name, value in _items(given):
        plain = isinstance(value, int | float | str) and not isinstance(value, bool)
        yield (group, name), _Fact(value if plain and isinstance(value, int | float | str) else str(value))


def _metrics(given: Json) -> Iterator[tuple[tuple[str, str], _Fact]]:
    for name, value in _items(given):
        found = read_estimate(value)
        interval = None if found is None else (found["low"], found["high"])
        yield ("metrics", name), _Fact(number(within(value, "estimate")), interval)


def _judged(mine: Sequence[LedgerRow]) -> Iterator[tuple[tuple[str, str], _Fact]]:
    for report in newest_reports(mine):
        yield ("verdicts", report.gate), _Fact(report.verdict.value)
        for check in report.checks:
            place = check.name if check.slice == "all" else f"{check.name} ({check.slice})"
            value = check.observed if check.estimate is None else check.estimate
            yield ("checks", f"{report.gate}.{place}"), _Fact(value, check.interval)
    thresholds = {
        str(row.payload.get("gate")): row.payload.get("thresholds") for row in mine if row.event is Event.VERDICT
    }
    for gate, held in thresholds.items():
        for (_, name), fact in _named("", held):
            yield ("spec", f"gates.{gate}.{name}"), fact


def _items(given: Json) -> Sequence[tuple[str, Json]]:
    return tuple(given.items()) if isinstance(given, Mapping) else ()
