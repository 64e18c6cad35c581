"""Does to the server what must not break it, at length, and writes down what happened.

    python -m benchmarks.faults                      # all of it, about four minutes
    python -m benchmarks.faults --only swaps kills   # some
    python -m benchmarks.faults --write              # and docs/results/<date>-server-faults.md

Ends with 1 where a fault was not held. A cut of each is in `tests/integration/test_server_faults.py`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.faults.clock import NoCompiler, clock_jumps
from benchmarks.faults.connections import slow_connections
from benchmarks.faults.disk import NotAllowed, full_disk
from benchmarks.faults.finding import Finding
from benchmarks.faults.kills import kill_a_worker, kill_everything
from benchmarks.faults.misbehaving import BEHAVIOURS, as_challenger, as_champion
from benchmarks.faults.poison import POISONS, SLOW_POISONS, poisoned
from benchmarks.faults.swaps import swaps_and_rollbacks

LIMITS = (
    'What "held" does not say: a run is ended between two nodes of its graph, so a model that hangs inside one',
    'keeps its process\'s callers waiting until that node is done (the rows "in one node"). Nobody is failed, and the',
    "model is not asked for a while afterwards.",
)
RESULTS = Path(__file__).parents[2] / "docs" / "results"


def _swaps(root: Path) -> Iterator[Finding]:
    for workers in (1, 2):
        yield swaps_and_rollbacks(root / str(workers), workers=workers, swaps=200, rollbacks=50)


def _kills(root: Path) -> Iterator[Finding]:
    yield kill_a_worker(root / "one", kills=4, settle_s=1.5)
    for workers in (1, 2):
        yield kill_everything(root / f"all-{workers}", workers=workers, load_s=5.0)


def _poison(root: Path) -> Iterator[Finding]:
    for number, each in enumerate((*POISONS, *SLOW_POISONS)):
        yield poisoned(root / str(number), each)


def _misbehaving(root: Path) -> Iterator[Finding]:
    for number, each in enumerate(BEHAVIOURS.values()):
        yield as_challenger(root / f"challenger-{number}", each, load_s=4.0)
    for number, each in enumerate(BEHAVIOURS.values()):
        for behind in ("previous", "constant"):
            yield as_champion(root / f"champion-{number}-{behind}", each, load_s=4.0, behind=behind)


def _connections(root: Path) -> Iterator[Finding]:
    yield slow_connections(root / "slow")


def _disk(root: Path) -> Iterator[Finding]:
    yield full_disk(root / "full", load_s=4.0, past_the_bound=True)


def _clock(root: Path) -> Iterator[Finding]:
    for workers in (1, 2):
        yield clock_jumps(root / str(workers), workers=workers)


FAULTS: Mapping[str, Callable[[Path], Iterator[Finding]]] = {
    "swaps": _swaps,
    "kills": _kills,
    "poison": _poison,
    "misbehaving": _misbehaving,
    "connections": _connections,
    "disk": _disk,
    "clock": _clock,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--write", action="store_true", help="write docs/results/<date>-server-faults.md")
    options = parser.parse_args()
    began, at = time.monotonic(), datetime.now(UTC)
    findings: list[Finding] = []
    not_tested: list[str] = []
    for name in options.only:
        with tempfile.TemporaryDirectory(prefix=f"faults-{name}-") as folder:
            try:
                for found in FAULTS[name](Path(folder)):
                    findings.append(found)
                    print(_line(found), flush=True)
            except (NotAllowed, NoCompiler) as why:
                not_tested.append(f"{name}: {why}")
                print(f"NOT TESTED: {name}: {why}", flush=True)
    if options.write:
        path = RESULTS / f"{at:%Y-%m-%d}-server-faults.md"
        path.write_text(_page(at, time.monotonic() - began, findings, not_tested))
        print(f"written: {path}")
    return 1 if any(each.problems for each in findings) else 0


def _line(found: Finding) -> str:
    told = [f"NOT HELD: {found.fault}: {each}" for each in found.problems] or [f"held: {found.fault}"]
    return "\n".join([*told, f"    {_figures(found)}"])


def _figures(found: Finding) -> str:
    return "; ".join(f"{name} {value}" for name, value in found.figures.items())


def _page(at: datetime, took_s: float, findings: list[Finding], not_tested: list[str]) -> str:
    held = sum(not each.problems for each in findings)
    rows = [
        f"| {each.fault} | {'<br>'.join(each.problems) or 'held'} | {_figures(each).replace('|', '/')} |"
        for each in findings
    ]
    machine = f"{os.cpu_count()} cores, {platform.machine()} {platform.system()}, Python {platform.python_version()}"
    head = [
        f"# Server faults, {at:%Y-%m-%d %H:%M} UTC",
        "",
        f"`python -m benchmarks.faults --write`: {held} of {len(findings)} held, {took_s:.0f} s, {machine},",
        f"load average {os.getloadavg()[1]:.1f}: other work ran beside it, so latencies are no measure of speed.",
        "",
        "Every fault is done to a real server under load from another process. Each answer's status, bundle and value",
        "are held against what must have been served between its sending and its receipt.",
        "",
        *LIMITS,
        "",
        "| fault | | figures |",
        "|---|---|---|",
    ]
    lacking = ["", *(f"- not tested: {each}" for each in not_tested)] if not_tested else []
    return "\n".join([*head, *rows, *lacking, ""])


if __name__ == "__main__":
    sys.exit(main())
