"""The user's code in a process of its own: its limits, its environment, and what its failures look like."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lockgate.adapters.isolated import run_isolated
from lockgate.core.ids import Json
from lockgate.errors import BadInput, ConfigError, IntegrityError, MeasurementError
from tests.server_process import until

pytestmark = pytest.mark.integration

Run = Callable[..., Json]

SOURCE = """
    import os, signal, subprocess, sys, time
    from lockgate.errors import IntegrityError

    def echo(**given): return given
    def where(): return {"cwd": os.getcwd(), "environment": dict(os.environ), "home": os.listdir(os.environ["HOME"])}
    def deeper(): return {}["absent"]
    def boom(): return deeper()
    def ours(): raise IntegrityError("changed", part="a")
    def hang(): time.sleep(600)
    def child():
        held = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(held.pid, flush=True)
        time.sleep(600)
    def hungry():
        held = []
        for _ in range(10_000):
            held.append(b"x" * 2_000_000)
    def abort(): os.abort()
    def leave(): os._exit(3)
    def chatter():
        for at in range(100_000): print("line", at, "x" * 100)
        return "done"
    def noise(): print('{"value": "forged"}'); return "true answer"
    def unspeakable(): return object()
    no_function = 1
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "theirs.py").write_text(textwrap.dedent(SOURCE))

    def call(
        function: str,
        *,
        time_limit_s: float = 120,
        memory_limit_bytes: int = 512 * 1024**2,
        on_line: Callable[[str], None] | None = None,
        **request: Json,
    ) -> Json:
        return run_isolated(
            f"theirs:{function}",
            request,
            time_limit_s=time_limit_s,
            memory_limit_bytes=memory_limit_bytes,
            project=tmp_path,
            on_line=on_line,
        )

    return call


def test_the_answer_comes_back(run: Run) -> None:
    assert run("echo", a=1, b=[1.5, None], c={"d": "é"}) == {"a": 1, "b": [1.5, None], "c": {"d": "é"}}


def test_nothing_of_the_environment_passes(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LOCKGATE_HOME", "PREFECT_API_KEY", "MLFLOW_TRACKING_URI", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "secret")
    found = run("where")
    assert isinstance(found, dict)
    allowed = {"PATH", "HOME", "TMPDIR", "LANG", "TZ", "PYTHONPATH", "PYTHONHASHSEED", "OMP_WAIT_POLICY"}
    environment = found["environment"]
    assert isinstance(environment, dict)
    assert {name for name in environment if not name.endswith("_NUM_THREADS")} <= allowed
    assert "secret" not in environment.values()
    assert found["cwd"] == str(tmp_path)
    assert found["home"] == []
    assert not Path(str(environment["HOME"])).exists()


def test_what_is_printed_is_not_the_answer(run: Run) -> None:
    lines: list[str] = []
    assert run("noise", on_line=lines.append) == "true answer"
    assert lines == ['{"value": "forged"}']


def test_endless_output_is_read_and_forgotten(run: Run) -> None:
    assert run("chatter") == "done"


def test_an_exception_is_bad_input_with_the_users_line(run: Run) -> None:
    with pytest.raises(BadInput, match=r"theirs:boom raised KeyError: 'absent' \(theirs\.py:7\)") as caught:
        run("boom")
    assert caught.value.data["line"] == 7
    assert "Traceback" in str(caught.value.data["output"])


def test_our_own_errors_keep_their_kind(run: Run) -> None:
    with pytest.raises(IntegrityError, match="changed") as caught:
        run("ours")
    assert caught.value.data["part"] == "a"


@pytest.mark.parametrize(
    ("function", "message"), [("absent", "has no function 'absent'; it has echo"), ("no_function", "has no function")]
)
def test_a_function_that_is_not_there_names_those_that_are(run: Run, function: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run(function)


def test_a_module_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no module 'absent_module'"):
        run_isolated("absent_module:f", {}, time_limit_s=120, memory_limit_bytes=2**30, project=tmp_path)


def test_the_time_limit_is_named(run: Run) -> None:
    with pytest.raises(MeasurementError, match=r"time limit of 0\.5 s") as caught:
        run("hang", time_limit_s=0.5)
    assert caught.value.data["limit"] == "time"


def test_the_time_limit_ends_its_children_too(run: Run) -> None:
    lines: list[str] = []
    for limit_s in (2, 10, 50):  # a crowded machine may take longer than that to start the child
        with pytest.raises(MeasurementError):
            run("child", time_limit_s=limit_s, on_line=lines.append)
        if lines:
            break
    child = int(lines[0])
    until(lambda: ended(child))


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_memory_limit_is_named(run: Run) -> None:
    with pytest.raises(MeasurementError, match=r"memory limit of 0\.12 GiB") as caught:
        run("hungry", memory_limit_bytes=128 * 1024**2)
    assert caught.value.data["limit"] == "memory"


@pytest.mark.parametrize(("function", "message"), [("abort", "ended by SIGABRT"), ("leave", "code 3 and no answer")])
def test_a_process_that_dies_is_a_measurement_error(run: Run, function: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        run(function)


def test_an_answer_that_is_no_json_is_told(run: Run) -> None:
    with pytest.raises(MeasurementError, match="object has no JSON form"):
        run("unspeakable")


def test_a_config_error_is_bad_input_to_its_callers() -> None:
    assert issubclass(ConfigError, BadInput)


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(textwrap.dedent(SOURCE))
    code = (
        "import pathlib\nfrom lockgate.adapters.isolated import run_isolated\n"
        "run_isolated('theirs:child', {}, time_limit_s=60, memory_limit_bytes=2**30, "
        "project=pathlib.Path.cwd(), on_line=lambda line: print(line, flush=True))"
    )
    source = str(Path(__file__).parents[2] / "src")
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source}
    )
    assert parent.stdout is not None
    with parent.stdout:
        grandchild = psutil.Process(int(parent.stdout.readline()))
        isolated = grandchild.parent()
        assert isolated is not None
        parent.kill()
        parent.wait()
        gone, _ = psutil.wait_procs([isolated], timeout=60)
        grandchild.kill()
    assert gone == [isolated]
