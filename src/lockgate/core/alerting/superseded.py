"""Alerts about the quality of a champion that serves no more: no run measures it again, so none would ever close them.

    quality.loss, quality.skill, quality.slice:...    are of one bundle's answers, and end with its time in production
    everything else (labels, service, drills ...)     is of the model whoever serves, and stays as it is

Since when a bundle is told of is in the alert's evidence (`bundle`); of an older row its time says so. What the new
champion does is found out by its own runs, under the same key: an alarm of it is never closed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from lockgate.core.alerting.alert import Action, Alert, action_of, alert_key, fold, key_of_row
from lockgate.core.alerting.watchdog import Noticed
from lockgate.core.ids import Digest
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.model_state import Serving
from lockgate.core.monitoring.findings import Finding

TOLD_BY: Final = (Event.ALERT, Event.TRAFFIC_VERIFIED)
SUPERSEDED: Final = "superseded"
"""The state of such a finding: it closes, and says that nothing was measured."""
BUNDLE: Final = "bundle"
_OF_A_BUNDLE: Final = ("quality.loss", "quality.skill", "quality.slice")
_SHORT: Final = 12


def of_bundle(findings: Iterable[Finding], bundle: Digest, serving: Digest | None) -> tuple[Finding, ...]:
    """Return findings, those about the quality of what serves with the bundle that they are of.

    Args:
        findings: Of one look.
        bundle: What was looked at.
        serving: What serves by now. Where that is another one, what was found of the quality of the one before is left
            out: it may neither raise nor close an alert under the key of who serves. The look's own row holds it.
    """
    return tuple(
        replace(each, evidence={**each.evidence, BUNDLE: bundle}) if _is_of_a_bundle(each.name) else each
        for each in findings
        if bundle == serving or not _is_of_a_bundle(each.name)
    )


def superseded(rows: Sequence[LedgerRow], champion: Serving, model: str, now: datetime) -> tuple[Noticed, ...]:
    """Return what closes the open alerts that are of another bundle than the one that serves.

    Args:
        rows: The model's rows of `TOLD_BY`, in order.
        champion: What serves production.
        model: The model.
        now: The time, aware UTC.
    """
    champion = replace(champion, since=_since(rows, champion))
    last = {key_of_row(row): row.at for row in rows if action_of(row) in (Action.RAISED, Action.REPEATED)}
    return tuple(
        _closing(alert, champion, model)
        for alert in fold(rows, now).values()
        if alert.is_open and _is_of_a_bundle(alert.name) and _is_of_another(alert, champion, last[alert.key])
    )


def _since(rows: Sequence[LedgerRow], champion: Serving) -> datetime:
    """Return since when it serves without a break; it may have been put in place again while it did."""
    changes = (row for row in rows if row.event is Event.TRAFFIC_VERIFIED)
    changes = (row for row in changes if row.payload.get("environment") == "production")
    since = champion.since
    for row in reversed(tuple(changes)):
        if row.payload.get("to") != champion.bundle:
            break
        since = row.at
    return since


def _is_of_a_bundle(name: str) -> bool:
    return name.partition(":")[0] in _OF_A_BUNDLE


def _is_of_another(alert: Alert, champion: Serving, at: datetime) -> bool:
    bundle = alert.evidence.get(BUNDLE)
    return at < champion.since if bundle is None else bundle != champion.bundle


def _closing(alert: Alert, champion: Serving, model: str) -> Noticed:
    by = champion.release or f"bundle {champion.bundle[:_SHORT]}"
    named = alert_key(model, alert.name, {}) == alert.key
    part = {} if named else {"slice": alert.evidence.get("slice")}
    return Noticed(
        model=model,
        name=alert.name,
        state=SUPERSEDED,
        reason=f"superseded by {by}, which serves since {champion.since:%Y-%m-%d %H:%M} UTC: it was about the champion "
        "before, which nobody measures any more; nothing was measured of the new one",
        next="",
        evidence={
            **part,
            BUNDLE: alert.evidence.get(BUNDLE),
            "superseded_by": champion.bundle,
            "release": champion.release,
        },
    )
