"""The local stack: which processes it has, how each is started, and what their environment says.

    prefect ──> worker        watches the work pool, starts flow runs
       └──────> watcher       sees landed files, emits the event that starts a release
    mlflow
    production, staging       two servers of one program
    board                     the page that shows all of it; not in a replay, where nobody looks

Putting it up, taking it down and looking at it is `stack_control`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import lockgate
from lockgate.adapters.health import Health, HealthKind
from lockgate.adapters.stack_state import Plan, Process
from lockgate.config import Settings

POOL = "lockgate"


def stack_environment(settings: Settings) -> dict[str, str]:
    """Return what is set for every process of the stack and every flow run. It holds no secret.

    Ledger URL and notification addresses may hold secrets: processes inherit those from the environment, or read them
    from the environment file themselves.
    """
    return {
        **_settings_environment(settings),
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": settings.prefect_api,
        "PREFECT_UI_URL": settings.url("prefect"),
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(settings.home / "prefect" / "results"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the least it takes; the reaper looks for stale ones
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_TRACKING_URI": settings.url("mlflow"),
        "MLFLOW_DISABLE_TELEMETRY": "true",  # DO_NOT_TRACK does not reach it, and only this word does
        "GX_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": os.pathsep.join(_import_roots(settings)),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "",  # empty is off: without bytecode every start compiles seconds of imports
    }


def _settings_environment(settings: Settings) -> dict[str, str]:
    ports = {_variable(name): str(port) for name, port in settings.ports.items()}
    return {
        "LOCKGATE_PROJECT": str(settings.project),
        "LOCKGATE_HOME": str(settings.home),
        "LOCKGATE_HOST": settings.host,
        **ports,
        **({} if settings.clock_file is None else _replayed(settings, settings.clock_file)),
    }


def _replayed(settings: Settings, clock_file: Path) -> dict[str, str]:
    """Return what keeps a replay to itself: its own time and record, and nobody who is told of it."""
    return {
        "LOCKGATE_CLOCK_FILE": str(clock_file),
        "LOCKGATE_LEDGER_URL": settings.ledger_url,
        **dict.fromkeys(("LOCKGATE_NOTIFY", "LOCKGATE_NOTIFY_FILE", "LOCKGATE_TRIGGER_PORT"), ""),
    }


def _variable(name: str) -> str:
    return f"LOCKGATE_{name.upper()}_PORT"


def _import_roots(settings: Settings) -> tuple[str, ...]:
    """Return the project (flows, tasks, deployments), and where the program lies: there, or where this one does."""
    own = settings.project / "src"
    here = own if (own / "lockgate").is_dir() else Path(lockgate.__file__).resolve().parents[1]
    return (str(settings.project),) if here.name == "site-packages" else (str(settings.project), str(here))


_KEPT_BACK = (
    "PREFECT_PROFILE",
    "PREFECT_API_KEY",
    "LOCKGATE_APPROVER_TOKEN",  # the token of whoever started the stack is theirs, not its runs'
    "LOCKGATE_APPROVER_TOKEN_FILE",
)

_A_RUNS = "PREFECT__"  # said to one flow run alone: a replay that is one starts a stack, whose runs are others


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the stack's processes inherit from the shell: everything but what would lead Prefect astray."""
    kept = {name: value for name, value in environ.items() if name not in _KEPT_BACK and not name.startswith(_A_RUNS)}
    # A proxy of the environment must not stand between these processes and their own loopback.
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, (environ.get(name, ""), "127.0.0.1", "localhost", "::1")))
    return kept


def plan_stack(settings: Settings) -> Plan:
    """Return the plan of the whole stack."""
    processes = (
        _prefect(settings),
        _mlflow(settings),
        _server(settings, "production"),
        _server(settings, "staging"),
        _worker(settings),
        _watcher(settings),
        *(() if settings.clock_file is not None else (_board(settings),)),
    )
    return Plan(processes=processes, logs=str(settings.logs))


def _ports(settings: Settings, *names: str) -> dict[str, int]:
    return {_variable(name): settings.ports[name] for name in names}


