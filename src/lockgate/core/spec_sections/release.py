"""Who decides, how a bundle takes over, how it answers, and what starts the next release."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from lockgate.core.contract import LogPolicy, RequestPolicy
from lockgate.core.spec_sections.units import Positive, Seconds


class ApprovalMode(StrEnum):
    """Who decides."""

    HUMAN = "human"
    WHEN_ALL_PASS = "when_all_pass"  # noqa: S105 - not a password


class RolloutStrategy(StrEnum):
    """How a blessed bundle takes over."""

    BLUE_GREEN = "blue_green"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSection:
    """Who decides, and how long they have.

    Attributes:
        mode: human, or when_all_pass (forbidden for risk: high).
        timeout_s: After this the release expires.
        remind_before_s: The approvers are told again this long before it expires.
        approvers: Names that may decide; empty: anyone with access to the Prefect UI.
        four_eyes: The approver may not be who started the release.
        checklist: What the approver confirms, item by item.
    """

    mode: ApprovalMode = ApprovalMode.HUMAN
    timeout_s: Seconds = 72 * 3600.0
    remind_before_s: Seconds = 4 * 3600.0
    approvers: tuple[str, ...] = ()
    four_eyes: bool = False
    checklist: tuple[str, ...] = ("I read the dossier", "I know how to roll back")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSection:
    """How a blessed, approved bundle takes over.

    Attributes:
        strategy: blue_green: both warm, one switch, verified from live answers, previous kept warm.
        readback_requests: How many live answers must carry the new digest before the switch counts as verified.
        timeout_s: A switch that is not verified in this time is undone.
    """

    strategy: RolloutStrategy = RolloutStrategy.BLUE_GREEN
    readback_requests: Positive = 5
    timeout_s: Seconds = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSection:
    """How the server answers; part of the bundle's contract.

    Attributes:
        requests: What is done with a request that does not keep to the contract.
        log: What of a request the prediction log may hold. Without inputs nothing can be replayed against the next
            bundle.
    """

    requests: RequestPolicy = field(default_factory=RequestPolicy)
    log: LogPolicy = field(default_factory=LogPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingSection:
    """What starts a release.

    Attributes:
        schedule: Cron in UTC for the scheduled deployment; null: none.
        on_new_data: Whether a landed batch starts one.
    """

    schedule: str | None = None
    on_new_data: bool = True
