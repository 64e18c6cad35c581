"""The stack of one machine's settings, up, down and seen: what the command line calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from lockgate.adapters.deployments import bring_deployments
from lockgate.adapters.signer import ensure_keys
from lockgate.adapters.stack import plan_stack
from lockgate.adapters.stack_control import Tell, current, down, make_token, up
from lockgate.adapters.stack_state import ProcessState, Running, Status, read_status
from lockgate.config import Settings

READY_WITHIN_S = 120.0


def stack_folder(settings: Settings) -> Path:
    """Return where the stack keeps its state."""
    return settings.home / "stack"


def bring_up(
    settings: Settings, *, tell: Tell, within_s: float = READY_WITHIN_S
) -> tuple[Status, tuple[str, ...] | None]:
    """Bring everything up and deploy the project's flows; both may be repeated.

    Args:
        settings: This machine's.
        tell: Called with each process whose state changed.
        within_s: How long to wait for the processes.

    Returns:
        The status, and the deployments; None for these when nothing had to be deployed.

    Raises:
        BadInput: A port is taken, or the deployments were refused.
        NotRunning: Something did not become ready.
    """
    settings.bundles.mkdir(parents=True, exist_ok=True)  # servers refuse to start without their store
    make_token(settings.admin_token_file)
    make_token(settings.feedback_token_file)
    ensure_keys(settings)
    deploying: Future[tuple[str, ...] | None] = Future()
    started = threading.Event()

    def follow(process: Running) -> None:
        tell(process)
        if process.name == "prefect" and process.state is ProcessState.READY and not started.is_set():
            started.set()  # deploying takes seconds of imports: beside the other starts, not after them
            threading.Thread(target=_settle, args=(deploying, lambda: bring_deployments(settings)), daemon=True).start()

    status = up(stack_folder(settings), plan_stack(settings), within_s=within_s, tell=follow)
    return status, deploying.result()


def _settle(future: Future[tuple[str, ...] | None], work: Callable[[], tuple[str, ...] | None]) -> None:
    try:
        future.set_result(work())
    except BaseException as failed:  # noqa: BLE001 - handed on to whoever asks for the result
        future.set_exception(failed)


def take_down(settings: Settings, *, tell: Tell) -> int:
    """End everything, and return how many processes there were."""
    return down(stack_folder(settings), tell=tell)


def look(settings: Settings) -> tuple[Status | None, bool]:
    """Return what the supervisor last wrote, and whether it lives."""
    folder = stack_folder(settings)
    status = current(folder)
    return (status, True) if status is not None else (read_status(folder), False)
