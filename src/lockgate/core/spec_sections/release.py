"""Who decides, and how a bundle answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from lockgate.core.contract import LogPolicy, RequestPolicy
from lockgate.core.spec_sections.units import Seconds


class ApprovalMode(StrEnum):
    """Who decides."""

    HUMAN = "human"
    WHEN_ALL_PASS = "when_all_pass"  # noqa: S105 - not a password


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSection:
    """Who decides, and how long they have.

    Attributes:
        mode: human, or when_all_pass (forbidden for risk: high).
        timeout_s: After this the release expires.
        remind_before_s: The approvers are told again this long before it expires.
        approvers: Names that may decide; empty: anyone with access to the Prefect UI, or, once people were added with
            `lockgate approver add`, anybody of the role approver.
        four_eyes: The approver may not be who started the release; one that nobody is known to have started (schedule,
            landed data) needs two different people. Not with when_all_pass.
        checklist: What the approver confirms, item by item.
    """

    mode: ApprovalMode = ApprovalMode.HUMAN
    timeout_s: Seconds = 72 * 3600.0
    remind_before_s: Seconds = 4 * 3600.0
    approvers: tuple[str, ...] = ()
    four_eyes: bool = False
    checklist: tuple[str, ...] = ("I read the dossier", "I know how to roll back")


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
