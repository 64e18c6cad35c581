"""cProfile's view of the real server under a closed loop: sockets, uvicorn and all, in us a request by function.

    python -m benchmarks.serving.server_profile "v2 row, one FP32 tensor" [--sort cumtime] [--shadow 1]

Calls a request tell how things batch: 0.1 runs of the graph a request are batches of ten. cProfile's own cost inflates
small functions most; the figure without it stands in the first line.
"""

from __future__ import annotations

import argparse
import pstats
import sys
import tempfile
from pathlib import Path

from benchmarks.serving import closed_loop, wrk
from benchmarks.serving.forms import FORMS, VARIED
from benchmarks.serving.hot_path import show
from benchmarks.serving.model import Model, model
from benchmarks.serving.ours import ours
from benchmarks.serving.processes import Running


def drive(made: Model, running: Running, folder: Path, options: argparse.Namespace) -> tuple[int, float]:
    """Return how many requests were answered, and CPU microseconds each."""
    calls = [FORMS[options.form].make(made, [at]) for at in range(VARIED)]
    listed = [(calls[at % VARIED], f"entity-{at}") for at in range(closed_loop.ENTITIES)]
    script = wrk.write_script(folder, listed, running.port)
    before = running.cpu_s()
    load = wrk.run(script, running.port, options.seconds, options.connections)
    if load.failed:
        raise SystemExit(f"{load.failed} of {load.requests} requests failed")
    return load.requests, (running.cpu_s() - before) / load.requests * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=wrk.CONNECTIONS)
    parser.add_argument("--shadow", type=float, default=0.0, help="share of requests that a shadow answers too")
    parser.add_argument("--sort", choices=("tottime", "cumtime"), default="tottime")
    parser.add_argument("--top", type=int, default=45)
    options = parser.parse_args()
    made = model()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for at in ("plain", "profiled"):
            (folder / at).mkdir()
        with ours(shadow=options.shadow)(made, folder / "plain") as running:
            drive(made, running, folder, options)
            _, us = drive(made, running, folder, options)
        dump = folder / "profile"
        runner = (sys.executable, "-m", "cProfile", "-o", str(dump), "-m", "lockgate.serving")
        with ours(shadow=options.shadow, runner=runner)(made, folder / "profiled") as running:
            number, inflated = drive(made, running, folder, options)
        print(f"{options.form}: {us:.1f} us CPU a request, {inflated:.1f} under cProfile ({number} requests)")
        show(pstats.Stats(str(dump)), number, options.sort, options.top)


if __name__ == "__main__":
    main()
