"""A running `lockgate serve` as a deploy target: switched through its admin port, read back through its data port.

Imports little, because a rollback has two seconds in all.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from lockgate.adapters.http_probe import HttpClient
from lockgate.core.contract import ModelContract, ProbeSet
from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.probes import golden_problem
from lockgate.core.records import read_record
from lockgate.core.wire import Answer, Call, infer_call, read_infer
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, NotRunning, TransientError
from lockgate.ports import Readback

_ADMIN_TIMEOUT_S = 60.0  # a large bundle is verified and loaded within the request
_DATA_TIMEOUT_S = 5.0


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
    """One server; implements `DeployTarget`."""

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
        self._admin: HttpClient | None = None
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
        self._accepted(self._administer(call), bundle)

    def readback(self, model: ModelName, bundle: Digest, requests: int) -> Readback:
        """See `DeployTarget.readback`; where the live digest is the bundle's, its answers are held against the golden.

        Raises:
            IntegrityError: An answer that carries the bundle's digest is beyond the bundle's bounds.
            TransientError: The target did not answer.
        """
        contract, probes = self._probes(bundle)
        answers = []
        for probe in itertools.islice(itertools.cycle(probes.requests), requests):
            answer = self.send(infer_call(contract, [probe.row]))
            if answer.status != 200 or answer.digest is None:
                raise TransientError(
                    f"{self.name} answered {answer.status} to golden request {probe.name}: {_told(answer)}"
                )
            answers.append(answer.digest)
            if answer.digest == bundle:
                _hold(contract, probes, probe.name, answer)
        return Readback(sequence=self._sequence(model), answers=tuple(answers))

    def serving(self, model: ModelName) -> Mapping[str, Json]:
        """See `DeployTarget.serving`; empty when the model is not routed."""
        try:
            answer = self._administer(Call(path=f"/admin/routing/{model}"))
        except TransientError as gone:
            raise NotRunning(f"{self.name} is not running at {self._admin_url}; start it with `lockgate up`") from gone
        if answer.status == 404:
            return {}
        self._accepted(answer, None)
        routing: Mapping[str, Json] = json.loads(answer.body)
        return routing

    def close(self) -> None:
        """Close both connections."""
        self._data.close()
        if self._admin is not None:
            self._admin.close()

    def _sequence(self, model: ModelName) -> int:
        answer = self._administer(Call(path=f"/admin/routing/{model}"))
        self._accepted(answer, None)
        return int(json.loads(answer.body)["sequence"])

    def _administer(self, call: Call) -> Answer:
        if self._admin is None:
            try:
                token = self._token_file.read_text().strip()
            except OSError as missing:
                raise BadInput(f"the admin token cannot be read: {missing}; `lockgate up` makes one") from missing
            self._admin = HttpClient(self._admin_url, timeout_s=_ADMIN_TIMEOUT_S, token=token)
        return self._admin.send(call)

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
