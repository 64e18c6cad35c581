"""Run one function in a fresh interpreter: the user's code, away from keys, tokens and this process's memory.

Whom this stops: code that leaks memory, hangs, crashes, prints without end, changes global state, or reads secrets
from the environment. Whom it does not stop: code that means harm and runs as the same user of the machine, because
such code can read every file this program can read. Give the signing step a user of its own
(`docs/security.md`) where the training code is not trusted.

Not its matter: what the function does, and where its files go; a request and an answer are JSON.

    parent: run_isolated(target, request)            child: python -m lockgate.adapters.isolated
      request  -> unlinked file, its standard input    sets its limits, imports the target, calls it
      answer   <- unlinked file, a descriptor          writes {"value": ...} or {"error": ...}
      output   <- pipe, standard output and error      kept to a bound, last lines go into messages
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from lockgate import errors
from lockgate.adapters.processes import MARK
from lockgate.core.ids import Json, to_json
from lockgate.errors import BadInput, LockgateError, MeasurementError

_OUTPUT_LINES = 200
_OUTPUT_LINE_BYTES = 2_000
_ANSWER_LIMIT_BYTES = 64 * 1024**2
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run_isolated(  # noqa: PLR0913 - what to run and its limits; all but the first two are keywords
    target: str,
    request: Mapping[str, Json],
    *,
    time_limit_s: float,
    memory_limit_bytes: int,
    project: Path,
    on_line: Callable[[str], None] | None = None,
    threads: int | None = None,
) -> Json:
    """Call `package.module:function(**request)` in a process of its own and return its answer.

    Args:
        target: What to call; importable from the project, from `src` or as an installed package.
        request: Its keyword arguments.
        time_limit_s: Wall time after which the whole process group is killed.
        memory_limit_bytes: Private writable memory (`RLIMIT_DATA`) of each process, the libraries' own included
            (about 0.6 GB for the usual ones).
        project: Working folder, and first place to import from.
        on_line: Told of every line that the function prints, from a thread; exceptions of it are not caught.
        threads: Threads that numeric libraries may take; None: one a core.

    Returns:
        What the function returned, in its JSON form.

    Raises:
        BadInput: The function cannot be imported, or raised: says what, and the line of the user's code.
        MeasurementError: A limit was hit (says which), the process died, or something that is not the user's broke.
        LockgateError: Whatever error of `errors.py` the function itself raised.
    """
    header = {
        "target": target,
        "request": to_json(request),
        "time_limit_s": time_limit_s,
        "memory_limit_bytes": memory_limit_bytes,
        "parent": os.getpid(),
        "project": str(project),
    }
    with tempfile.TemporaryDirectory(prefix="lockgate-isolated-") as home, tempfile.TemporaryFile() as answer:
        with tempfile.TemporaryFile() as stdin:
            stdin.write(json.dumps(header).encode())
            stdin.seek(0)
            process = _start(project, _environment(project, Path(home), threads), stdin, answer)
        tail, timed_out = _wait(process, time_limit_s, on_line)
        answer.seek(0)
        written = answer.read(_ANSWER_LIMIT_BYTES + 1)
    if timed_out:
        raise MeasurementError(
            f"{target} was ended at its time limit of {time_limit_s:g} s; raise the limit, or give it less to do",
            limit="time",
            output=tail,
        )
    return _read_answer(target, written, process.returncode, memory_limit_bytes, tail)


def load_function(target: str) -> Callable[..., Any]:
    """Import `package.module:function`.

    Raises:
        BadInput: It has another form, or there is no such module or function; names what the module holds.
    """
    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name.isidentifier():
        raise BadInput(f"{target!r} must have the form package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{module_name}.".startswith(f"{missing.name}."):
            raise
        raise BadInput(f"{target}: there is no module {missing.name!r} in the project or its environment") from missing
    function = getattr(module, name, None)
    if not callable(function):
        own = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module_name]
        there = ", ".join(n for n in own if not n.startswith("_")) or "nothing"
        raise BadInput(f"{target}: {module_name} has no function {name!r}; it has {there}")
    return function  # type: ignore[no-any-return]  # what a module holds is not typed; callable() was checked


# -- parent ----------------------------------------------------------------------------------------------------------


def _start(
    project: Path, environment: Mapping[str, str], stdin: IO[bytes], answer: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-s", "-X", "faulthandler", "-m", "lockgate.adapters.isolated", str(answer.fileno())],
        cwd=project,
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(answer.fileno(),),
        start_new_session=True,
    )


def _environment(project: Path, home: Path, threads: int | None) -> dict[str, str]:
    """Return the whole environment of the child: nothing of ours passes, so no token can."""
    source = Path(errors.__file__).parents[1]
    cores = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONPATH": os.pathsep.join((str(project), str(source))),
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait starve whoever shares the machine
        "PYTHONHASHSEED": "0",  # a set's order must not change a fit
        **dict.fromkeys(_THREAD_VARIABLES, cores if threads is None else str(threads)),
        **{name: os.environ[name] for name in (MARK,) if name in os.environ},  # a folder: whose process this is
    }


def _wait(
    process: subprocess.Popen[bytes], time_limit_s: float, on_line: Callable[[str], None] | None
) -> tuple[str, bool]:
    """Wait, keep the last lines, and leave no process of the group behind."""
    tail: deque[str] = deque(maxlen=_OUTPUT_LINES)
    stream = process.stdout
    assert stream is not None  # noqa: S101 - Popen was given PIPE; this tells the type checker
    reader = threading.Thread(target=_read_lines, args=(stream, tail, on_line), daemon=True)
    reader.start()
    timed_out = False
    try:
        process.wait(time_limit_s)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group may be gone already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    reader.join(timeout=5)  # a grandchild in a session of its own may hold the pipe; its output is not ours to wait for
    return "\n".join(tail), timed_out


def _read_lines(stream: IO[bytes], tail: deque[str], on_line: Callable[[str], None] | None) -> None:
    with stream:
        while piece := stream.readline(_OUTPUT_LINE_BYTES):
            line = piece.decode(errors="replace").rstrip("\n")
            tail.append(line)
            if on_line is not None:
                on_line(line)


def _read_answer(target: str, written: bytes, returncode: int, memory_limit_bytes: int, tail: str) -> Json:
    if len(written) > _ANSWER_LIMIT_BYTES:
        raise BadInput(f"{target} answered more than {_ANSWER_LIMIT_BYTES} bytes; write large results to files")
    if written:
        answer = json.loads(written)
        if "value" in answer:
            value: Json = answer["value"]
            return value
        error = answer["error"]
        kind = getattr(errors, error["kind"], MeasurementError)
        raise kind(error["message"], **{"output": tail, **error["data"]})
    limit_gib = memory_limit_bytes / 1024**3
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = {
            "SIGXCPU": "it used up the processor time that its time limit allows",
            "SIGKILL": "killed from outside: most often the machine ran out of memory",
            "SIGABRT": f"aborted: most often an allocation beyond its memory limit of {limit_gib:.2f} GiB",
        }.get(name, f"a crash of native code, or its memory limit of {limit_gib:.2f} GiB")
        raise MeasurementError(f"{target} ended by {name}: {hint}{_last_line(tail)}", signal=name, output=tail)
    raise MeasurementError(
        f"{target} ended with code {returncode} and no answer{_last_line(tail)}", code=returncode, output=tail
    )


def _last_line(tail: str) -> str:
    return f"; it last said: {tail.splitlines()[-1].strip()}" if tail.strip() else ""


# -- child -----------------------------------------------------------------------------------------------------------


def _main(answer_descriptor: int) -> None:
    header = json.load(sys.stdin)
    _limit(header)
    try:
        answer = {"value": to_json(load_function(header["target"])(**header["request"]))}
    except LockgateError as error:
        answer = {"error": {"kind": type(error).__name__, "message": error.message, "data": to_json(error.data)}}
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises is told, not thrown away
        traceback.print_exc()
        answer = {"error": _describe(header, error)}
    with os.fdopen(answer_descriptor, "wb") as file:
        file.write(json.dumps(answer).encode())


def _limit(header: Mapping[str, Any]) -> None:
    """Apply the limits, and die with the parent: a flow that was killed must not leave a fit behind."""
    memory = int(header["memory_limit_bytes"])
    cores = os.cpu_count() or 1
    cpu_s = math.ceil(header["time_limit_s"] * cores) + 5
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != header["parent"]:  # it died before we asked
            os._exit(1)


def _describe(header: Mapping[str, Any], error: Exception) -> dict[str, Json]:
    """Say what was raised and where: the deepest line of the user's code, else the deepest of all."""
    if isinstance(error, MemoryError) or "bad_alloc" in str(error):  # the second is how C++ libraries say it
        limit_gib = header["memory_limit_bytes"] / 1024**3
        message = f"{header['target']} hit its memory limit of {limit_gib:.2f} GiB; raise it, or give it less to hold"
        return {"kind": "MeasurementError", "message": message, "data": {"limit": "memory"}}
    frames = traceback.extract_tb(error.__traceback__)
    project = Path(header["project"]).resolve()
    ours = Path(errors.__file__).resolve().parent
    users = [f for f in frames if _is_users(Path(f.filename).resolve(), project, ours)]
    last_line = traceback.format_exception_only(error)[-1].strip()
    if users:
        path = Path(users[-1].filename).resolve().relative_to(project)
        message = f"{header['target']} raised {last_line} ({path}:{users[-1].lineno})"
        return {"kind": "BadInput", "message": message, "data": {"file": str(path), "line": users[-1].lineno}}
    where = f"{frames[-1].filename}:{frames[-1].lineno}"
    return {"kind": "MeasurementError", "message": f"{header['target']} broke: {last_line} ({where})", "data": {}}


def _is_users(path: Path, project: Path, ours: Path) -> bool:
    installed = "site-packages" in path.parts or path.is_relative_to(Path(sys.prefix).resolve())
    return path.is_relative_to(project) and not installed and not path.is_relative_to(ours)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
