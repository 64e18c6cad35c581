"""Putting a stack of the tests' own up, and every process of it down again."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from lockgate.adapters.local_stack import stack_folder
from lockgate.adapters.processes import marked
from lockgate.config import PORTS, load_settings
from tests import ports
from tests.e2e.stack import Stack, await_it
from tests.e2e.toy_project import make_project


@contextlib.contextmanager
def running_stack(root: Path) -> Iterator[Stack]:
    """Bring a stack up for the length of a block; every process of it is gone afterwards."""
    stack = make_stack(root)
    try:
        said = stack.cli("up", within_s=600)
        assert said.code == 0, said.err
        yield stack
    finally:
        stack.close()
        said = stack.cli("down", within_s=300)
        with contextlib.suppress(AssertionError):  # what has been killed is gone a moment later
            await_it(lambda: not marked(stack_folder(stack.settings)), 30, lambda: "")
        left = marked(stack_folder(stack.settings))
        for each in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
        assert said.code == 0, said.err
        assert left == (), f"lockgate down left {left}"


def make_stack(root: Path) -> Stack:
    """Make the project, the home and the environment of a stack that is not up yet."""
    project, home = make_project(root / "project"), root / "home"
    given = {"LOCKGATE_HOME": str(home), "LOCKGATE_PROJECT": str(project), **free_ports((*PORTS, "trigger"))}
    given["LOCKGATE_NOTIFY_FILE"] = str(_private(root / "addresses", ""))  # nobody is told, until a test says whom
    _private(home / "tokens" / "trigger.token", secrets.token_hex(16))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOCKGATE_", "PREFECT_"))}
    paths = os.pathsep.join((str(project / "src"), str(project)))
    environ = {**kept, **given, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "", "NO_COLOR": "1"}
    return Stack(load_settings(given), environ, root / "scratch")


def _private(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(content)
    return path


def free_ports(names: Sequence[str] = tuple(PORTS)) -> dict[str, str]:
    """Return free ports as the variables that set them."""
    found = ports.free_ports(len(names))
    return {f"LOCKGATE_{name.upper()}_PORT": str(port) for name, port in zip(names, found, strict=True)}
