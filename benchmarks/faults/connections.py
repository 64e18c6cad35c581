"""Thousands of connections that send a byte now and then: whoever asks properly is answered."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

from benchmarks.faults.finding import Finding
from tests.integration.test_server_connections import SLOW_CALLERS
from tests.server_process import ROW, World, serving

HEADER_TIMEOUT_S = 5.0


def slow_connections(root: Path, *, count: int = 10_000) -> Finding:
    """Open so many connections that never finish a request, and ask over new ones meanwhile."""
    count = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 512)
    found = Finding(f"{count} slow connections")
    world = World(root)
    digest = world.bundle()
    with serving(world, "--max-connections", "20000", "--header-timeout-s", f"{HEADER_TIMEOUT_S:g}") as server:
        found.expect(server.route(1, digest).status_code == 200, "the bundle was not taken")
        process = psutil.Process(server.process.pid)
        before = peak = process.memory_info().rss
        took = []
        command = [sys.executable, "-c", SLOW_CALLERS, str(server.port), str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as callers:
            while callers.poll() is None:
                began = time.monotonic()
                with httpx.Client(timeout=10) as client:
                    url = f"http://127.0.0.1:{server.port}/invocations"
                    answer = client.post(url, json={"dataframe_records": [ROW]})
                found.expect(answer.status_code == 200, f"an honest caller got {answer.status_code}")
                took.append(time.monotonic() - began)
                peak = max(peak, process.memory_info().rss)
                time.sleep(0.05)
            opened, closed = (line.split() for line in callers.communicate()[0].splitlines())
    found.expect(opened == ["open", str(count)], f"the callers had {opened}")
    found.expect(closed[1:3] == [str(count), "0"], f"not all were dropped: {closed}")
    found.figures |= {
        "open at once": int(opened[1]),
        "dropped after s (first, last)": f"{float(closed[3]):.1f}, {float(closed[4]):.1f}",
        "memory +MB": round((peak - before) / 1e6, 1),
        "honest answers": len(took),
        "honest answer max ms": round(max(took) * 1e3, 1),
    }
    return found
