"""Bringing the project's deployments to the orchestrator, only when something that they say has changed.

`prefect deploy --all` imports every flow (several CPU seconds), so a digest of what it reads is kept in
`<home>/stack/deployed.json` with the names that came of it. It is run again when the digest changed, or when the
orchestrator does not know one of the names (its database was removed).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from lockgate.adapters.prefect_api import PrefectApi
from lockgate.adapters.prefect_worker import put_pool
from lockgate.adapters.stack import inherited, stack_environment
from lockgate.config import Settings
from lockgate.core.ids import Digest, digest_bytes, digest_of
from lockgate.errors import BadInput, TransientError

_TIMEOUT_S = 180.0


def bring_deployments(settings: Settings) -> tuple[str, ...] | None:
    """Deploy what prefect.yaml names, unless it is there as it stands.

    Returns:
        Every deployment's `flow/deployment`; None when nothing had to be done.

    Raises:
        BadInput: `prefect deploy` refused; its last words are in the message.
    """
    prefect_file = settings.project / "prefect.yaml"
    if not prefect_file.is_file():
        raise BadInput(f"there is no {prefect_file}; run lockgate in a checkout, or set LOCKGATE_PROJECT")
    wanted, record = _digest(settings), settings.home / "stack" / "deployed.json"
    with PrefectApi(settings.prefect_api) as api:
        put_pool(settings, api)
        digest, names = _read(record)
        if digest == wanted and set(names) <= set(api.deployments()):
            return None
        _deploy(settings, prefect_file)
        names = api.deployments()
    record.write_text(json.dumps({"schema_version": 1, "digest": wanted, "deployments": names}, indent=1))
    return names


def _deploy(settings: Settings, prefect_file: Path) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file)],
            cwd=settings.project,
            env={**inherited(os.environ), **stack_environment(settings)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        raise TransientError(
            f"prefect deploy did not finish within {_TIMEOUT_S:.0f} s; when this machine has less to do: lockgate up"
        ) from slow
    said = done.stdout.decode(errors="replace")
    settings.logs.mkdir(parents=True, exist_ok=True)
    (settings.logs / "deploy.log").write_text(said)
    if done.returncode != 0:
        last = "\n".join(said.splitlines()[-20:])
        raise BadInput(f"prefect deploy refused {prefect_file}:\n{last}", log=str(settings.logs / "deploy.log"))


def _digest(settings: Settings) -> Digest:
    project = settings.project
    files = (project / "prefect.yaml", *_sorted(project / "flows", "*.py"), *_sorted(project / "deployments", "*.yaml"))
    content = {str(each.relative_to(project)): digest_bytes(each.read_bytes()) for each in files}
    return digest_of({"files": content, "environment": stack_environment(settings), "python": sys.version})


def _sorted(folder: Path, pattern: str) -> Iterable[Path]:
    return sorted(folder.rglob(pattern)) if folder.is_dir() else ()


def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    try:
        given = json.loads(path.read_text())
        return str(given["digest"]), tuple(given["deployments"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "", ()
