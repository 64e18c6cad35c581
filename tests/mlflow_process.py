"""A real, slim MLflow server for tests: a free port, a folder of its own, always ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.ports import free_port


@contextmanager
def running_mlflow(folder: Path, *, port: int | None = None) -> Iterator[str]:
    """Start a server, wait until it is healthy, give its URL, and end it."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    program = [sys.executable, "-m", "lockgate.adapters.mlflow_server", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = folder / "server.log"
    with log.open("wb") as told:
        process = subprocess.Popen([*program, "--folder", str(folder)], stdout=told, stderr=told, env=environment)
    try:
        _await_health(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 250
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health", timeout=10).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(f"MLflow did not start: {log.read_text()[-2000:]}")
