"""Measures the server against others of its class on this machine.

    make bench-serving                          # the whole comparison, about eight minutes on a quiet machine
    python -m benchmarks.serving --quick        # everything once and short: shows that it works, not how fast it is
    python -m benchmarks.serving --only echo lockgate mlserver

Prints tables; `--json` keeps the raw figures; `--write` puts them into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from benchmarks.serving import report
from benchmarks.serving.comparison import run
from benchmarks.serving.figures import figures
from benchmarks.serving.model import ROOT, model
from benchmarks.serving.processes import CLIENT_CPU, Unusable, check_machine
from benchmarks.serving.session import QUICK, Lengths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="measure these servers, and ours")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path, help="write the raw figures here")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="write them into FOLDER, named by the date")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    options = parser.parse_args()
    lengths = QUICK if options.quick else Lengths()
    if options.rounds:
        lengths = dataclasses.replace(lengths, rounds=options.rounds)
    try:
        check_machine()
        made = model()
        os.sched_setaffinity(0, {CLIENT_CPU})  # servers are moved to their own core by their starter
        document = run(made, lengths, options.only)
    except Unusable as why:
        print(f"bench-serving: {why}", file=sys.stderr)
        return 1
    document["figures"] = [each.to_json() for each in figures(document)]
    print(report.text(document))
    if options.results:
        options.json = options.results / f"{document['at'][:10]}-serving.json"
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.write:
        report.write(ROOT / "docs" / "benchmarks.md", document, "make bench-serving")
    return 0


if __name__ == "__main__":
    sys.exit(main())
