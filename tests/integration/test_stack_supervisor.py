"""The supervisor with toy processes: real processes, real signals, no orchestrator."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import lockgate
from lockgate.adapters.child import Patience
from lockgate.adapters.health import Health, HealthKind
from lockgate.adapters.processes import Identity, marked
from lockgate.adapters.stack_control import current, down, up
from lockgate.adapters.stack_state import Plan, Process, ProcessState, Running, Status, locked, read_status
from lockgate.adapters.supervisor import Supervisor, main
from lockgate.errors import BadInput, NotRunning
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SERVE = """
import http.server, sys
address = ("127.0.0.1", int(sys.argv[1]))
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
SLEEP = "import time; time.sleep(600)"
NEVER_S = 3600.0  # ours: what is to die may take as long to start as a crowded machine likes, and is not ready by that
WITHIN_S = 90.0  # ours: what is to come comes in a second; on a crowded machine in twenty
QUICK = Patience(first_s=0.05, longest_s=0.2, loop=3, window_s=300.0)
IMPORTS = {"PYTHONPATH": str(Path(lockgate.__file__).parents[1])}


def process(
    name: str,
    code: str,
    *arguments: str,
    after: tuple[str, ...] = (),
    grace_s: float = 5.0,
    alive_s: float = 0.1,
) -> Process:
    return Process(
        name=name,
        argv=(sys.executable, "-c", code, *arguments),
        env=IMPORTS,
        cwd="/",
        health=Health(kind=HealthKind.ALIVE, alive_s=alive_s),
        after=after,
        grace_s=grace_s,
    )


def web(name: str, port: int, after: tuple[str, ...] = ()) -> Process:
    return Process(
        name=name,
        argv=(sys.executable, "-c", SERVE, str(port)),
        env=IMPORTS,
        cwd="/tmp",  # noqa: S108 - what it lists does not matter
        health=Health(kind=HealthKind.HTTP, url=f"http://127.0.0.1:{port}/"),
        after=after,
        ports={f"LOCKGATE_{name.upper()}_PORT": port},
    )


def until(holds: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def told(status: Status | None, name: str) -> Running:
    assert status is not None
    return next(each for each in status.processes if each.name == name)


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    yield tmp_path / "stack"
    if "supervised" not in request.fixturenames:  # there the supervisor is this very process
        down(tmp_path / "stack")


def plan_of(folder: Path, *processes: Process) -> Plan:
    return Plan(processes=processes, logs=str(folder.parent / "logs"))


@pytest.fixture
def supervised(folder: Path) -> Iterator[Callable[..., Supervisor]]:
    """A supervisor in a thread of this process, with little patience."""
    started: list[tuple[Supervisor, threading.Thread]] = []

    def start(*processes: Process) -> Supervisor:
        supervisor = Supervisor(folder, plan_of(folder, *processes), QUICK)
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        started.append((supervisor, thread))
        until(lambda: read_status(folder) is not None)
        return supervisor

    yield start
    for supervisor, thread in started:
        supervisor.stop()
        thread.join(timeout=WITHIN_S)


def state(folder: Path, name: str) -> ProcessState | None:
    status = read_status(folder)
    return None if status is None else told(status, name).state


def test_a_process_starts_only_when_what_it_follows_is_ready(
    folder: Path, supervised: Callable[..., Supervisor]
) -> None:
    port = free_port()
    late = "import runpy, sys, time; time.sleep(0.5); sys.argv = sys.argv[:]; exec(sys.argv[2])"
    first = web("first", port)
    slow = Process(
        name="first",
        argv=(sys.executable, "-c", late, str(port), SERVE),
        cwd="/",
        health=first.health,
    )
    supervised(slow, process("second", SLEEP, after=("first",)))
    until(lambda: state(folder, "second") is ProcessState.READY)
    status = read_status(folder)
    first_pid, second_pid = told(status, "first").identity, told(status, "second").identity
    assert first_pid is not None
    assert second_pid is not None
    assert second_pid.started - first_pid.started >= 0.4


def test_a_dead_process_is_started_again(folder: Path, supervised: Callable[..., Supervisor]) -> None:
    supervised(process("toy", SLEEP))
    until(lambda: state(folder, "toy") is ProcessState.READY)
    first = told(read_status(folder), "toy").identity
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: told(read_status(folder), "toy").restarts == 1 and state(folder, "toy") is ProcessState.READY)
    second = told(read_status(folder), "toy").identity
    assert second is not None
    assert second.pid != first.pid
    assert second.alive


def test_a_restart_loop_is_reported_and_the_others_stay_up(folder: Path, supervised: Callable[..., Supervisor]) -> None:
    supervised(process("broken", "raise SystemExit(3)", alive_s=NEVER_S), process("sound", SLEEP))
    until(lambda: state(folder, "broken") is ProcessState.FAILING)
    broken = told(read_status(folder), "broken")
    assert "exit code 3" in broken.reason
    assert broken.log.endswith("broken.log")
    until(lambda: state(folder, "sound") is ProcessState.READY)
    assert told(read_status(folder), "sound").restarts == 0


