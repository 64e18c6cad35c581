"""`lockgate up`, `down`, `status`: the local stack, and what serves."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lockgate.cli.surface import Surface
from lockgate.config import Settings, load_settings
from lockgate.core.ids import Json

if TYPE_CHECKING:
    from collections.abc import Callable

    from lockgate.adapters.stack_state import Running, Status

NOT_RUNNING = 7


def up(surface: Surface) -> None:
    """Start everything on this machine and wait until it is ready.

    Prefect, MLflow, a worker, the watcher of the landing folders, and the staging and production servers, all under
    one supervisor that restarts what dies. Run it again at any time: what is up stays up.

    Example: lockgate up && lockgate status

    A port is taken? LOCKGATE_PREFECT_PORT=4210 lockgate up
    """
    settings = load_settings()
    began = time.monotonic()
    status, deployed = start_stack(settings, surface, began)
    seconds = round(time.monotonic() - began, 1)
    surface.say(f"ready after {seconds} s; state in {settings.home}", "green")
    for each in status.processes:
        if each.url:
            surface.text(f"  {each.name:<11} {each.url}")
    surface.result(
        {"seconds": seconds, "processes": process_rows(status, alive=True), "deployed": list(deployed or ())}
    )


def start_stack(settings: Settings, surface: Surface, began: float) -> tuple[Status, tuple[str, ...] | None]:
    """Bring the stack up, saying what becomes ready and when."""
    from lockgate.adapters.local_stack import bring_up

    status, deployed = bring_up(settings, tell=_teller(surface, began))
    if deployed is not None:
        surface.say(f"[{time.monotonic() - began:5.1f} s] deployed {', '.join(deployed) or 'nothing'}")
    return status, deployed


def _teller(surface: Surface, began: float) -> Callable[[Running], None]:
    from lockgate.adapters.stack_state import ProcessState

    shown = {ProcessState.READY: "green", ProcessState.RESTARTING: "yellow", ProcessState.FAILING: "red"}

    def tell(process: Running) -> None:
        if process.state in shown:
            note = f": {process.reason}" if process.reason else ""
            took = time.monotonic() - began
            surface.say(f"[{took:5.1f} s] {process.name:<11} {process.state}{note}", shown[process.state])

    return tell


def down(surface: Surface) -> None:
    """End every process of the local stack. What it holds on disk stays.

    Running flow runs are told to stop and end as Crashed; Retry in the Prefect UI takes them up again after the next
    `lockgate up`. Safe to run twice.

    Example: lockgate down
    """
    from lockgate.adapters.local_stack import take_down
    from lockgate.adapters.stack_state import ProcessState

    settings = load_settings()
    began = time.monotonic()

    def tell(process: Running) -> None:
        if process.state is ProcessState.STOPPED:
            surface.say(f"[{time.monotonic() - began:5.1f} s] {process.name:<11} stopped")

    count = take_down(settings, tell=tell)
    surface.text(f"ended {count} processes" if count else "nothing was running")
    surface.result({"ended": count, "seconds": round(time.monotonic() - began, 1)})


def status(surface: Surface) -> int:
    """Show what serves where, since when and why, and how the stack is.

    Serving is read twice: from the ledger, and from the servers themselves; "differs" means that they do not agree.
    The exit code is 7 unless everything is up.

    Example: lockgate status --json | jq '.models[].environments.production.bundle'
    """
    from lockgate.adapters.local_stack import look
    from lockgate.cli.serving_state import show_models

    settings = load_settings()
    seen, alive = look(settings)
    rows = process_rows(seen, alive=alive)
    everything = alive and seen is not None and seen.ready
    surface.table(
        f"Stack in {settings.home}: {'up' if everything else 'not all up' if alive else 'down'}",
        ("process", "state", "since", "restarts", "where", "note"),
        [
            (each["name"], each["state"], ago(each["since"]), each["restarts"], each["url"], each["reason"])
            for each in rows
        ],
    )
    models = show_models(surface, settings)
    surface.result(
        {
            "home": str(settings.home),
            "stack": {"up": everything, "supervised": alive, "processes": rows},
            "models": models,
        }
    )
    if not alive:
        surface.say("the stack is down; start it with: lockgate up", "yellow")
    if not any(each["name"] == "watcher" and each["state"] == "ready" for each in rows):
        surface.say("the watcher is not running: no alert is delivered, and a silent monitor is not noticed", "yellow")
    return 0 if everything else NOT_RUNNING


def process_rows(status: Status | None, *, alive: bool) -> list[dict[str, Json]]:
    """Return one JSON object a process; of a stack whose supervisor is gone, only what still runs is called so."""
    rows: list[dict[str, Json]] = []
    for each in status.processes if status is not None else ():
        runs = each.identity is not None and each.identity.alive
        state = str(each.state) if alive else "orphaned" if runs else "down"
        rows.append(
            {
                "name": each.name,
                "state": state,
                "pid": each.identity.pid if runs and each.identity is not None else None,
                "since": datetime.fromtimestamp(each.since, UTC).isoformat(timespec="seconds"),
                "restarts": each.restarts,
                "reason": each.reason,
                "url": each.url,
                "log": each.log,
            }
        )
    return rows


def ago(when: object) -> str:
    """Return a time, ISO, as a distance from now."""
    if not isinstance(when, str):
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
