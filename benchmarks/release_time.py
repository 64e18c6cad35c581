"""What one release costs: wall, CPU and peak memory of every stage, and how much of it is not the work itself.

    python benchmarks/release_time.py [--runs 2] [--json out.json]

Brings up a stack of its own in a temporary folder on free ports, lands January and February of the demo data, lets the
event start the release, approves it, and samples the run's process tree four times a second. Printed beside it:

* the floor: what fresh interpreters take to import what a release needs, and what the processes it must start take to
  be ready; measured in the same run;
* the load test's declared window, which no program can shorten.

Run it on a quiet machine; the medians of the runs are what to quote.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
MODEL = "flight-delays"
PROCESSES = ("prefect", "mlflow", "production", "production_admin", "staging", "staging_admin")
# What a fresh interpreter must import, and how many interpreters of a first release must: the flow is entered when it
# starts, when it is resumed and by its rollout; two batches are prepared and one fit is made in processes of their own;
# the sandbox starts four servers.
IMPORTS = {
    "flow process": ("import flows.release_model, lockgate.line", 3),
    "data libraries": ("import pandas, pyarrow, deltalake, scipy.stats", 3),
    "great_expectations": ("import great_expectations", 1),
    "fit": ("import sklearn.pipeline, xgboost, skops.io", 2),
    "conversion": ("import onnx, onnxruntime, model_signing.signing", 1),
    "mlflow client": ("import mlflow.tracking", 1),
    "dossier": ("import jinja2, matplotlib.figure", 1),
    "server": ("import lockgate.serving.__main__", 4),
    "locust": ("import locust", 1),
}
# Stages that are data, fitting, scoring or conversion; the imports in them are counted in the floor.
WORK = ("ingest_data", "validate_data", "train_model", "evaluate_model", "package_model")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Stack:
    """A stack of its own."""

    def __init__(self, home: Path) -> None:
        self.ports = dict(zip(PROCESSES, free_ports(len(PROCESSES)), strict=True))
        self.environ = {
            **os.environ,
            "LOCKGATE_PROJECT": str(ROOT),
            "LOCKGATE_HOME": str(home),
            "PYTHONDONTWRITEBYTECODE": "",
            **{f"LOCKGATE_{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
        }
        self.home = home

    def lockgate(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "lockgate.cli", *arguments]
        done = subprocess.run(command, env=self.environ, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"lockgate {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def prefect(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        url = f"http://127.0.0.1:{self.ports['prefect']}/api{path}"
        return httpx.post(url, json=body, timeout=10, trust_env=False).raise_for_status().json()

    def newest_run(self) -> dict[str, Any] | None:
        body = {"flows": {"name": {"any_": ["release-model"]}}, "sort": "START_TIME_DESC", "limit": 20}
        body["flow_runs"] = {"start_time": {"is_null_": False}}
        found = self.prefect("/flow_runs/filter", body)
        return found[0] if found else None


class Sampler(threading.Thread):
    """CPU and memory of everything the worker started, by wall time."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self._home = home
        self.samples: list[tuple[float, float, int]] = []
        self._cpu: dict[tuple[int, float], float] = {}
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.25):
            rss = 0
            for process in self._tree():
                try:
                    times, memory = process.cpu_times(), process.memory_info().rss
                    self._cpu[process.pid, process.create_time()] = times.user + times.system
                    rss += memory
                except psutil.Error:
                    continue
            self.samples.append((time.time(), sum(self._cpu.values()), rss))

    def _tree(self) -> list[psutil.Process]:
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or ())
            if "prefect.engine" in command and self._is_ours(process):
                found[process.pid] = process
                try:
                    found |= {child.pid: child for child in process.children(recursive=True)}
                except psutil.Error:
                    continue
        return list(found.values())

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("LOCKGATE_HOME") == str(self._home)
        except psutil.Error:
            return False

    def between(self, start: float, end: float) -> tuple[float, int]:
        inside = [sample for sample in self.samples if start <= sample[0] <= end + 0.3]
        if not inside:
            return 0.0, 0
        before = [sample for sample in self.samples if sample[0] < start]
        base = before[-1][1] if before else inside[0][1]
        return inside[-1][1] - base, max(sample[2] for sample in inside)


def measure_floor() -> dict[str, float]:
    """Time fresh interpreters: the second of two, so that the disk is warm."""
    floor = {}
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    for name, (program, _) in IMPORTS.items():
        for _ in range(2):
            began = time.monotonic()
            subprocess.run([sys.executable, "-c", program], env=environ, cwd=ROOT, check=True, capture_output=True)
            floor[name] = time.monotonic() - began
    return floor


def one_release() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        stack = Stack(home)
        began = time.monotonic()
        stack.lockgate("up")
        up_s = time.monotonic() - began
        sampler = Sampler(home)
        sampler.start()
        try:
            return {"up_s": up_s, **_release(stack, sampler)}
        finally:
            sampler.over.set()
            stack.lockgate("down")


