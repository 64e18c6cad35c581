"""Measurements of a good candidate, as the stages write them, for tests that then break one number."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import ReleaseId
from lockgate.core.verdict import GateReport

GOLDEN = {"asked": 32, "wrong": 0, "wrong_names": []}
MALFORMED = {"asked": 30, "accepted": 0, "accepted_names": [], "unnamed": 0, "unnamed_names": []}
ANSWERS = {"asked": 90, "server_errors": 0, "server_errors_names": []}

INFRA: dict[str, Any] = {
    "bundle": "b" * 64,
    "tries": {"made": 3, "failed": 0, "reasons": []},
    "load_s_max": 0.4,
    "peak_rss_bytes": 120_000_000,
    "golden": GOLDEN,
    "edge": {"asked": 24, "bad": 0, "bad_names": []},
    "malformed": MALFORMED,
    "answers": ANSWERS,
}

STEADY = {
    "asked": 144,
    "achieved_rps": 50.0,
    "p95_ms": 5.0,
    "p95_upper_ms": 9.0,
    "p99_ms": 12.0,
    "p99_upper_ms": 13.0,
    "both_p95_ms": 5.5,
}
ARM = {
    "asked": 310,
    "error_fraction": 0.0,
    "errors": {},
    "steady": STEADY,
    "locust": {"asked": 96, "p95_ms": 6.0},
    "spike": {"asked": 60, "p95_ms": 8.0},
    "server": {"sent": 240, "asked": 240, "p95_ms": 1.0, "p95_low_ms": 0.5},
}
RATIO = {"estimate": 1.1, "low": 0.9, "high": 1.3, "se": 0.08}
SELF = {"estimate": 1.05, "low": 0.8, "high": 1.25, "se": 0.1}
STRESS: dict[str, Any] = {
    "generator": {"asked": 72, "p95_ms": 3.0, "late_p95_ms": 1.0, "achieved_fraction": 1.0},
    "challenger": copy.deepcopy(ARM),
    "died": {},
    "champion": copy.deepcopy(ARM),
    "ratio": {"p50": RATIO, "p95": RATIO},
    "self_ratio": {"arm": "champion", "p50": SELF, "p95": SELF},
    "knee": {"rps": 400.0, "first_beyond_rps": 800.0, "limited_by": "server"},
    "memory": {"challenger": {"estimate": 600.0, "low": -200.0, "high": 1400.0, "grown_bytes": 9e6, "requests": 240}},
}

STAGING: dict[str, Any] = {
    "bundle": "b" * 64,
    "champion": "a" * 64,
    "switch": {"verified": True, "sequence": 7},
    "readback": {"asked": 5, "other_digests": 0, "sequence": 7},
    "smoke": {"asked": 7, "failed": 0, "failed_names": []},
    "golden": GOLDEN,
    "edge": {"asked": 24, "bad": 0, "bad_names": []},
    "malformed": MALFORMED,
    "answers": ANSWERS,
    "replay": {"asked": 400, "agreement_fraction": 0.97},
}


def changed(measurements: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with one value set; `...` takes the key away."""
    copied = copy.deepcopy(measurements)
    at = copied
    *steps, last = path.split(".")
    for step in steps:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return copied


def judged(gate: Gate, measurements: Any, **thresholds: Any) -> GateReport:
    evidence = Evidence(
        gate=gate.name,
        stage=gate.stage,
        release=ReleaseId("toy-0001"),
        measured_at=datetime(2013, 3, 1, tzinfo=UTC),
        measured_on="a machine",
        subjects={"bundle": "b" * 64},
        measurements=measurements,
    )
    return gate.judge(evidence, gate.thresholds(**thresholds))
