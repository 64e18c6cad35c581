"""What was measured, written down before it is judged, and enough to judge it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lockgate.core.ids import Digest, Json, ReleaseId, Stage, digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The measurements of one gate.

    Attributes:
        gate: The gate these are for.
        stage: The stage that measured.
        release: The release under judgement.
        measured_at: When, aware UTC.
        measured_on: Host name and platform, because latency and memory mean nothing without it.
        subjects: What was measured, by role (`spec`, `data`, `bundle`, `champion`): digests.
        measurements: JSON only; `judge(evidence, thresholds)` needs nothing else.
    """

    gate: str
    stage: Stage
    release: ReleaseId
    measured_at: datetime
    measured_on: str
    subjects: Mapping[str, str]
    measurements: Mapping[str, Json]

    @property
    def digest(self) -> Digest:
        """The sha256 of the whole evidence, which the ledger and the report carry."""
        return digest_of(self)
