"""What taking rows in costs by their number: CPU, wall and peak memory of landing, ingesting and freezing.

    python benchmarks/ingest.py [--rows 1000000] [--files 10] [--limit-gib 6] [--json out.json]

Lands the synthetic rows of `benchmarks/data_gates.py` as files, then measures in processes of their own: taking all of
them into the versioned table, and freezing the table into a split snapshot. Exits 1 when a peak was above the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lockgate.adapters.delta_store import DeltaDatasetStore
from lockgate.bootstrap import SystemClock
from lockgate.config import Settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.data_gates import PIECE, piece, spec  # noqa: E402 - found beside this file, wherever it is run from


def settings_of(home: Path) -> Settings:
    return Settings(project=ROOT, home=home, host="127.0.0.1", ports={}, notify=(), ledger_url="")


def store_of(home: Path) -> DeltaDatasetStore:
    return DeltaDatasetStore(settings_of(home), SystemClock())


def land(home: Path, rows: int, files: int) -> None:
    store, each = store_of(home), rows // files
    for number in range(files):
        path = home / f"part-{number:03d}.parquet"
        with pq.ParquetWriter(path, piece(0, 1, rows, 1).schema, compression="zstd") as writer:
            for start in range(number * each, (number + 1) * each, PIECE):
                writer.write_table(piece(start, min(PIECE, (number + 1) * each - start), rows, 1))
        store.land(spec().name, path)
        path.unlink()


def ingest(home: Path) -> dict[str, Any]:
    store, wanted = store_of(home), spec()
    taken = list(store.ingest_all(wanted, store.landed(wanted.name)))
    refused = [each.quarantined for each in taken if each.quarantined]
    if refused:
        raise SystemExit(f"refused: {refused[0]}")
    return {"files": len(taken), "rows": sum(each.rows for each in taken)}


def freeze(home: Path) -> dict[str, Any]:
    snapshot = store_of(home).freeze(spec())
    return {"digest": snapshot.digest, "rows": dict(snapshot.rows)}


STEPS = {"ingest": ingest, "freeze": freeze}


def measured(step: str, home: Path) -> dict[str, Any]:
    """Carry one step out in this process."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    found = STEPS[step](home)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak_gib = after.ru_maxrss / 1024**2
    return {**found, "cpu_s": cpu_s, "wall_s": time.monotonic() - started, "peak_gib": peak_gib}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--limit-gib", type=float, default=6.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("STEP", "HOME"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measured(asked.measure[0], Path(asked.measure[1]))))
        return 0
    with tempfile.TemporaryDirectory(prefix="lockgate-ingest-") as folder:
        started = time.monotonic()
        land(Path(folder), asked.rows, asked.files)
        print(f"landed {asked.rows:,} rows in {time.monotonic() - started:.0f} s; load {os.getloadavg()[0]:.1f}")
        found = {}
        for step in STEPS:
            command = [sys.executable, __file__, "--measure", step, folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            found[step] = told = json.loads(done.stdout.splitlines()[-1])
            print(f"{step}: CPU {told['cpu_s']:.1f} s, wall {told['wall_s']:.1f} s, peak {told['peak_gib']:.2f} GiB")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if all(each["peak_gib"] <= asked.limit_gib for each in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