def interpreter() -> str:
    """Return this environment's Python under one name, so that two ways of calling it plan the same stack."""
    plain = Path(sys.executable).with_name("python")
    return str(plain) if plain.exists() else sys.executable


def _python(*arguments: str) -> tuple[str, ...]:
    return (interpreter(), *arguments)


def _prefect(settings: Settings) -> Process:
    where = ("--host", settings.host, "--port", str(settings.ports["prefect"]))
    return Process(
        name="prefect",
        argv=_python("-m", "prefect", "server", "start", *where),
        env={
            **stack_environment(settings),
            "PREFECT_SERVER_API_HOST": settings.host,
            "PREFECT_SERVER_API_PORT": str(settings.ports["prefect"]),
            # V1 shows Resume as a button on the paused run, and calls nobody; V2 hides it and calls out.
            "PREFECT_SERVER_UI_V2_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # In memory, a lease that is held when the server dies is held for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        },
        cwd=str(settings.project),
        health=Health(kind=HealthKind.HTTP, url=f"{settings.prefect_api}/health"),
        ports=_ports(settings, "prefect"),
        url=settings.url("prefect"),
        ready_within_s=120.0,
        grace_s=15.0,
    )


def _mlflow(settings: Settings) -> Process:
    where = (
        "--host",
        settings.host,
        "--port",
        str(settings.ports["mlflow"]),
        "--folder",
        str(settings.home / "mlflow"),
    )
    return Process(
        name="mlflow",
        argv=_python("-m", "lockgate.adapters.mlflow_server", *where),
        env={**stack_environment(settings), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        cwd=str(settings.project),
        health=Health(kind=HealthKind.HTTP, url=f"{settings.url('mlflow')}/health"),
        ports=_ports(settings, "mlflow"),
        url=settings.url("mlflow"),
        ready_within_s=120.0,
    )


def _server(settings: Settings, environment: str) -> Process:
    port, admin = settings.ports[environment], settings.ports[f"{environment}_admin"]
    specs = settings.project / "deployments"
    options = {
        "--environment": environment,
        "--bundles": settings.bundles,
        "--public-key": settings.public_key,
        "--state": settings.serving(environment),
        "--admin-token-file": settings.admin_token_file,
        "--feedback-token-file": settings.feedback_token_file,
        "--host": settings.host,
        "--port": port,
        "--admin-port": admin,
        **({"--specs": specs} if specs.is_dir() else {}),  # how late the labels of each model are due
    }
    return Process(
        name=environment,
        argv=_python("-m", "lockgate.serving", *(str(word) for option in options.items() for word in option)),
        env=stack_environment(settings),
        cwd=str(settings.project),
        health=Health(kind=HealthKind.HTTP, url=f"{settings.url(environment)}/v2/health/live"),
        ports=_ports(settings, environment, f"{environment}_admin"),
        url=settings.url(environment),
        ready_within_s=60.0,
    )


def _worker(settings: Settings) -> Process:
    return Process(
        name="worker",
        argv=_python("-m", "lockgate.adapters.prefect_worker"),
        env={
            **stack_environment(settings),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_PREFETCH_SECONDS": "5",
        },
        cwd=str(settings.project),
        health=Health(kind=HealthKind.WORKER, url=f"{settings.prefect_api}/work_pools/{POOL}/workers/filter"),
        after=("prefect",),
        outlived=True,  # a flow run ends its work and reports it, whatever became of its worker
    )


def _watcher(settings: Settings) -> Process:
    return Process(
        name="watcher",
        argv=_python("-m", "lockgate.cli", "watch"),
        env=stack_environment(settings),
        cwd=str(settings.project),
        health=Health(kind=HealthKind.ALIVE, alive_s=1.0),
        after=("prefect",),
        grace_s=5.0,
    )


def _board(settings: Settings) -> Process:
    return Process(
        name="board",
        argv=_python("-m", "lockgate.cli", "board"),
        env=stack_environment(settings),
        cwd=str(settings.project),
        health=Health(kind=HealthKind.HTTP, url=f"{settings.url('board')}/health"),
        ports=_ports(settings, "board"),
        url=settings.url("board"),
        ready_within_s=60.0,
        grace_s=5.0,
    )
