"""A running `lockgate serve` as a deploy target: switched through its admin port, read back through its data port.

Imports little, because a rollback has two seconds in all.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from lockgate.adapters.http_probe import HttpClient
from lockgate.adapters.routing_account import kept_previous, routed_of, routing_body
from lockgate.core.contract import ModelContract, ProbeRequest, ProbeSet
from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.probes import golden_problem
from lockgate.core.records import read_record
from lockgate.core.rollout.routing import Routed, Routing
from lockgate.core.wire import Answer, Call, infer_call, read_infer
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, NotRunning, TransientError
from lockgate.ports import Readback

_ADMIN_TIMEOUT_S = 60.0  # a large bundle is verified and loaded within the request
_ASK_TIMEOUT_S = 6.0  # nothing is loaded; a server of several workers gives each of them 5 s
_DATA_TIMEOUT_S = 5.0
_MEET_S = 0.3  # ours: a rollback has two seconds in all, and connections meet workers by chance
_PROBE = {"x-lockgate-probe": "readback"}
_PREDICTION_ID = "x-lockgate-prediction-id"  # what stands before its last dash is the worker's own


class BundleFolders(Protocol):
    """Where bundles lie; every `BundleStore` is one."""

    def folder(self, digest: Digest) -> Path:
        """Return where the bundle's parts lie."""
        ...


def read_probes(folder: Path, digest: Digest) -> tuple[ModelContract, ProbeSet]:
    """Return a bundle's contract and probe requests, checked against its manifest and the manifest against the digest.

    Raises:
        BadInput: There is no such bundle.
        IntegrityError: A part is not what the digest says.
    """
    try:
        manifest = (folder / "manifest.json").read_bytes()
        parts = {name: (folder / name).read_bytes() for name in ("contract.json", "probe_requests.json")}
    except OSError as missing:
        raise BadInput(f"bundle {digest} cannot be read: {missing}", bundle=digest) from missing
    if hashlib.sha256(manifest).hexdigest() != digest:
        raise IntegrityError(f"bundle {digest}: manifest.json is not what the digest says", bundle=digest)
    listed = json.loads(manifest)["parts"]
    for name, data in parts.items():
        if hashlib.sha256(data).hexdigest() != listed.get(name):
            raise IntegrityError(f"bundle {digest}: {name} is not what the manifest says", bundle=digest)
    return (
        read_record(ModelContract, json.loads(parts["contract.json"])),
        read_record(ProbeSet, json.loads(parts["probe_requests.json"])),
    )