def test_a_failing_process_that_recovers_is_ready_again(folder: Path, supervised: Callable[..., Supervisor]) -> None:
    repaired = folder.parent / "repaired"
    supervised(process("toy", f"import os, time; os.path.exists({str(repaired)!r}) or exit(1); time.sleep(600)"))
    until(lambda: state(folder, "toy") is ProcessState.FAILING)
    repaired.touch()
    until(lambda: _is_ready_again(told(read_status(folder), "toy")))


def _is_ready_again(running: Running) -> bool:
    return (running.state, running.reason) == (ProcessState.READY, "")


def test_a_command_that_is_not_there_is_reported(folder: Path, supervised: Callable[..., Supervisor]) -> None:
    missing = Process(name="toy", argv=("/nowhere/at/all",), cwd="/", health=Health(kind=HealthKind.ALIVE))
    supervised(missing)
    until(lambda: state(folder, "toy") is ProcessState.FAILING)
    assert "could not be started" in told(read_status(folder), "toy").reason


def test_a_process_that_never_answers_is_ended_and_started_again(
    folder: Path, supervised: Callable[..., Supervisor]
) -> None:
    mute = Process(
        name="mute",
        argv=(sys.executable, "-c", SLEEP),
        cwd="/",
        health=Health(kind=HealthKind.HTTP, url=f"http://127.0.0.1:{free_port()}/"),
        ready_within_s=0.5,
    )
    supervised(mute)
    until(lambda: _was_not_ready(told(read_status(folder), "mute")))
    assert told(read_status(folder), "mute").restarts > 0


def _was_not_ready(running: Running) -> bool:
    """Tell whether the reason of a restart is said; not where the process has just been started again."""
    return "not ready after" in running.reason


def test_dependants_are_ended_first(folder: Path) -> None:
    said, seen = folder.parent / "said", folder.parent / "seen"
    marker = f"""
import os, signal, sys, time
def say(what):
    with open({str(said)!r}, "a") as file: file.write(what + " " + sys.argv[1] + chr(10))
def end(*_):
    say("asked")
    time.sleep(0.3)
    while sys.argv[1] == "base" and not os.path.exists({str(seen)!r}): time.sleep(0.02)
    say("ended")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
say("ready")
time.sleep(600)
"""

    def tell(each: Running) -> None:
        if each.name == "top" and each.state is ProcessState.STOPPED:
            seen.touch()  # the other one waits for that, so that whoever looks late has seen it, too

    base, top = process("base", marker, "base", grace_s=60), process("top", marker, "top", after=("base",), grace_s=60)
    up(folder, plan_of(folder, base, top), within_s=WITHIN_S)
    until(lambda: said.is_file() and said.read_text().count("ready") == 2)
    down(folder, tell=tell)
    assert seen.exists()
    assert said.read_text().split("\n")[2:] == ["asked top", "ended top", "asked base", "ended base", ""]


def test_sigint_is_not_ignored_by_what_is_started_even_when_the_shell_ignored_it(folder: Path) -> None:
    ends_on_sigint = (
        "import signal, time; assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN; time.sleep(600)"
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = up(folder, plan_of(folder, process("toy", ends_on_sigint)), within_s=WITHIN_S)
    finally:
        signal.signal(signal.SIGINT, before)
    identity = told(status, "toy").identity
    assert identity is not None
    os.kill(identity.pid, signal.SIGINT)
    until(lambda: not identity.alive)


def test_down_leaves_no_process_not_even_those_that_left_their_group(folder: Path) -> None:
    family = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)
