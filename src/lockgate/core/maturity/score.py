"""The score: every test asked of one record, the sum of each area, the least of the four, and how it went over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lockgate.core.ids import ReleaseId
from lockgate.core.maturity import data, infrastructure, model, monitoring
from lockgate.core.maturity.record import Answer, Area, Finding, Record

TESTS = (*data.TESTS, *model.TESTS, *infrastructure.TESTS, *monitoring.TESTS)
"""One function a test, in the rubric's order; each takes a `Record` and returns its `Finding`."""

_MEANINGS = (
    (0.0, "more of a research project than a productionised system"),
    (1.0, "not totally untested, but serious holes in reliability are likely"),
    (2.0, "a first pass at basic productionisation; more is needed"),
    (3.0, "reasonably tested; more of it could be automated"),
    (5.0, "strong automated testing and monitoring, fit for mission-critical systems"),
    (7.0, "exceptional automated testing and monitoring"),
)
"""Upper end of each band and its meaning: Breck et al. 2017, table "Interpreting an ML Test Score", abridged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The ML Test Score of one release.

    Attributes:
        release: Which.
        findings: One a test, in the rubric's order.
        areas: Sum of each area, 0 to 7.
        score: The least of the four, 0 to 7.
    """

    release: ReleaseId
    findings: tuple[Finding, ...]
    areas: Mapping[Area, float]
    score: float


def assess(record: Record) -> Assessment:
    """Ask every test of one release's record."""
    findings = tuple(ask(record) for ask in TESTS)
    areas = {area: sum(each.answer.value for each in findings if each.area is area) for area in Area}
    return Assessment(release=record.release, findings=findings, areas=areas, score=min(areas.values()))


def trend(records: Sequence[Record]) -> tuple[Assessment, ...]:
    """Return the assessment of each release, in the order given."""
    return tuple(assess(each) for each in records)


def meaning(score: float) -> str:
    """Return what the rubric says of a score.

    >>> meaning(0.0), meaning(2.5)
    ('more of a research project than a productionised system', 'reasonably tested; more of it could be automated')
    """
    return next(words for most, words in _MEANINGS if score <= most)


__all__ = ["TESTS", "Answer", "Area", "Assessment", "Finding", "assess", "meaning", "trend"]
