"""What a page shows of a tally beside its evidence: bounded, and no verdict follows from it."""

from __future__ import annotations

from typing import Final

from lockgate.core.ids import Json
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.rollout.tally_counted import SCORE
from lockgate.core.rollout.tally_intake import Intake
from lockgate.core.rollout.tally_pairs import Window

_QUANTILES: Final = {"0.5": 0.5, "0.95": 0.95, "0.99": 0.99}
_STRATA_SHOWN: Final = 50


def shown(intake: Intake, window: Window, *, outside: int, lost: int) -> dict[str, Json]:
    """Return the page's account of a tally.

    Args:
        intake: What was counted.
        window: What waits for its other half.
        outside: Requests that counted nowhere by themselves.
        lost: Requests that cannot be read any more.
    """
    return {
        CHAMPION: _arm(intake, 0),
        CHALLENGER: _arm(intake, 1),
        "by_share": [
            {"share": each.share, CHAMPION: each.entities[0], CHALLENGER: each.entities[1]}
            for each in intake.strata.whole().live()[-_STRATA_SHOWN:]
        ],
        "pairs": {**intake.agreement.shown(), "copies_without_live_answer": window.unpaired},
        "labels": {
            "coverage_fraction": intake.losses.coverage(),
            "entities_answered": list(intake.losses.answered),
            "entities_counted": list(intake.losses.counted),
            "unusable": intake.losses.unusable,
            "answers_given_up": intake.losses.forgotten,
        },
        "worth": None if intake.rewards is None else intake.rewards.shown(),
        "not_counted": {
            "outside_requests": outside,
            "lost_requests": lost,
            "requests_of_entities_too_many": intake.entities.not_observed,
            "requests_of_shares_too_many": intake.strata.refused,
            "late_latencies": 0 if intake.blocks is None else intake.blocks.late,
            "unknown_kpis": intake.kpis.unknown,
        },
    }


def _arm(intake: Intake, arm: int) -> dict[str, Json]:
    requests, failed = intake.requests[arm], intake.failed[arm]
    scores = [each.values[SCORE][arm] for each in intake.strata.all if SCORE in each.values]
    n = sum(each.n for each in scores)
    return {
        "requests": requests,
        "failed": failed,
        "failed_fraction": failed / requests if requests else None,
        "entities": sum(each.entities[arm] for each in intake.strata.all),
        "entities_failed": sum(each.failures[arm] for each in intake.strata.all),
        "entities_flagged": sum(each.flags[arm] for each in intake.strata.all),
        "mean_score": sum(each.total for each in scores) / n if n else None,
        "latency_ms": dict(zip(_QUANTILES, intake.histograms[arm].quantiles_ms(_QUANTILES.values()), strict=True)),
    }
