"""The servers that are compared: how each is started, asked and read.

All are given the same graph file, ONNX Runtime with one thread and no spinning, and one core. Rivals run one process,
no line of log a request, and otherwise as they come. Ours runs as a deployment does: prediction log, metrics, contract
checks, a champion and a challenger with a sticky 90/10 split under a lease.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.serving import environments, forms
from benchmarks.serving.forms import Call
from benchmarks.serving.model import Model
from benchmarks.serving.ours import OURS, OURS_COLUMNS, OURS_SHADOW
from benchmarks.serving.processes import Running, answers, free_port, started
from benchmarks.serving.subject import Start, Subject

RIVALS = Path(__file__).resolve().parent / "rivals"
NAME = "flights"


def _environ(model: Model, **more: str) -> dict[str, str]:
    return {
        "BENCH_GRAPH": str(model.graph),
        "BENCH_INPUT": str(model.facts["graph_input"]),
        "BENCH_OUTPUT": str(model.facts["graph_output"]),
        "PYTHONPATH": str(RIVALS),
        **more,
    }


@contextlib.contextmanager
def _uvicorn(name: str, app: str, ready: str, model: Model, folder: Path, **more: str) -> Iterator[Running]:
    port = free_port()
    command = [environments.python_of(name), "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    with started(command, folder=folder, environ=_environ(model, **more), ready=answers(port, ready)) as running:
        yield running


def _fastapi(app: str) -> Start:
    return lambda model, folder: _uvicorn("fastapi", app, "/v2/health/ready", model, folder)


def _echo(answer_bytes: int) -> Start:
    return lambda model, folder: _uvicorn(
        "echo", "echo_app:app", "/", model, folder, BENCH_ANSWER_BYTES=str(answer_bytes)
    )


@contextlib.contextmanager
def _mlserver(model: Model, folder: Path) -> Iterator[Running]:
    port = free_port()
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps({"name": NAME, "implementation": "mlserver_runtime.Trees"}))
    program = environments.python_of("mlserver").with_name("mlserver")
    ready = answers(port, f"/v2/models/{NAME}/ready")
    with started([program, "start", folder], folder=folder, environ=_environ(model), ready=ready) as running:
        yield running


@contextlib.contextmanager
def _kserve(model: Model, folder: Path) -> Iterator[Running]:
    port = free_port()
    command = [environments.python_of("kserve"), RIVALS / "kserve_server.py", "--http_port", port, "--workers", 1]
    command += ["--enable_grpc", "false", "--enable_latency_logging", "false", "--configure_logging", "false"]
    ready = answers(port, f"/v2/models/{NAME}/ready")
    with started(
        list(map(str, command)), folder=folder, environ=_environ(model, BENCH_MODEL=NAME), ready=ready
    ) as running:
        yield running


@contextlib.contextmanager
def _mlflow(model: Model, folder: Path) -> Iterator[Running]:
    python, port = environments.python_of("mlflow"), free_port()
    environ = _environ(model, MLFLOW_DISABLE_TELEMETRY="true", PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}")
    saved = folder / "model"
    subprocess.run(
        [python, RIVALS / "mlflow_model.py", saved], env={**os.environ, **environ}, check=True, capture_output=True
    )
    command = [python, "-m", "mlflow", "models", "serve", "-m", saved, "-h", "127.0.0.1", "-p", port, "-w", 1]
    command += ["--env-manager", "local"]
    with started(list(map(str, command)), folder=folder, environ=environ, ready=answers(port, "/ping")) as running:
        yield running


def _rival_call(model: Model, at: Sequence[int]) -> Call:
    """The very body that ours gets, at the rival's path."""
    return Call(f"/v2/models/{NAME}/infer", forms.v2_matrix(model, at).body, {"content-type": forms.JSON})


def _mlflow_call(model: Model, at: Sequence[int]) -> Call:
    body = json.dumps({"inputs": model.matrix[list(at)].tolist()}).encode()
    return Call("/invocations", body, {"content-type": forms.JSON})


def _first_tensor(body: bytes, headers: Mapping[str, str]) -> list[float]:
    del headers
    return [float(value) for value in json.loads(body)["outputs"][0]["data"]]


def _mlflow_answer(body: bytes, headers: Mapping[str, str]) -> list[float]:
    del headers
    found = json.loads(body)["predictions"]
    return [float(value) for value in (next(iter(found.values())) if isinstance(found, dict) else found)]


def _nothing(body: bytes, headers: Mapping[str, str]) -> None:
    del body, headers


def subjects(answer_bytes: int) -> list[Subject]:
    """Return everything that is compared, in the order of its turns.

    Args:
        answer_bytes: Size of our answer, which the echo server's is too.
    """
    return [
        Subject(
            name="echo",
            start=_echo(answer_bytes),
            make=_rival_call,
            read=_nothing,
            packages=("uvicorn", "uvloop", "httptools"),
            environment="echo",
        ),
        OURS,
        OURS_COLUMNS,
        OURS_SHADOW,
        *(
            Subject(
                name=name,
                start=start,
                make=_rival_call,
                read=_first_tensor,
                packages=(*packages, "fastapi", "onnxruntime", "numpy", "uvicorn"),
                environment=environment,
            )
            for name, start, environment, packages in (
                ("fastapi-bare", _fastapi("fastapi_bare_app:app"), "fastapi", ("orjson", "uvloop")),
                ("fastapi", _fastapi("fastapi_app:app"), "fastapi", ("pydantic", "orjson", "uvloop")),
                ("mlserver", _mlserver, "mlserver", ("mlserver",)),
                ("kserve", _kserve, "kserve", ("kserve",)),
            )
        ),
        Subject(
            name="mlflow",
            start=_mlflow,
            make=_mlflow_call,
            read=_mlflow_answer,
            packages=("mlflow", "fastapi", "onnxruntime", "numpy", "uvicorn"),
            environment="mlflow",
        ),
    ]