class ServerTarget:
    """One server; implements `DeployTarget` and `TrafficRouter`."""

    def __init__(self, name: str, url: str, admin_url: str, token_file: Path, bundles: BundleFolders) -> None:
        """Name a server; nothing is sent yet.

        Args:
            name: The environment, as in the ledger.
            url: The data port.
            admin_url: The admin port.
            token_file: Holds the admin token; read when first needed.
            bundles: Where golden requests are found.
        """
        self.name = name
        self._token_file = token_file
        self._admin_url = admin_url
        self._admin: dict[float, HttpClient] = {}
        self._url = url
        self._data = HttpClient(url, timeout_s=_DATA_TIMEOUT_S)
        self._probes = lru_cache(maxsize=8)(lambda digest: read_probes(bundles.folder(digest), digest))

    def send(self, call: Call) -> Answer:
        """Send a request to the data port.

        Raises:
            TransientError: It did not answer.
        """
        return self._data.send(call)

    def switch(self, model: ModelName, bundle: Digest, *, sequence: int, previous: Digest | None) -> None:
        """See `DeployTarget.switch`."""
        body = {"sequence": sequence, "champion": bundle, "previous": previous}
        call = Call(path=f"/admin/routing/{model}", method="PUT", body=json.dumps(body).encode())
        self._accepted(self._administer(call, timeout_s=_ADMIN_TIMEOUT_S), bundle)

    def readback(self, model: ModelName, bundle: Digest, requests: int) -> Readback:
        """See `DeployTarget.readback`; where the live digest is the bundle's, its answers are held against the golden.

        Each request is a connection of its own, so that each worker of the server is met: more than were asked for
        where that takes more, for a while at most. They are probes: routed as callers are, in no statistic.

        Raises:
            BadInput: The admin token cannot be read, or is not this server's.
            IntegrityError: An answer that carries the bundle's digest is beyond the bundle's bounds.
            TransientError: The target did not answer.
        """
        contract, probes = self._probes(bundle)
        workers = len(self._account(model).get("workers", "1"))  # a server of one process does not number itself
        answers: list[Digest] = []
        met: set[str] = set()
        for probe in _enough(probes.requests, requests, workers, met):
            answer = self._send_anew(infer_call(contract, [probe.row]))
            if answer.status != 200 or answer.digest is None:
                raise TransientError(
                    f"{self.name} answered {answer.status} to golden request {probe.name}: {_told(answer)}"
                )
            answers.append(answer.digest)
            met.add(answer.headers.get(_PREDICTION_ID, "").rpartition("-")[0])
            if answer.digest == bundle:
                _hold(contract, probes, probe.name, answer)
        account = self._account(model)
        if not account:
            raise TransientError(f"{self.name} does not route model {model!r} any more", target=self.name)
        return Readback(sequence=int(account["sequence"]), answers=tuple(answers))

    def route(self, model: ModelName, routing: Routing) -> Routed:
        """See `TrafficRouter.route`; what the champion's switch kept loaded is kept, see `kept_previous`."""
        previous = kept_previous(routing, self._account(model))
        call = Call(path=f"/admin/routing/{model}", method="PUT", body=routing_body(routing, previous))
        answer = self._administer(call, timeout_s=_ADMIN_TIMEOUT_S)
        self._accepted(answer, routing.challenger or routing.champion)
        return routed_of(json.loads(answer.body))

    def renew(self, model: ModelName, sequence: int) -> Routed:
        """See `TrafficRouter.renew`."""
        body = json.dumps({"sequence": sequence}).encode()
        answer = self._administer(Call(path=f"/admin/routing/{model}/lease", method="POST", body=body))
        if answer.status == 404:
            raise LedgerConflict(f"{self.name} answered 404: {_told(answer)}", target=self.name)
        self._accepted(answer, None)
        return routed_of(json.loads(answer.body))

    def routed(self, model: ModelName) -> Routed | None:
        """See `TrafficRouter.routed`."""
        account = self._account(model)
        return routed_of(account) if account else None

    def serving(self, model: ModelName) -> Mapping[str, Json]:
        """See `DeployTarget.serving`; empty when the model is not routed."""
        try:
            return self._account(model)
        except TransientError as gone:
            raise NotRunning(f"{self.name} is not running at {self._admin_url}; start it with `lockgate up`") from gone

    def close(self) -> None:
        """Close all connections."""
        for client in (self._data, *self._admin.values()):
            client.close()

    def _send_anew(self, call: Call) -> Answer:
        """Send a probe on a connection of its own, and once more where that one broke.

        A worker that ends takes what waits for it with it; its place is taken by the others.
        """
        try:
            with self._prober() as client:
                return client.send(call)
        except TransientError as broken:
            if isinstance(broken.__cause__, TimeoutError | ConnectionRefusedError):
                raise
        with self._prober() as client:
            return client.send(call)

    def _prober(self) -> HttpClient:
        return HttpClient(self._url, timeout_s=_DATA_TIMEOUT_S, token=self._token(), headers=_PROBE)

    def _token(self) -> str:
        try:
            return self._token_file.read_text().strip()
        except OSError as missing:
            raise BadInput(f"the admin token cannot be read: {missing}; `lockgate up` makes one") from missing

    def _account(self, model: ModelName) -> Mapping[str, Any]:
        """Return what the server says it serves; empty when the model is not routed."""
        answer = self._administer(Call(path=f"/admin/routing/{model}"))
        if answer.status == 404:
            return {}
        self._accepted(answer, None)
        account: Mapping[str, Any] = json.loads(answer.body)
        return account

    def _administer(self, call: Call, *, timeout_s: float = _ASK_TIMEOUT_S) -> Answer:
        client = self._admin.get(timeout_s)
        if client is None:
            client = self._admin[timeout_s] = HttpClient(self._admin_url, timeout_s=timeout_s, token=self._token())
        return client.send(call)

    def _accepted(self, answer: Answer, bundle: Digest | None) -> None:
        told = f"{self.name} answered {answer.status}: {_told(answer)}"
        match answer.status:
            case 200:
                return
            case 409:
                raise LedgerConflict(told, target=self.name)
            case 404 | 422:
                raise IntegrityError(told, target=self.name, bundle=bundle)
            case 401 | 403:
                raise BadInput(f"{told}; {self._token_file} is not its token", target=self.name)
            case status if status >= 500:
                raise TransientError(told, target=self.name)
            case _:
                raise BadInput(told, target=self.name)


def _enough(
    probes: Sequence[ProbeRequest], requests: int, workers: int, met: Collection[str]
) -> Iterator[ProbeRequest]:
    """Return golden requests, again from the first where they do not suffice, until so many workers were met."""
    end = time.monotonic() + _MEET_S
    for number, probe in enumerate(itertools.cycle(probes)):
        if number >= requests and (len(met) >= workers or time.monotonic() > end):
            return
        yield probe


def _hold(contract: ModelContract, probes: ProbeSet, name: str, answer: Answer) -> None:
    probe = next(each for each in probes.requests if each.name == name)
    try:
        problem = golden_problem(probes, probe, read_infer(contract, answer)[0])
    except (ValueError, IndexError) as unreadable:
        problem = f"{name}: {unreadable}"
    if problem:
        raise IntegrityError(f"a live answer differs from the golden one: {problem}", bundle=answer.digest)


def _told(answer: Answer) -> str:
    try:
        body = json.loads(answer.body)
        return str(body["error"])
    except (ValueError, KeyError, TypeError):
        return answer.body[:200].decode(errors="replace") or "(nothing)"
