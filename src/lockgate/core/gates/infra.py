"""The infra gate: may this bundle be loaded and asked by the production server?

Judges what the sandbox measured (`stages/infra.py`). A sandbox that broke never comes here: that is a `SandboxError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Le

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.answered import none_wrong
from lockgate.core.gates.measured import count, names, number
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Seconds
from lockgate.core.spec_sections.units import Bytes
from lockgate.core.verdict import Check, Direction, GateReport, compare, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the server must manage with this bundle.

    Attributes:
        load_time_s: From the order to load until the model says it is ready: signature, manifest, session, warm-up.
            The slowest try counts.
        memory_bytes: Largest resident set of the server with this bundle alone. 1 GiB: the runtime takes about 0.15.
        tries: How often the server is started and loaded; every try must succeed.
    """

    load_time_s: Seconds = 30.0
    memory_bytes: Bytes = 1024**3
    tries: Annotated[int, Gt(0), Le(1_000)] = 3


_NONE_WRONG = (
    ("golden", "wrong", "wrong_answers", "answers differ from the golden ones: do not ship it"),
    (
        "edge",
        "bad",
        "edge_requests_failed",
        "unusual but valid requests got no finite answer; have the model impute",
    ),
    ("malformed", "accepted", "malformed_accepted", "malformed requests were not refused: see the sandbox's log"),
    (
        "malformed",
        "unnamed",
        "malformed_unnamed",
        "refusals do not name the wrong field: see the sandbox's log",
    ),
    ("answers", "server_errors", "server_errors", "the server answered 5xx: see the sandbox's log"),
)


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.infra.measure_infra`'s measurements; a number that is not there is an ERROR check."""
    seen = evidence.measurements
    checks = [*_starts(seen, thresholds), *_costs(seen, thresholds), *_answers(seen)]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _starts(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    tries = count(seen, "tries.made")
    why = names(seen, "tries.reasons") or "see the server's log in the release folder"
    return [
        compare(
            "tries_made",
            tries,
            thresholds.tries,
            Direction.AT_LEAST,
            unit="tries",
            reason="the server was started less often than the spec asks for; run validate_infra again",
        ),
        compare(
            "failed_tries",
            number(seen, "tries.failed"),
            0,
            Direction.EQUAL,
            unit="tries",
            n=tries,
            reason=f"every try to load, ask and stop the server counts, and some failed: {why}",
        ),
    ]


def _costs(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    tries = count(seen, "tries.made")
    return [
        compare(
            "load_time",
            number(seen, "load_s_max"),
            thresholds.load_time_s,
            Direction.AT_MOST,
            unit="s",
            n=tries,
            reason="the bundle loads too slowly; make the model smaller, or raise gates.infra.load_time_s",
        ),
        compare(
            "memory",
            number(seen, "peak_rss_bytes"),
            thresholds.memory_bytes,
            Direction.AT_MOST,
            unit="B",
            n=tries,
            reason="the server needs too much memory with this bundle; make the model smaller, or raise "
            "gates.infra.memory_bytes",
        ),
    ]


def _answers(seen: Mapping[str, Json]) -> list[Check]:
    """Make the checks on what was answered: the asked must be more than none, the wrong none."""
    return [none_wrong(seen, *each) for each in _NONE_WRONG]


GATE = Gate(
    name="infra", stage=Stage.INFRA, thresholds=Thresholds, judge=judge, title="Loads and answers in the server"
)
