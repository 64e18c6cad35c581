"""What a stack is made of and what its supervisor says about it: the two files that both sides read.

    <home>/stack/
        plan.json        what should run: written by `lockgate up`, read by the supervisor
        status.json      what runs: written by the supervisor, read by everybody
        supervisor.lock  held as long as a supervisor lives
        command.lock     held while `lockgate up` or `lockgate down` is at work

Neither file holds a secret: processes get those from the environment they inherit.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from lockgate.adapters.health import Health, HealthKind
from lockgate.adapters.processes import Identity
from lockgate.core.ids import digest_of

SCHEMA_VERSION = 1


class ProcessState(StrEnum):
    """Where one supervised process stands.

    waiting -> starting -> ready -> stopped;  starting, ready -> restarting -> starting;  restarting -> failing (a
    restart loop: tried on, at the longest pause)
    """

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILING = "failing"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process that should run.

    Attributes:
        name: Its name in the stack, in logs and in messages.
        argv: The command; never holds a secret, because every user of the machine can read it.
        env: What is set over the inherited environment.
        cwd: Where it runs.
        health: What makes it ready.
        after: Names of the processes that must be ready before it starts; they stop after it.
        ports: The ports it listens on, by the variable that changes each.
        url: Where a person finds it; empty for none.
        ready_within_s: Ended and started again when it is not ready by then.
        grace_s: From SIGTERM to SIGKILL.
        outlived: What its process group still runs when it dies goes on (flow runs go on when their worker dies).
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str
    health: Health
    after: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    url: str = ""
    ready_within_s: float = 90.0
    grace_s: float = 10.0
    outlived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What should run.

    Attributes:
        processes: Every process, in the order people read.
        logs: Where each writes `<name>.log`.
    """

    processes: tuple[Process, ...]
    logs: str

    @property
    def digest(self) -> str:
        """The same for two stacks that would run the same."""
        return digest_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What the supervisor knows of one process.

    Attributes:
        name: Its name.
        state: Where it stands.
        identity: The process; None when there is none now.
        since: When it entered the state, seconds since the epoch.
        restarts: How often it was started again.
        reason: Why it is not ready, with the last exit; empty when it is.
        log: Its log file.
        url: Where a person finds it.
    """

    name: str
    state: ProcessState
    identity: Identity | None
    since: float
    restarts: int
    reason: str
    log: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the supervisor last wrote.

    Attributes:
        supervisor: The supervisor itself.
        plan: Digest of the plan it follows.
        stopping: Whether it is ending the stack.
        processes: One a process, in the plan's order.
    """

    supervisor: Identity
    plan: str
    stopping: bool
    processes: tuple[Running, ...]

    @property
    def ready(self) -> bool:
        """Whether everything is."""
        return not self.stopping and all(each.state is ProcessState.READY for each in self.processes)

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Every process it names, itself last."""
        return (*(each.identity for each in self.processes if each.identity is not None), self.supervisor)


def write_plan(folder: Path, plan: Plan) -> None:
    """Write what should run."""
    _write(folder / "plan.json", asdict(plan))


def read_plan(folder: Path) -> Plan:
    """Read what should run."""
    given = json.loads((folder / "plan.json").read_text())
    processes = [
        Process(
            **{
                **each,
                "argv": tuple(each["argv"]),
                "after": tuple(each["after"]),
                "health": Health(**{**each["health"], "kind": HealthKind(each["health"]["kind"])}),
            }
        )
        for each in given["processes"]
    ]
    return Plan(processes=tuple(processes), logs=given["logs"])


def write_status(folder: Path, status: Status) -> None:
    """Replace the status, whole or not at all."""
    _write(folder / "status.json", {"schema_version": SCHEMA_VERSION, **asdict(status)})


def read_status(folder: Path) -> Status | None:
    """Read what the supervisor last wrote; None when there is nothing, or nothing that a supervisor writes.

    Without it nothing is lost: what a stack started is also known by its mark.
    """
    try:
        given = json.loads((folder / "status.json").read_text())
        return Status(
            supervisor=Identity(**given["supervisor"]),
            plan=given["plan"],
            stopping=given["stopping"],
            processes=tuple(
                Running(
                    **{
                        **each,
                        "state": ProcessState(each["state"]),
                        "identity": Identity(**each["identity"]) if each["identity"] else None,
                    }
                )
                for each in given["processes"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_status(folder: Path) -> None:
    """Remove what a supervisor that is gone wrote."""
    (folder / "status.json").unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock that ends with this process, however it ends.

    Yields:
        Whether it was taken; always True when `wait`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=1))
    draft.replace(path)
