"""The staging gate: does staging really serve this bundle, and does it keep its contract over HTTP?

Judges what `stages/staging.py` measured. The replay of production requests is advisory unless the spec binds it: a
challenger may be right to disagree with the champion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Le

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.answered import none_wrong
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Fraction, Positive
from lockgate.core.verdict import Check, Direction, GateReport, compare, not_applicable, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What staging must show.

    Attributes:
        readback_requests: How many live answers must carry the bundle's digest.
        agreement_fraction: Least share of replayed production requests that get the same decision; null: shown, not
            judged.
        replay_min: With fewer replayed requests the share says nothing.
    """

    readback_requests: Annotated[int, Gt(0), Le(10_000)] = 5
    agreement_fraction: Fraction | None = None
    replay_min: Positive = 200


_NONE_WRONG = (
    (
        "smoke",
        "failed",
        "smoke_failed",
        "health, readiness, metadata or OpenAPI is wrong: see staging's log",
    ),
    ("golden", "wrong", "wrong_answers", "answers differ from the golden ones: do not ship it"),
    ("edge", "bad", "edge_requests_failed", "unusual but valid requests were not answered finite"),
    ("malformed", "accepted", "malformed_accepted", "malformed requests were not refused: see staging's log"),
    ("malformed", "unnamed", "malformed_unnamed", "refusals do not name the field that is wrong: see staging's log"),
    ("answers", "server_errors", "server_errors", "the server answered 5xx: see staging's log"),
)


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.staging.deploy_staging`'s measurements; a number that is not there is an ERROR check."""
    seen = evidence.measurements
    checks = [*_readback(seen, thresholds)]
    checks += [none_wrong(seen, *each) for each in _NONE_WRONG]
    checks.append(_agreement(seen, thresholds))
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _readback(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    asked = count(seen, "readback.asked")
    verified = value_at(seen, "switch.verified")
    return [
        compare(
            "switch_verified",
            float(verified) if isinstance(verified, bool) else None,
            1,
            Direction.EQUAL,
            reason=f"staging could not be switched to the bundle, see staging's log: {value_at(seen, 'switch.reason')}",
        ),
        compare(
            "readback_digest",
            number(seen, "readback.other_digests"),
            0,
            Direction.EQUAL,
            unit="answers",
            n=asked or 0,
            n_min=thresholds.readback_requests,
            reason="live answers do not carry the digest of the bundle that was staged; see staging's log",
        ),
    ]


def _agreement(seen: Mapping[str, Json], thresholds: Thresholds) -> Check:
    if "champion" in seen and seen["champion"] is None:
        return not_applicable(
            "replay_agreement",
            Direction.AT_LEAST,
            "there never was a champion whose requests could be replayed",
            threshold=thresholds.agreement_fraction,
            unit="fraction",
            required=thresholds.agreement_fraction is not None,
        )
    asked = count(seen, "replay.asked") or 0
    return compare(
        "replay_agreement",
        number(seen, "replay.agreement_fraction"),
        thresholds.agreement_fraction or 0.0,
        Direction.AT_LEAST,
        unit="fraction",
        n=asked,
        n_min=thresholds.replay_min,
        required=thresholds.agreement_fraction is not None,
        reason="challenger and champion decide differently on recent production requests; look at the slices, or wait "
        "until production has been asked more",
    )


GATE = Gate(
    name="staging", stage=Stage.STAGING, thresholds=Thresholds, judge=judge, title="Staged and kept its contract"
)
