"""Our server, as a deployment runs it: prediction log, metrics, contract checks, a sticky 90/10 split under a lease."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving import forms
from benchmarks.serving.lease import renewed
from benchmarks.serving.model import CONTRACTS, ROOT, TOKEN, Model
from benchmarks.serving.processes import Running, ready_line, says_ready, started
from benchmarks.serving.subject import Start, Subject

CHALLENGER_WEIGHT = 0.1
LEASE_S = 10.0
OUR_RUNNER = (sys.executable, "-m", "lockgate.serving")


def our_command(model: Model, state: Path, *more: str, runner: Sequence[str] = OUR_RUNNER) -> list[str]:
    """Return the command line of our server."""
    return [
        *(*runner, "--environment", "production"),
        *("--bundles", str(model.bundles), "--public-key", str(model.public_key), "--state", str(state)),
        *("--admin-token-file", str(model.token_file), "--port", "0", "--admin-port", "0", *more),
    ]


def our_environ() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT / "src")}


def routing(
    model: Model, contract: str, *, shadow: float = 0.0, challenger: float = CHALLENGER_WEIGHT
) -> dict[str, Any]:
    """Return the body that routes a contract's model: champion, challenger, shadow."""
    served = model.served(contract)
    body: dict[str, Any] = {"sequence": 1, "champion": served.champion, "previous": None, "lease_s": LEASE_S}
    if challenger:
        arm = {"name": "challenger", "bundle": served.challenger, "weight": challenger, "tags": []}
        body["challengers"] = [arm]
    if shadow:
        body["shadows"] = [{"name": "shadow", "bundle": served.challenger, "share": shadow}]
    return body


def administer(admin_port: int, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - any JSON
    """Ask the admin port.

    Raises:
        urllib.error.HTTPError: It refused.
    """
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin_port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
        return json.loads(answer.read())


def ours(*, shadow: float = 0.0, contracts: Sequence[str] = CONTRACTS, runner: Sequence[str] = OUR_RUNNER) -> Start:
    """Return how ours is started: its models routed, their leases renewed for as long as it runs."""

    @contextlib.contextmanager
    def start(model: Model, folder: Path) -> Iterator[Running]:
        command = our_command(model, folder / "state", runner=runner)
        with started(command, folder=folder, environ=our_environ(), ready=says_ready) as running:
            line = ready_line(running.log)
            assert line is not None  # noqa: S101 - it is what readiness was told by
            admin = int(line["admin_port"])
            running.facts["admin_port"] = admin
            names = []
            for contract in contracts:
                names.append(model.served(contract).model)
                administer(admin, "PUT", f"/admin/routing/{names[-1]}", routing(model, contract, shadow=shadow))

            def renew() -> None:
                for each in names:
                    administer(admin, "POST", f"/admin/routing/{each}/lease", {"sequence": 1})

            with renewed(renew, every_s=LEASE_S / 4):
                yield running

    return start


OURS = Subject(name="lockgate", start=ours(), make=forms.v2_matrix, read=forms.probabilities)
OURS_COLUMNS = Subject(
    name="lockgate-columns", start=ours(), make=forms.v2_columns, read=forms.probabilities, server="lockgate"
)
OURS_SHADOW = Subject(name="lockgate-shadow", start=ours(shadow=1.0), make=forms.v2_matrix, read=forms.probabilities)
