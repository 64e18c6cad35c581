"""Where and with what the figures were measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.serving.environments import versions_of
from benchmarks.serving.model import ROOT
from benchmarks.serving.subject import Subject

OUR_PACKAGES = ("onnxruntime", "numpy", "uvicorn", "uvloop", "httptools", "orjson", "msgspec")


def facts(subjects: list[Subject]) -> dict[str, Any]:
    """Return date, machine and versions."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "virtual": _virtual(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "wrk": _first_line("wrk", "-v"),
        "commit": _first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"),
        "load_before": os.getloadavg(),
        "versions": {"lockgate": {name: metadata.version(name) for name in OUR_PACKAGES}}
        | {
            each.name: {name: versions_of(each.environment).get(name, "?") for name in each.packages}
            for each in subjects
            if each.environment is not None
        },
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _virtual() -> bool:
    return "hypervisor" in Path("/proc/cpuinfo").read_text()


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