subprocess.Popen([sys.executable, '-c', {SLEEP!r}])
time.sleep(600)
"""
    status = up(folder, plan_of(folder, process("family", family), process("other", SLEEP)), within_s=WITHIN_S)
    until(lambda: len(marked(folder)) == 5)
    everyone = marked(folder)
    assert status.supervisor in everyone
    assert down(folder) >= 3
    assert [each for each in everyone if each.alive] == []
    assert marked(folder) == ()
    assert current(folder) is None


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(folder: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    status = up(folder, plan_of(folder, process("deaf", deaf, grace_s=0.5)), within_s=WITHIN_S)
    until(lambda: "deaf\n" in (folder.parent / "logs" / "deaf.log").read_text())
    identity = told(status, "deaf").identity
    down(folder)
    assert identity is not None
    assert not identity.alive


def test_down_twice_and_without_a_stack_is_harmless(folder: Path) -> None:
    assert down(folder) == 0
    up(folder, plan_of(folder, process("toy", SLEEP)), within_s=WITHIN_S)
    assert down(folder) >= 2
    assert down(folder) == 0


def test_orphans_of_a_killed_supervisor_are_ended_by_the_next_down(folder: Path) -> None:
    status = up(folder, plan_of(folder, process("toy", SLEEP)), within_s=WITHIN_S)
    orphan = told(status, "toy").identity
    assert orphan is not None
    os.kill(status.supervisor.pid, signal.SIGKILL)
    until(lambda: current(folder) is None)
    assert orphan.alive
    assert down(folder) == 1
    assert not orphan.alive


def test_down_ends_everything_although_the_status_was_lost(folder: Path) -> None:
    status = up(folder, plan_of(folder, process("toy", SLEEP)), within_s=WITHIN_S)
    (folder / "status.json").write_text("{")
    assert down(folder) == 2
    assert [each for each in status.identities if each.alive] == []


def test_orphans_of_a_killed_supervisor_are_replaced_by_the_next_up(folder: Path) -> None:
    plan = plan_of(folder, web("web", free_port()))
    first = up(folder, plan, within_s=WITHIN_S)
    orphan = told(first, "web").identity
    os.kill(first.supervisor.pid, signal.SIGKILL)
    until(lambda: current(folder) is None)
    second = up(folder, plan, within_s=WITHIN_S)
    assert orphan is not None
    assert not orphan.alive
    assert second.ready


def test_a_stranger_with_a_recorded_process_id_is_left_alone(folder: Path) -> None:
    status = up(folder, plan_of(folder, process("toy", SLEEP)), within_s=WITHIN_S)
    os.kill(status.supervisor.pid, signal.SIGKILL)
    until(lambda: current(folder) is None)
    recorded = (folder / "status.json").read_text()
    stranger = psutil.Popen([sys.executable, "-c", SLEEP])
    orphan = told(status, "toy").identity
    assert orphan is not None
    (folder / "status.json").write_text(recorded.replace(f'"pid": {orphan.pid}', f'"pid": {stranger.pid}'))
    try:
        down(folder)
        assert stranger.is_running()
        assert not orphan.alive  # known by its mark, although its id was not recorded
    finally:
        stranger.kill()
        stranger.wait()


def test_up_again_changes_nothing(folder: Path) -> None:
    plan = plan_of(folder, process("toy", SLEEP))
    assert up(folder, plan, within_s=WITHIN_S).supervisor == up(folder, plan, within_s=WITHIN_S).supervisor


def test_up_with_other_settings_is_refused_while_a_stack_is_up(folder: Path) -> None:
    up(folder, plan_of(folder, process("toy", SLEEP)), within_s=WITHIN_S)
    with pytest.raises(BadInput, match=r"\(other, toy would differ\); run lockgate down first"):
        up(folder, plan_of(folder, process("other", SLEEP)), within_s=WITHIN_S)


def test_a_taken_port_names_the_port_its_holder_and_the_variable(folder: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = int(holder.getsockname()[1])
        with pytest.raises(BadInput) as refused:
            up(folder, plan_of(folder, web("mlflow", port)), within_s=WITHIN_S)
    message = refused.value.message
    assert f"port {port} for mlflow" in message
    assert str(os.getpid()) in message
    assert "LOCKGATE_MLFLOW_PORT" in message
    assert refused.value.exit_code == 2
    assert current(folder) is None


def test_up_says_what_does_not_come_up_and_leaves_the_rest_up(folder: Path) -> None:
    broken = process("broken", "print('no such table: flow_run'); raise SystemExit(1)", alive_s=NEVER_S)
    with pytest.raises(NotRunning) as refused:
        up(folder, plan_of(folder, broken, process("sound", SLEEP)), within_s=WITHIN_S)
    assert "broken" in refused.value.message
    assert "no such table: flow_run" in refused.value.message
    assert refused.value.exit_code == 7
    until(lambda: told(current(folder), "sound").state is ProcessState.READY)


def test_a_second_supervisor_of_one_folder_ends_at_once(folder: Path) -> None:
    with locked(folder / "supervisor.lock", wait=False) as mine:
        assert mine
        assert main([str(folder)]) == 1


def test_what_a_process_prints_is_in_its_log(folder: Path) -> None:
    talks = """
import sys, time
print("to stdout", flush=True)
print("to stderr", file=sys.stderr, flush=True)
time.sleep(600)
"""
    up(folder, plan_of(folder, process("talks", talks)), within_s=WITHIN_S)
    log = folder.parent / "logs" / "talks.log"
    until(lambda: "to stdout" in log.read_text() and "to stderr" in log.read_text())


def test_the_supervisor_survives_a_folder_that_cannot_be_written(
    folder: Path, supervised: Callable[..., Supervisor]
) -> None:
    supervised(process("toy", SLEEP))
    until(lambda: state(folder, "toy") is ProcessState.READY)
    identity = told(read_status(folder), "toy").identity
    moved = folder.with_name("away")
    folder.rename(moved)
    folder.touch()  # a file where the folder was: every write fails, as on a full disk
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    until(lambda: not identity.alive)
    time_to_fail = threading.Event()
    time_to_fail.wait(0.5)
    folder.unlink()
    moved.rename(folder)
    until(lambda: told(read_status(folder), "toy").restarts == 1 and state(folder, "toy") is ProcessState.READY)


def test_an_identity_is_not_fooled_by_a_reused_process_id() -> None:
    me = Identity.of(os.getpid())
    assert me is not None
    assert me.alive
    assert not Identity(pid=me.pid, started=me.started - 3600).alive
