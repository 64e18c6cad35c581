"""Stage 11: the last look before a bundle becomes champion of production, then the switch (`stages/traffic.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.core.approval_rules import approvals, needed_on_record
from lockgate.core.blessing import Blessing
from lockgate.core.ids import Digest, Json, ReleaseId, digest_of
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import ApprovalVoid, NotBlessed
from lockgate.stages.overriding import no_longer_overridden
from lockgate.stages.traffic import Switch, settle, switch_traffic

_DECIDING = (Event.RELEASE_OPENED, Event.RELEASE_ASKED, Event.APPROVAL_ASKED, Event.APPROVAL_GIVEN)


def promote(switch: Switch, blessing: Blessing, staging: GateReport, dossier: Digest, *, why: str) -> LedgerRow:
    """Make a blessed, staged and approved bundle the champion; return the verified row. Run again, it promotes once.

    Args:
        switch: Production.
        blessing: Proof of the gates of stages 1 to 7.
        staging: The staging gate's report, over evidence about this bundle that the ledger holds.
        dossier: Digest of the dossier as it is now; the approval must be of the same.
        why: One sentence for `lockgate status`.

    Raises:
        NotBlessed: The staging gate did not pass for this bundle.
        ApprovalVoid: Too few people approved, the blessing, the dossier or the champion is not what was approved, or an
            override that it needs was withdrawn.
        RolloutAborted: The bundle could not be verified in production; the champion before serves.
        LedgerConflict: Another controller changed the traffic meanwhile.
    """
    subjects = blessing.subjects
    require_allowed(switch, blessing, staging, dossier)
    settle(switch, unless=(subjects.release, subjects.bundle))
    _require_champion(switch, blessing)
    return switch_traffic(switch, subjects.release, subjects.bundle, why=why)


def require_allowed(switch: Switch, blessing: Blessing, staging: GateReport, dossier: Digest) -> None:
    """Check that a bundle may have production's traffic, be it a share of it or all; changes nothing.

    Raises:
        NotBlessed: The staging gate did not pass for this bundle.
        ApprovalVoid: Too few people approved, the blessing, the dossier or the champion is not what was approved, or an
            override that it needs was withdrawn.
    """
    _require_staged(switch, blessing, staging)
    _require_approved(switch, blessing, dossier)
    if switch.traffic().pending is None:
        _require_champion(switch, blessing)


def _require_champion(switch: Switch, blessing: Blessing) -> None:
    subjects, traffic = blessing.subjects, switch.traffic()
    if (subjects.release, subjects.bundle) not in traffic.promoted and traffic.champion != subjects.champion:
        raise ApprovalVoid(
            f"{subjects.release} was compared with champion {subjects.champion}, and {traffic.champion} serves now; "
            "start a new release",
            release=subjects.release,
        )


def _require_staged(switch: Switch, blessing: Blessing, staging: GateReport) -> None:
    subjects = blessing.subjects
    if staging.gate != "staging" or staging.verdict is not Verdict.PASS or staging.evidence is None:
        raise NotBlessed(f"gate {staging.gate} said {staging.verdict}: {staging.reason}", gate=staging.gate)
    for row in switch.ledger.rows(switch.model, release=subjects.release, events=(Event.EVIDENCE,)):
        about = row.payload.get("subjects")
        if digest_of(row.payload) == staging.evidence and isinstance(about, Mapping):
            if about.get("bundle") == subjects.bundle:
                return
            break
    raise NotBlessed(
        f"the ledger holds no staging evidence about bundle {subjects.bundle} of {subjects.release}; stage it again",
        gate="staging",
    )


def _require_approved(switch: Switch, blessing: Blessing, dossier: Digest) -> None:
    subjects = blessing.subjects
    asked = (Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED)
    answers = switch.ledger.rows(switch.model, release=subjects.release, events=asked)
    if not answers or answers[-1].event is not Event.APPROVAL_GIVEN:
        raise ApprovalVoid(f"{subjects.release} is not approved; approve it first", release=subjects.release)
    ships: dict[str, Json] = {"blessing": blessing.digest, "dossier": dossier, "champion": subjects.champion}
    for what, now in ships.items():
        then = answers[-1].payload.get(what)
        if then != now:
            raise ApprovalVoid(
                f"the approval of {subjects.release} was for {what} {then}, and what would ship has {now}; "
                "start a new release",
                release=subjects.release,
                what=what,
            )
    _require_enough(switch, subjects.release, ships)
    withdrawn = no_longer_overridden(switch.ledger, switch.model, blessing)
    if withdrawn is not None:
        raise ApprovalVoid(withdrawn, release=subjects.release)


def _require_enough(switch: Switch, release: ReleaseId, ships: Mapping[str, Json]) -> None:
    """Check that as many different people approved this as its spec and its starter ask for."""
    rows = switch.ledger.rows(switch.model, events=_DECIDING)
    needed, given = needed_on_record(rows, release), approvals((row for row in rows if row.release == release), ships)
    if len(given) < needed:
        who = ", ".join(str(row.payload.get("approver")) for row in given) or "nobody"
        raise ApprovalVoid(
            f"{release} needs {needed} different people's approval and has that of {who}; another approves it first",
            release=release,
        )
