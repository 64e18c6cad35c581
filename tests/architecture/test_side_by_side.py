"""The run of the tests in two processes: one summary, one exit code, and no test that is lost in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHIN_S = 120  # ours: each takes two seconds, on a crowded machine twenty
INI = "[pytest]\nmarkers = e2e: needs a whole stack\n"
STACK = """
import os, pytest
from pathlib import Path

@pytest.fixture(scope="session")
def stack():
    Path("up").write_text(str(os.getpid()))
    yield
    Path("down").touch()
"""
AWAIT = f"""
import os, time

def until(name):
    end = time.monotonic() + {WITHIN_S}
    while not os.path.exists(name):
        assert time.monotonic() < end
        time.sleep(0.05)

"""
BESIDE = "import pytest, os, signal, time\npytestmark = pytest.mark.e2e\n"


def started(folder: Path, *options: str, **files: str) -> subprocess.Popen[str]:
    """Run the tests of these files side by side."""
    (folder / "pytest.ini").write_text(INI)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.side_by_side", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - under a shell's `&` too
    )


def ran(folder: Path, *options: str, **files: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines of such a run."""
    process = started(folder, *options, **files)
    said, _ = process.communicate(timeout=WITHIN_S)
    return process.returncode, said.splitlines()


def test_two_processes_run_everything_once_and_one_line_sums_it_up(tmp_path: Path) -> None:
    here = "import os\ndef test_a(): open('first', 'a').write(f'{os.getpid()} ')\ndef test_b(): pass\n"
    there = BESIDE + "def test_c(): open('second', 'a').write(f'{os.getpid()} ')\n"
    code, lines = ran(tmp_path, test_here=here, test_more="def test_d(): pass\n", test_there=there)
    assert code == 0, lines
    assert lines[-1].strip("= ").startswith("4 passed in"), lines
    [first], [second] = ((tmp_path / name).read_text().split() for name in ("first", "second"))
    assert first != second


def test_a_second_process_that_ends_long_before_the_first_is_not_waited_for(tmp_path: Path) -> None:
    here = AWAIT + "def test_a():\n    until('down')\n    time.sleep(1)\ndef test_b(): pass\ndef test_c(): pass\n"
    there = BESIDE + "def test_d(stack): pass\ndef test_e(): pass\n"
    code, lines = ran(tmp_path, conftest=STACK, test_here=here, test_there=there)
    assert code == 0, lines
    assert lines[-1].strip("= ").startswith("5 passed in"), lines


def test_the_stack_is_down_before_the_second_process_helps_the_first(tmp_path: Path) -> None:
    here = AWAIT + "def test_a(): until('seen')\ndef test_b(): pass\n"
    later = "import os\ndef test_c(): open('seen', 'w').write(str(os.path.exists('down')))\n"
    there = BESIDE + "def test_d(stack): pass\n"
    code, lines = ran(tmp_path, conftest=STACK, test_here=here, test_later=later, test_there=there)
    assert code == 0, lines
    assert (tmp_path / "seen").read_text() == "True"


def test_a_failure_of_the_second_process_is_shown_and_fails_the_run(tmp_path: Path) -> None:
    there = BESIDE + "def test_c():\n    left = 1\n    assert left == 2, 'so it is'\n"
    code, lines = ran(tmp_path, test_here="def test_a(): pass\n", test_there=there)
    assert code == 1
    assert lines[-1].strip("= ").startswith("1 failed, 1 passed in"), lines
    assert any("FAILED test_there.py::test_c" in line for line in lines), lines
    assert any("so it is" in line for line in lines), lines


def test_a_second_process_that_dies_fails_the_run_and_names_what_it_did_not_end(tmp_path: Path) -> None:
    there = BESIDE + "def test_c(): pass\ndef test_d(): os.kill(os.getpid(), signal.SIGKILL)\ndef test_e(): pass\n"
    code, lines = ran(tmp_path, test_here="def test_a(): pass\n", test_there=there)
    assert code == 1
    assert lines[-1].strip("= ").startswith("2 failed, 2 passed in"), lines
    assert any("the second process ended with -9 before this test did" in line for line in lines), lines
    assert any("FAILED test_there.py::test_d" in line for line in lines), lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_stack_of_the_second_process_comes_down_when_the_first_is_ended(
    tmp_path: Path, number: signal.Signals
) -> None:
    there = BESIDE + "def test_c(stack): time.sleep(600)\n"
    here = "import time\ndef test_a(): time.sleep(600)\n"
    process = started(tmp_path, conftest=STACK, test_here=here, test_there=there)
    awaited(tmp_path / "up")
    process.send_signal(number)
    process.communicate(timeout=WITHIN_S)
    awaited(tmp_path / "down")
    assert process.returncode == (2 if number == signal.SIGINT else -number)


def awaited(path: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.05)
