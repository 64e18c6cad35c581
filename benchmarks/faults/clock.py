"""The wall clock is set back, and forth again, under a running server: leases and logs keep going.

The clock of the machine is left alone: the server and its workers ask a few lines of C, loaded before the C library,
which add an offset out of a file to the wall clock's time and to no other clock's.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults.finding import Finding
from lockgate.serving.log.logged_line import read_line
from lockgate.serving.log.segments import lines, segments
from tests.integration.saturation import Answer, Saturation
from tests.server_process import World, serving

AMOUNTS = (1.0, 8.0, 15.0, 22.0)
HOUR_S = 3600
LEASE_S = 1.5
AFTER_S = 1.0  # callers go on asking for so long after a lease's end
ENOUGH = 20  # ours: of so many answers at even odds the challenger gives none once in a million times
UNSEEN = "too few answers"  # how the one problem begins that says nothing of the server: it is to be tried again
JUMPING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
static volatile const long *offset;
static int (*real)(clockid_t, struct timespec *);
__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("CLOCK_OFFSET"), O_RDONLY);
    offset = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");  // Python 3.13 asks before `begin`
    int failed = real(clock, now);
    if (clock == CLOCK_REALTIME && !failed && offset) now->tv_sec += *offset;
    return failed;
}
"""


def clock_jumps(root: Path, *, workers: int = 1) -> Finding:
    """Set the clock back by an hour, then to an hour ahead, while a challenger has a lease and callers are answered.

    Raises:
        NoCompiler: There is no C compiler.
    """
    found = Finding(f"the wall clock jumps, {workers} worker(s)")
    world = World(root)
    champion, challenger = world.bundle(bias=0.0), world.bundle(bias=1.0)
    body = {"sequence": 1, "champion": champion, "lease_s": LEASE_S,
            "challengers": [{"name": "rival", "bundle": challenger, "weight": 0.5}]}  # fmt: skip
    offset = root / "offset"
    _set(offset, 0)
    with _environment(_library(root), offset), serving(world, "--workers", str(workers)) as server:
        found.expect(server.admin.put("/admin/routing/toy", json=body).status_code == 200, "routing was not taken")
        with Saturation(server.port, AMOUNTS, 0.002) as load:
            ends: list[Leased] = []
            for jump in (-HOUR_S, HOUR_S):
                asked = time.monotonic()
                renewed = server.admin.post("/admin/routing/toy/lease", json={"sequence": 1})
                told = time.monotonic()
                found.expect(renewed.status_code == 200, f"not renewed: {renewed.text}")
                time.sleep(LEASE_S / 3)
                _set(offset, jump)
                ends.append(Leased(time.monotonic(), asked + LEASE_S, told + LEASE_S))
                time.sleep(LEASE_S * 2 / 3 + AFTER_S)
                ends[-1] = ends[-1]._replace(over=time.monotonic())
        found.expect(server.stop() == 0, "the server did not end in order")
    _judge_leases(found, load.seen.answers, ends, challenger)
    found.expect({each.status for each in load.seen.answers} == {200}, "callers were failed")
    found.expect(not load.seen.failures, f"connections were lost: {load.seen.failures[:3]}")
    _judge_log(found, world.state, load.seen.answers)
    found.add_latencies(load.seen.answers)
    return found


class Leased(NamedTuple):
    """A lease during which the clock jumps; monotonic, in seconds.

    Attributes:
        jumped: When the clock had jumped.
        earliest: The lease lasts until then at least: counted from when it was asked for.
        latest: It has ended by then: counted from when that was answered.
        over: When the next one was asked for.
    """

    jumped: float
    earliest: float
    latest: float
    over: float = 0.0


def _judge_leases(found: Finding, answers: list[Answer], ends: list[Leased], challenger: str) -> None:
    """The challenger answers to the end of each lease, whatever the clock says, and not after it."""
    for number, lease in enumerate(ends, start=1):
        meanwhile = [each for each in answers if lease.jumped <= each.sent and each.received <= lease.earliest]
        late = [each for each in answers if lease.latest < each.sent and each.received <= lease.over]
        if min(len(meanwhile), len(late)) < ENOUGH:
            found.problems.append(f"{UNSEEN} around the end of lease {number}: {len(meanwhile)} and {len(late)}")
            continue
        theirs = [each.received for each in meanwhile if each.digest == challenger]
        # of the last of so many answers, too: it goes on to the end, and is not cut short by the jump
        found.expect(
            any(each.digest == challenger for each in meanwhile[-ENOUGH:]),
            f"the challenger did not answer until the end of lease {number}, although the clock alone had jumped",
        )
        after = sum(each.digest == challenger for each in late)
        found.expect(
            not after, f"the challenger gave {after} answers that were asked for after the end of lease {number}"
        )
        found.figures[f"challenger's last answer, s from its lease's end ({number})"] = round(
            max(theirs, default=0.0) - lease.earliest, 3
        )


def _judge_log(found: Finding, state: Path, answers: list[Answer]) -> None:
    read = [read_line(line) for path in segments(state / "predictions" / "toy") for line in lines(path)]
    logged = [line for line in read if line is not None]
    found.expect(len(logged) == len(read), "a line cannot be read")
    ids = [line.prediction_id for line in logged]
    found.expect(sorted(ids) == sorted(each.prediction_id for each in answers), "the log is not what was answered")
    times = [line.time.timestamp() for line in logged]
    hours = {round((each - time.time()) / HOUR_S) for each in times}
    found.expect(hours == {-1, 0, 1}, f"the server's clock did not jump: {hours}")
    found.expect(all(0 <= line.latency_us < 10_000_000 for line in logged), "a latency was measured by the wall clock")
    found.figures["rows logged"] = len(ids)


class NoCompiler(Exception):
    """The clock of a process cannot be changed without a C compiler."""


def _library(folder: Path) -> Path:
    """Compile what changes the clock.

    Raises:
        NoCompiler: There is none.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompiler("no C compiler `cc`: the clock of a process cannot be changed")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(JUMPING)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def _set(offset: Path, seconds: int) -> None:
    with offset.open("r+b" if offset.exists() else "wb") as file:
        file.write(struct.pack("l", seconds))


class _environment:  # noqa: N801 - used like a function
    """Sets the variables that a server started in the block inherits."""

    def __init__(self, library: Path, offset: Path) -> None:
        self._set = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._set}
        os.environ.update(self._set)

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
