"""Judges everything of one champion's days, and folds it into one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from lockgate.core.ids import Digest, Json, ModelName, digest_of, to_json
from lockgate.core.monitoring.ages import Upstream, judge_ages
from lockgate.core.monitoring.burn_rate import judge_service
from lockgate.core.monitoring.estimate import judge_estimate
from lockgate.core.monitoring.findings import Finding, State, ranked, standing
from lockgate.core.monitoring.inputs import judge_inputs
from lockgate.core.monitoring.judged import Window
from lockgate.core.monitoring.outputs import judge_outputs
from lockgate.core.monitoring.reference import Reference
from lockgate.core.monitoring.summary import DaySummary
from lockgate.core.monitoring.truth import judge_truth
from lockgate.core.spec_sections.watching import MonitoringSection

SCHEMA_VERSION: Final = 1
RECORDED: Final = 20
"""Findings that are not OK in a row of the ledger, the worst first; ours: under 10 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorReport:
    """What one look at a champion came to.

    Attributes:
        schema_version: Version of this form.
        model: Whose.
        digest: The champion; None where there is none.
        at: When.
        state: `findings.standing` of all.
        days: How many days there are of it, and the first and last.
        findings: As shown, worst first.
        inputs: Digest of all that was judged: the same data give the same.
    """

    schema_version: int = SCHEMA_VERSION
    model: ModelName
    digest: Digest | None
    at: datetime
    state: State
    days: Mapping[str, Json] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    inputs: str = ""

    @property
    def cannot_say(self) -> bool:
        """Whether too little could be measured to call it clear."""
        return self.state in (State.NO_DATA, State.BROKEN)

    @property
    def sentence(self) -> str:
        """What it came to, in one line."""
        counts = {state: sum(each.state is state for each in self.findings) for state in State}
        said = {State.HARM: "harm", State.NOISE: "nothing but noise", State.OK: "all clear"}.get(
            self.state, "cannot say"
        )
        first = f": {self.findings[0].reason}" if self.findings and self.state is not State.OK else ""
        return (
            f"{self.model}: {said} ({counts[State.HARM]} harm, {counts[State.NOISE]} noise, {counts[State.OK]} clear, "
            f"{counts[State.NO_DATA] + counts[State.BROKEN]} not measured){first}"
        )

    def harmful(self) -> tuple[Finding, ...]:
        """Return what is harm."""
        return tuple(each for each in self.findings if each.state is State.HARM)

    def recorded(self) -> dict[str, Json]:
        """Return what the ledger keeps: counts of all, and the worst in short."""
        told = [each for each in self.findings if each.state is not State.OK][:RECORDED]
        counts = {state.value: sum(each.state is state for each in self.findings) for state in State}
        short: list[Json] = [to_json(replace(each, evidence={})) for each in told]
        return {
            "digest": self.digest, "state": self.state.value, "inputs": self.inputs, "days": dict(self.days),
            "counts": to_json(counts), "findings": short,
        }  # fmt: skip


def judge_window(  # noqa: PLR0913 - what is judged, and what it is held against; all but three are keywords
    days: Sequence[DaySummary],
    reference: Reference,
    section: MonitoringSection,
    *,
    now: datetime,
    ages: Upstream,
    label_delay_s: float,
    others: Sequence[Finding] = (),
) -> tuple[Finding, ...]:
    """Judge everything of one champion's days; worst first.

    Args:
        days: One a day, in any order; those of other bundles are left out.
        reference: What they are held against.
        section: The spec's.
        now: The time.
        ages: What is there upstream.
        label_delay_s: After this a label must be there.
        others: What was judged beside the days: the server's gauges, skew.
    """
    mine = sorted((day for day in days if day.digest == reference.digest), key=lambda day: day.day)
    window = Window(days=mine, reference=reference, section=section, label_delay_s=label_delay_s, now=now)
    return ranked((
        *judge_truth(window), *judge_estimate(window), *judge_service(window), *judge_inputs(window),
        *judge_outputs(window), *judge_ages(window, ages), *others,
    ))  # fmt: skip


def report_of(
    reference: Reference, days: Sequence[DaySummary], findings: Sequence[Finding], *, now: datetime
) -> MonitorReport:
    """Return the report of some findings."""
    mine = sorted(day.day for day in days if day.digest == reference.digest)
    seen = [(day.day, day.digest, day.files) for day in days]
    # what was measured, and what it led to: ages move by the second and are no new facts
    told = [(each.name, each.state.value) for each in findings]
    return MonitorReport(
        model=reference.model,
        digest=reference.digest,
        at=now,
        state=standing(findings),
        days={"n": len(mine), "first": mine[0] if mine else None, "last": mine[-1] if mine else None},
        findings=ranked(findings),
        inputs=digest_of([reference.digest, sorted(seen), sorted(told)]),
    )
