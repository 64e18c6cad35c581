"""Stage 9: staging serves the bundle and proves it over HTTP: digests, smoke, contract, replay of real requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lockgate.core.blessing import Blessing
from lockgate.core.contract import ModelBundle, ProbeSet
from lockgate.core.ids import Digest, Json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.replay import LoggedRequest, agreement, agrees, decision, logged_decisions
from lockgate.core.wire import Answer, Call, Row, infer_call, metadata_problem, model_path, read_infer
from lockgate.errors import NotBlessed, RolloutAborted, TransientError
from lockgate.ports import DeployTarget
from lockgate.stages.battery import Battery
from lockgate.stages.traffic import Switch, switch_traffic


class AskableTarget(DeployTarget, Protocol):
    """An environment that also takes plain requests."""

    def send(self, call: Call) -> Answer:
        """Send a request to the data port.

        Raises:
            TransientError: It did not answer.
        """
        ...


def deploy_staging(  # noqa: PLR0913 - the bundle, its probes and what to replay; the last two are keywords
    switch: Switch,
    target: AskableTarget,
    blessing: Blessing,
    bundle: ModelBundle,
    probes: ProbeSet,
    *,
    champion: Digest | None,
    recent: Sequence[LoggedRequest] = (),
) -> dict[str, Json]:
    """Make staging serve a blessed bundle and return the staging gate's measurements. Running it again measures again.

    Args:
        switch: Staging, in the ledger.
        target: The same, to be asked; its switches are made through `switch` alone.
        blessing: Proof that this bundle passed stages 1 to 7.
        bundle: The bundle.
        probes: Its probe requests.
        champion: What production serves; None only when there never was a champion.
        recent: Recent production requests to replay; may be empty.

    Raises:
        NotBlessed: The blessing is for another bundle.
        TransientError: Staging did not answer, or the ledger did not.
        LedgerConflict: Another controller changed staging meanwhile.
    """
    subjects = blessing.subjects
    if subjects.bundle != bundle.digest:
        raise NotBlessed(f"the blessing is for bundle {subjects.bundle}, not for {bundle.digest}", gate="staging")
    base: dict[str, Json] = {"bundle": bundle.digest, "champion": champion}
    try:
        row = switch_traffic(switch, subjects.release, bundle.digest, why="staged before approval")
    except RolloutAborted as aborted:
        if aborted.data.get("silent"):
            raise TransientError(f"staging did not answer: {aborted.message}") from aborted
        return base | {"switch": {"verified": False, "reason": aborted.message}}
    _record(switch, row, bundle)
    battery = Battery(bundle=bundle, probes=probes, send=target.send)
    battery.run(everything=True)
    return base | {
        "switch": {"verified": True, "sequence": row.payload["sequence"]},
        "readback": _readback(switch, bundle),
        "smoke": _smoke(target, bundle),
        "replay": _replay(target, bundle, recent),
        **battery.measurements(),
    }


def _record(switch: Switch, verified: LedgerRow, bundle: ModelBundle) -> None:
    if not switch.ledger.rows(switch.model, release=verified.release, events=(Event.STAGED,)):
        payload: dict[str, Json] = {"bundle": bundle.digest, "sequence": verified.payload["sequence"]}
        switch.ledger.append(switch.model, Event.STAGED, payload, release=verified.release, actor=switch.actor)


def _readback(switch: Switch, bundle: ModelBundle) -> dict[str, Json]:
    seen = switch.target.readback(switch.model, bundle.digest, switch.readback_requests)
    others = sum(each != bundle.digest for each in seen.answers)
    return {"asked": len(seen.answers), "other_digests": others, "sequence": seen.sequence}


def _smoke(target: AskableTarget, bundle: ModelBundle) -> dict[str, Json]:
    """Ask everything that callers and their tools rely on beside predictions."""
    model = bundle.contract.model
    paths = ("/v2", "/v2/health/live", "/v2/health/ready", model_path(model, "ready"), "/metrics", "/openapi.json")
    failed = [f"{path} ({status})" for path in paths if (status := target.send(Call(path=path)).status) != 200]
    told = metadata_problem(bundle.contract, target.send(Call(path=model_path(model))))
    failed += [f"{model_path(model)}: {told}"] if told else []
    return {"asked": len(paths) + 1, "failed": len(failed), "failed_names": failed}


def _replay(target: AskableTarget, bundle: ModelBundle, recent: Sequence[LoggedRequest]) -> dict[str, Json]:
    """Send recent production requests and compare what is decided; requests of another contract are counted apart."""
    contract = bundle.contract
    rows: list[Row] = []
    alike: list[bool] = []
    unlike_contract = 0
    for request in recent:
        decided = logged_decisions(contract, request)
        try:
            got = read_infer(contract, target.send(infer_call(contract, request.rows)))
        except ValueError:
            got = []
        if not decided or len(got) != len(request.rows):
            unlike_contract += 1
            continue
        rows += request.rows
        alike += [agrees(decision(contract, now), then) for now, then in zip(got, decided, strict=True)]
    return agreement(contract, rows, alike) | {"requests": len(recent), "unanswered": unlike_contract}
