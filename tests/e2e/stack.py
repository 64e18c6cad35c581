"""A whole local stack for tests: its own ports, home and project; used as a person and the UI use it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pandas as pd
import psutil

from lockgate.adapters.local_stack import stack_folder
from lockgate.adapters.prefect_api import PrefectApi
from lockgate.adapters.processes import Identity, marked
from lockgate.adapters.stack_control import current
from lockgate.adapters.stack_state import ProcessState, Running
from lockgate.bootstrap import Services
from lockgate.config import Settings
from lockgate.core.ids import ModelName
from lockgate.core.ledger import Event, LedgerRow, broken_at
from lockgate.core.model_state import ModelState
from tests.e2e.toy_project import FIRST_DAYS, rows

T = TypeVar("T")
LOOK_S = 0.1
RELEASED_WITHIN_S = 600.0  # ours: a release takes half a minute; at a disk that stalls, beside five others, five
STALLED_S = 180.0  # ours: Prefect on SQLite answers nobody for a minute now and then, waiting for its own lock
ROW = {"a": 0.4, "b": -0.1, "c": "x"}


@dataclass(frozen=True)
class Said:
    """What one command said."""

    code: int
    out: str
    err: str
    seconds: float
    cpu_s: float

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.out))


@dataclass
class Stack:
    """One running stack."""

    settings: Settings
    environ: dict[str, str]
    scratch: Path
    days: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = Services(self.settings)
        self.prefect = PrefectApi(self.settings.prefect_api, within_s=STALLED_S, absent_s=60)

    def close(self) -> None:
        """Close this process's connections."""
        self.prefect.__exit__(None, None, None)
        self.services.ledger.close()

    # -- as a person ---------------------------------------------------------------------------------------------------

    def cli(self, *arguments: str, within_s: float = RELEASED_WITHIN_S, **environ: str) -> Said:
        """Run one command of `lockgate`."""
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "lockgate.cli", *arguments],
            env={**self.environ, **environ},
            cwd=self.settings.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Said(done.returncode, done.stdout, done.stderr, seconds, cpu_s)

    def land(self, model: str, *, days: int = 5) -> Path:
        """Land the next days of a model's data; the first batch is long enough to train on."""
        first = self.days.get(model, 0)
        length = FIRST_DAYS if first == 0 else days
        self.days[model] = first + length
        return self.land_frame(model, rows(first, length), f"from-day-{first:04d}.parquet")

    def land_frame(self, model: str, frame: pd.DataFrame, name: str) -> Path:
        path = self.scratch / model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(path, index=False)
        said = self.cli("land", str(path), "--model", model)
        assert said.code == 0, said.err
        return path

    def approve(self, release: str, *more: str) -> Said:
        return self.cli("approve", release, "--as", "ada", "--reason", "looks right", "--yes", *more)

    def ask(self, model: str) -> httpx.Response:
        """Ask production for a prediction."""
        url = f"{self.settings.url('production')}/invocations"
        return httpx.post(url, params={"model": model}, json={"dataframe_records": [ROW]}, timeout=30, trust_env=False)

    # -- the record ----------------------------------------------------------------------------------------------------

    def rows(self, model: str, *events: Event, release: str | None = None) -> tuple[LedgerRow, ...]:
        found = self.services.ledger.rows(ModelName(model), events=events)
        return tuple(row for row in found if release in (None, row.release))

    def last_seq(self, model: str) -> int:
        return self.services.ledger.last_seq(ModelName(model))

    def state(self, model: str) -> ModelState:
        return self.services.ledger.state(ModelName(model))

    def await_row(
        self, model: str, event: Event, *, after: int = 0, within_s: float = RELEASED_WITHIN_S, **facts: object
    ) -> LedgerRow:
        """Wait for a row of the ledger, later than row `after`, whose payload holds these facts."""

        def found() -> LedgerRow | None:
            matching = (
                row
                for row in self.rows(model, event)
                if row.seq > after and all(row.payload.get(name) == value for name, value in facts.items())
            )
            return next(matching, None)

        return await_it(found, within_s, lambda: f"{event} {facts} of {model} after row {after}\n{self.story(model)}")

    def await_open(self, model: str, *, after: int, within_s: float = STALLED_S) -> LedgerRow:
        return self.await_row(model, Event.RELEASE_OPENED, after=after, within_s=within_s)

    def await_question(self, release: str, *, after: int = 0, within_s: float = RELEASED_WITHIN_S) -> LedgerRow:
        """Wait until a release waits for its approval, and its run is suspended; it may not end after row `after`."""
        model = release.rpartition("-")[0]

        def asked() -> LedgerRow | None:
            rows = self.rows(model, Event.APPROVAL_ASKED, Event.RELEASE_ENDED, release=release)
            found = next((row for row in rows if row.seq > after), None)
            assert found is None or found.event is Event.APPROVAL_ASKED, f"{release} ended\n{self.story(model)}"
            return found

        question = await_it(asked, within_s, lambda: f"no question of {release}\n{self.story(model)}")
        run = str(question.payload["run"])
        self.prefect.wait(run, lambda state: state.type == "PAUSED" or state.ended, within_s=STALLED_S)
        return question

    def await_end(self, release: str, *, after: int = 0, within_s: float = RELEASED_WITHIN_S) -> LedgerRow:
        model = release.rpartition("-")[0]
        return await_it(
            lambda: next((r for r in self.rows(model, Event.RELEASE_ENDED, release=release) if r.seq > after), None),
            within_s,
            lambda: f"{release} did not end\n{self.story(model)}",
        )

    def await_state(self, run: str, *names: str, within_s: float = STALLED_S) -> str:
        """Wait until a run is in one of the states of these names."""
        return self.prefect.wait(run, lambda state: state.name in names, within_s=within_s).name

    def story(self, model: str) -> str:
        """Return a model's newest rows and runs, for a test that failed."""
        lines = [
            f"  {row.seq} {row.event} {row.release or ''} "
            + str({k: v for k, v in row.payload.items() if k in ("gate", "verdict", "reason", "outcome", "run")})[:400]
            for row in self.rows(model)[-25:]
        ]
        return "\n".join(lines)

    # -- its processes -------------------------------------------------------------------------------------------------

    def part(self, name: str) -> Running:
        status = current(stack_folder(self.settings))
        assert status is not None, "the supervisor is gone"
        return next(each for each in status.processes if each.name == name)

    def kill(self, name: str) -> Running:
        """End one process of the stack with SIGKILL; returns what was known of it before."""
        before = self.part(name)
        assert before.identity is not None
        os.kill(before.identity.pid, signal.SIGKILL)
        return before

    def await_back(self, before: Running, *, within_s: float = STALLED_S) -> Running:
        """Wait until the supervisor has brought a killed process back."""

        def back() -> Running | None:
            now = self.part(before.name)
            return now if now.state is ProcessState.READY and now.identity != before.identity else None

        return await_it(back, within_s, lambda: f"{before.name} is not back: {self.part(before.name)}")

    def await_ready(self, *, within_s: float = STALLED_S) -> None:
        def ready() -> bool:
            status = current(stack_folder(self.settings))
            return status is not None and status.ready

        await_it(ready, within_s, lambda: str(current(stack_folder(self.settings))))

    def kill_run(self, run: str, model: str) -> int:
        """End the process that carries a release's run, as the ledger names it, with SIGKILL."""
        entered = [
            row for row in self.rows(model, Event.RELEASE_OPENED, Event.RELEASE_RESUMED) if row.payload["run"] == run
        ]
        process: Any = entered[-1].payload["process"]
        alive = Identity(pid=int(process["pid"]), started=float(process["started"]))
        assert alive.alive, f"the ledger names process {alive.pid} for run {run}, and it is gone"
        os.kill(alive.pid, signal.SIGKILL)
        return alive.pid

    def processes_of(self, run: str) -> list[psutil.Process]:
        """Return the living processes that were started for a flow run."""
        found = []
        for each in marked(stack_folder(self.settings)):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(each.pid)
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                    found.append(process)
        return found

    # -- what must hold ------------------------------------------------------------------------------------------------

    def check(self, model: str) -> None:
        """Check what no crash may break: the chain, one promotion a release, routing as the ledger says."""
        chain = self.rows(model)
        assert broken_at(chain) is None
        promoted = [
            row.release
            for row in chain
            if row.event is Event.TRAFFIC_VERIFIED
            and row.payload["environment"] == "production"
            and row.payload.get("kind", "promotion") == "promotion"
        ]
        assert len(promoted) == len(set(promoted)), f"promoted twice: {promoted}"
        state = self.state(model)
        assert state.pending == {}
        for environment in ("production", "staging"):
            served = state.serving.get(environment)
            with contextlib.closing(self.services.target(environment)) as target:
                told = target.serving(ModelName(model))
            assert told.get("champion") == (served.bundle if served else None), f"{environment} routes {told}"

    def await_no_strays(self) -> None:
        """Wait until what a run that is over had started has ended too: it does so by itself, after the run."""
        await_it(lambda: not self.strays(), 60, lambda: f"left behind: {self.strays()}")

    def strays(self) -> list[str]:
        """Return processes of this stack that no plan names and no flow run needs."""
        status = current(stack_folder(self.settings))
        planned = {each.pid for each in status.identities} if status else set()
        names = []
        for each in marked(stack_folder(self.settings)):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(each.pid)
                above = {parent.pid for parent in process.parents()}
                if each.pid not in planned and not above & (planned - {status.supervisor.pid if status else 0}):
                    names.append(" ".join(process.cmdline()))
        return names


def await_it(look: Callable[[], T | None], within_s: float, what: Callable[[], str]) -> T:
    """Look until there is something; fail with words when there is not in time."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not after {within_s:.0f} s: {what()}"
        time.sleep(LOOK_S)
    return found
