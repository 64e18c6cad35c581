"""What is measured of our server beside CPU per request: a thousand rows, latency at a fixed rate, memory, starting."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving import bare_rows, closed_loop, forms, open_loop, wrk
from benchmarks.serving.machine import say
from benchmarks.serving.model import ROOT, Model
from benchmarks.serving.ours import OURS, OURS_COLUMNS, administer, our_command, our_environ, ours, routing
from benchmarks.serving.processes import SERVER_CPU, Running, Unusable, says_ready, started
from benchmarks.serving.proofs import page
from benchmarks.serving.session import Lengths, Session
from benchmarks.serving.subject import Subject
from benchmarks.serving.wrk import Wrong

RATE = 100.0
ROWS = 1_000
IN_OPEN_LOOP = ("echo", "lockgate", "lockgate-columns")


def thousand_rows(session: Session) -> dict[str, Any]:
    """Measure CPU per request of a thousand rows against the same bytes decoded and run without a server, in turns."""
    running = session.running["lockgate"]
    return {
        kind: _rows_of(session, running, kind, subject) for kind, subject in (("binary", OURS), ("arrow", OURS_COLUMNS))
    }


def _rows_of(session: Session, running: Running, kind: str, subject: Subject) -> dict[str, Any]:
    model, lengths = session.model, session.lengths
    folder = session.folders["lockgate"] / f"rows-{kind}"
    folder.mkdir()
    calls = bare_rows.bodies(model, kind, ROWS)
    script = wrk.write_script(folder, [(call, None) for call in calls], running.port)
    bare, served, latency = [], [], []
    try:
        for at, call in enumerate(calls):
            headers, body = closed_loop.ask(running.port, call, None)
            closed_loop.check(subject, model, bare_rows.indices_of(at, ROWS, len(model.rows)), headers, body)
        wrk.run(script, running.port, 1, connections=2)
        for _ in range(lengths.rows_rounds):
            bare.append(_bare(kind, lengths.turn_s))
            before = running.cpu_s()
            load = wrk.run(script, running.port, lengths.turn_s, connections=2)
            served.append((running.cpu_s() - before) / max(1, load.requests) * 1e6)
            latency.append(load.p50_s * 1e3)
            load.check()
    except (Wrong, Unusable) as why:
        say(f"a thousand rows, {kind}: void: {why}")
        return {"void": str(why)}
    found = {"bare_us": statistics.median(bare), "served_us": statistics.median(served), "turns": [bare, served]}
    say(f"a thousand rows, {kind}: bare {found['bare_us']:.0f} us, served {found['served_us']:.0f} us")
    return {"void": None, **found, "ratio": found["served_us"] / found["bare_us"], "body_bytes": len(calls[0].body)}


def _bare(kind: str, seconds: float) -> float:
    command = ["taskset", "-c", str(SERVER_CPU), sys.executable, "-m", "benchmarks.serving.bare_rows", kind]
    command += ["--rows", str(ROWS), "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(f"bare {kind}: {done.stderr.strip()[-300:]}")
    return float(done.stdout)


# -- open loop ---------------------------------------------------------------------------------------------------------


def in_open_loop(session: Session, everyone: Sequence[Subject]) -> dict[str, Any]:
    """Measure latency at a fixed rate in turns with the echo server."""
    found: dict[str, Any] = {"rate": RATE}
    asked = [each for each in everyone if each.name in IN_OPEN_LOOP and each.shared in session.running]
    seen: dict[str, list[Any]] = {each.name: [] for each in asked}
    for _ in range(session.lengths.open_rounds):
        for subject in asked:
            running = session.running[subject.shared]
            calls = [(subject.make(session.model, [at]), f"entity-{at}") for at in range(forms.VARIED)]
            before = _own_buckets(session, subject, running)
            latencies = open_loop.run(calls, running.port, rate=RATE, seconds=session.lengths.open_s)
            seen[subject.name].append((latencies, before, _own_buckets(session, subject, running)))
    for name, turns in seen.items():
        found[name] = {
            "client_p50_ms": statistics.median(each.quantile(0.5) for each, _, _ in turns) * 1e3,
            "client_p99_ms": statistics.median(each.quantile(0.99) for each, _, _ in turns) * 1e3,
            "answers": sum(len(each.seconds) for each, _, _ in turns),
            "failed": sum(each.failed for each, _, _ in turns),
        }
        for key, share in (("own_p50_ms", 0.5), ("own_p99_ms", 0.99)):
            own = [open_loop.histogram_quantile(before, after, share) for _, before, after in turns if after]
            found[name][key] = statistics.median(each * 1e3 for each in own if each is not None) if own else None
        say(f"open loop: {name}: {found[name]}")
    return found


def _own_buckets(session: Session, subject: Subject, running: Running) -> dict[float, int]:
    if not subject.shared.startswith("lockgate"):
        return {}
    contract = "columns" if subject.name == "lockgate-columns" else "floats"
    return open_loop.buckets(page(running), session.model.served(contract).model)


# -- alone ------------------------------------------------------------------------------------------------------------


def worker_alone(model: Model, lengths: Lengths) -> dict[str, int]:
    """Return the PSS of our server with no other beside it that would share its pages.

    Read when it is idle, after one-row requests under load, and after Arrow streams as well.
    """
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name:
        folder = Path(name)
        with ours()(model, folder) as running:
            found = {"idle_pss_bytes": running.pss_bytes()}
            wrk.run(closed_loop.script_of(OURS, model, folder, running.port), running.port, lengths.turn_s)
            time.sleep(closed_loop.SETTLE_S)
            found["loaded_pss_bytes"] = running.pss_bytes()
            for call in bare_rows.bodies(model, "arrow", ROWS) * 5:
                closed_loop.ask(running.port, call, None)
            found["arrow_pss_bytes"] = running.pss_bytes()
            found["processes"] = len(running.pids())
    say(f"memory of a worker: {found}")
    return found


def starts(model: Model, lengths: Lengths) -> dict[str, Any]:
    """Measure from exec to the ready line with one model routed, everything on disk read before."""
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name:
        folder = Path(name)
        (folder / "first").mkdir()
        with ours(contracts=("columns",))(model, folder / "first") as running:
            body = routing(model, "columns", challenger=0.0) | {"sequence": 2}
            administer(running.facts["admin_port"], "PUT", f"/admin/routing/{model.served('columns').model}", body)
        seconds = []
        for number in range(lengths.starts):
            at = folder / f"start-{number}"
            at.mkdir()
            command = our_command(model, folder / "first" / "state")
            with started(command, folder=at, environ=our_environ(), ready=says_ready) as running:
                seconds.append(running.ready_s)
                closed_loop.check_many(OURS_COLUMNS, model, running.port, 4)
    say(f"start to ready: {statistics.median(seconds):.3f} s")
    return {"median_s": statistics.median(seconds), "seconds": seconds}