def _release(stack: Stack, sampler: Sampler) -> dict[str, Any]:
    time.sleep(5)
    idle = stack_memory(stack.home)
    for month in ("2013-01", "2013-02"):
        out = stack.home.parent / f"{month}.parquet"
        stack.lockgate("sample", month, "--model", MODEL, "--out", str(out))
        stack.lockgate("land", str(out), "--model", MODEL)
    landed = time.time()
    run = _until(stack, lambda each: each["state"]["name"] == "Suspended")
    asked = time.time()
    stack.lockgate("approve", f"{MODEL}-0001", "--as", "benchmark", "--yes")
    run = _until(stack, lambda each: each["state"]["type"] in ("COMPLETED", "FAILED", "CANCELLED", "CRASHED"))
    if run["state"]["name"] != "Promoted":
        raise SystemExit(f"the release ended {run['state']['name']}: {run['state']['message']}")
    tasks = stack.prefect(
        "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
    )
    stages = {}
    for task in tasks:
        if task["state"]["name"] == "Cached" or task["start_time"] is None:
            continue
        start, end = (datetime.fromisoformat(task[key]).timestamp() for key in ("start_time", "end_time"))
        cpu, rss = sampler.between(start, end)
        name = task["name"].rsplit("-", 1)[0]
        before = stages.get(name, {"wall_s": 0.0, "cpu_s": 0.0, "rss_bytes": 0})
        stages[name] = {
            "wall_s": before["wall_s"] + end - start,
            "cpu_s": before["cpu_s"] + cpu,
            "rss_bytes": max(before["rss_bytes"], rss),
        }
    resumed = time.time() - asked
    return {"stages": stages, "to_approval_s": asked - landed, "after_approval_s": resumed, "idle_pss_bytes": idle}


def stack_memory(home: Path) -> int:
    """Return the proportional set size of every process of the stack."""
    total = 0
    for process in psutil.process_iter():
        try:
            if process.environ().get("LOCKGATE_HOME") == str(home):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def _until(stack: Stack, holds: Any) -> dict[str, Any]:  # noqa: ANN401 - a predicate
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        run = stack.newest_run()
        if run is not None and holds(run):
            return run
        time.sleep(0.2)
    raise SystemExit("the release did not come to its next state within 300 s; see the logs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    floor = measure_floor()
    runs = []
    for number in range(options.runs):
        print(f"release {number + 1} of {options.runs}", file=sys.stderr)
        runs.append(one_release())
    document = {
        "schema": "lockgate.release_time/1",
        "at": datetime.now(UTC).isoformat(),
        "floor_s": floor,
        "runs": runs,
    }
    if options.json:
        options.json.write_text(json.dumps(document, indent=1))
    show(floor, runs)


def show(floor: Mapping[str, float], runs: list[dict[str, Any]]) -> None:
    names = dict.fromkeys(name for run in runs for name in run["stages"])
    columns: dict[str, dict[str, float]] = defaultdict(dict)
    for name in names:
        seen = [run["stages"][name] for run in runs if name in run["stages"]]
        for key in ("wall_s", "cpu_s", "rss_bytes"):
            columns[name][key] = statistics.median(each[key] for each in seen)
    print(f"{'stage':<18} {'wall s':>8} {'CPU s':>8} {'peak RSS MB':>12}")
    for name, each in columns.items():
        print(f"{name:<18} {each['wall_s']:8.2f} {each['cpu_s']:8.2f} {each['rss_bytes'] / 1e6:12.0f}")
    total = sum(each["wall_s"] for each in columns.values())
    whole = statistics.median(run["to_approval_s"] + run["after_approval_s"] for run in runs)
    window = load_window()
    print(f"{'all stages':<18} {total:8.2f}")
    print(f"from landing to promoted {whole:.1f} s, of which the load test's declared window is {window:.0f} s")
    print(f"outside the window: {whole - window:.1f} s")
    least = sum(floor[name] * times for name, (_, times) in IMPORTS.items())
    inside = sum(
        floor[name] * IMPORTS[name][1] for name in ("data libraries", "great_expectations", "fit", "conversion")
    )
    work = sum(columns[name]["wall_s"] for name in WORK) - inside
    print(f"data, fitting, scoring, conversion: {work:.1f} s; all else: {whole - window - work:.1f} s")
    print(f"floor of imports and process starts: {least:.1f} s, which is: ", end="")
    print(", ".join(f"{name} {floor[name]:.2f} s x {times}" for name, (_, times) in IMPORTS.items()))
    print(f"stack ready after {statistics.median(run['up_s'] for run in runs):.1f} s, ", end="")
    print(f"idle {statistics.median(run['idle_pss_bytes'] for run in runs) / 1e6:.0f} MB (PSS)")


def load_window() -> float:
    sys.path.insert(0, str(ROOT / "src"))
    from lockgate.spec_file import read_spec

    return float(read_spec(ROOT / "deployments" / f"{MODEL}.yaml").gates["stress"].duration_s)


if __name__ == "__main__":
    main()
