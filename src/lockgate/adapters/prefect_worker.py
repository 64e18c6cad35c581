"""The worker: brings its work pool to our template, then becomes Prefect's process worker.

    python -m lockgate.adapters.prefect_worker

The pool comes first, so that no run is ever started by the default template: in a temporary folder, without the
command that starts fastest. The same process id goes on, so that the supervisor watches the worker itself.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping

from lockgate.adapters.prefect_api import PrefectApi
from lockgate.adapters.stack import POOL, interpreter, stack_environment
from lockgate.config import Settings, load_settings
from lockgate.core.ids import Json


def job_template(*, command: str, working_dir: str, env: Mapping[str, str]) -> dict[str, Json]:
    """Return the base job template of a process pool whose runs start so.

    Args:
        command: What starts a flow run. `python -m prefect.engine`, given in full, starts a run in about 2.3 CPU
            seconds; left out, Prefect resolves the flow's workspace first and takes 3.6.
        working_dir: Where a run executes: the checkout.
        env: What is set for a run; the worker's environment is inherited besides. No secrets: it is shown in the UI.
    """
    text: dict[str, Json] = {"type": "string"}
    names = ("command", "env", "labels", "name", "stream_output", "working_dir")
    return {
        "job_configuration": {name: f"{{{{ {name} }}}}" for name in names},
        "variables": {
            "type": "object",
            "properties": {
                "name": {**text, "title": "Name"},
                "env": {
                    "type": "object",
                    "title": "Environment Variables",
                    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "default": dict(env),
                },
                "labels": {"type": "object", "title": "Labels", "additionalProperties": {"type": "string"}},
                "command": {**text, "title": "Command", "default": command},
                "stream_output": {"type": "boolean", "title": "Stream Output", "default": True},
                "working_dir": {**text, "title": "Working Directory", "default": working_dir},
            },
        },
    }


def put_pool(settings: Settings, api: PrefectApi) -> None:
    """Make the stack's work pool, or bring it to our template."""
    template = job_template(
        command=shlex.join([interpreter(), "-m", "prefect.engine"]),
        working_dir=str(settings.project),
        env=stack_environment(settings),
    )
    api.put_work_pool(POOL, kind="process", template=template)


def main() -> None:
    """Put the pool, then become the worker."""
    settings = load_settings()
    with PrefectApi(settings.prefect_api) as api:
        put_pool(settings, api)
    worker = ["worker", "start", "--pool", POOL, "--type", "process", "--name", "lockgate", "--install-policy", "never"]
    os.execv(sys.executable, [sys.executable, "-m", "prefect", *worker])  # noqa: S606 - the worker is the purpose


if __name__ == "__main__":
    main()
