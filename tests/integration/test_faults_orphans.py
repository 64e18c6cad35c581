"""A process that is killed takes its helpers with it: no sandbox or load generator is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lockgate.adapters.tether import tethered

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: only Linux ends a child with its parent"),
]
PARENT = """
import subprocess, sys
from lockgate.adapters.tether import tethered
child = subprocess.Popen(tethered([sys.executable, "-c", "import time; time.sleep(60)"]), start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


def test_a_tethered_process_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 50  # of its sixty
    while not _ended(child):
        assert time.monotonic() < deadline, f"{child} outlived its parent"
        time.sleep(0.02)


def _ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_tethered_process_keeps_its_arguments_and_its_end() -> None:
    command = [sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(3)", "a b", "c"]
    done = subprocess.run(tethered(command), stdout=subprocess.PIPE, text=True, check=False)
    assert (done.stdout, done.returncode) == ("['a b', 'c']\n", 3)
