"""What summaries of production's log cost by the number of rows: CPU, wall and peak memory.

    python benchmarks/monitoring.py [--rows 10000000] [--days 28] [--folder DIR] [--limit-gib 2] [--json out.json]

Writes an archive of requests (24 features) and of labels for four fifths of them, in pieces, as the server's archive
has them; summarises all of it in a process of its own, once more after one more file, and once with nothing new. Exits
1 when a process's peak was above the limit, or rows were lost. The archive is deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lockgate.config import Settings
from lockgate.core.contract import ColumnType, GraphForm, InputColumn, ModelContract, TaskKind
from lockgate.core.drift import reference_profile
from lockgate.core.ids import ModelName, canonical_json
from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, SliceSection, TaskSection

MODEL = ModelName("synthetic")
DIGEST = "d" * 64
NUMERIC = tuple(f"n{i:02d}" for i in range(18))
CATEGORICAL = tuple(f"c{i}" for i in range(6))
LEVELS = (4, 16, 40, 100, 400, 2_000)
PIECE = 50_000  # a row group of the archive
FILE = 400_000
START = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECONDS = 86_400_000_000


def settings(home: Path) -> Settings:
    return Settings(project=home, home=home, host="127.0.0.1", ports={}, notify=(), ledger_url="sqlite://")


def spec() -> ReleaseSpec:
    return ReleaseSpec(
        model=ModelSection(name=MODEL),
        task=TaskSection(kind=TaskKind.BINARY, classes=("no", "yes")),
        data=DataSection(suite="synthetic", label="y", time="t", key=("id",), numeric=NUMERIC, categorical=CATEGORICAL),
        slices=(SliceSection(column="c1"), SliceSection(column="n00", edges=(-1.0, 0.0, 1.0))),
    )


def features(draw: np.random.Generator, rows: int) -> dict[str, Any]:
    """Draw the inputs of some requests, by column."""
    numbers: dict[str, Any] = {name: draw.normal(size=rows) for name in NUMERIC}
    numbers["n03"] = np.round(draw.exponential(size=rows), 1)
    numbers["n07"][draw.random(rows) < 0.15] = np.nan
    for name, levels in zip(CATEGORICAL, LEVELS, strict=True):
        words = np.array([f"{name}-{level:04d}" for level in range(levels)], dtype=object)
        numbers[name] = words[np.minimum((draw.random(rows) ** 2 * levels).astype(int), levels - 1)]
    return numbers


def bundle(home: Path) -> None:
    """Write what of a bundle is read: contract and frozen profile."""
    draw = np.random.default_rng(0)
    seen = features(draw, 100_000)
    inputs = [InputColumn(name=name, type=ColumnType.NUMBER) for name in NUMERIC]
    inputs += [InputColumn(name=name, type=ColumnType.STRING) for name in CATEGORICAL]
    graph = GraphForm(numeric_input="numeric", numeric_columns=NUMERIC, string_input="strings",
                      string_columns=CATEGORICAL, missing_string="__missing__", output="output")  # fmt: skip
    contract = ModelContract(
        model=MODEL, task=TaskKind.BINARY, inputs=tuple(inputs), classes=("no", "yes"), threshold=0.5, graph=graph
    )
    score = {"prediction": draw.beta(2, 5, 100_000).astype(np.float32)}
    profile = reference_profile(seen, NUMERIC, CATEGORICAL)
    profile = {**profile, "score": reference_profile(score, tuple(score), ())["numeric"]}
    folder = settings(home).bundles / DIGEST
    folder.mkdir(parents=True)
    (folder / "contract.json").write_bytes(canonical_json(contract))
    (folder / "reference_profile.json").write_bytes(canonical_json(profile))


def piece(start: int, rows: int, day: int, rows_a_day: int, places: np.ndarray[Any, Any]) -> tuple[pa.Table, pa.Table]:
    """Make some requests of a day, one row each, and the labels of four fifths of them."""
    draw = np.random.default_rng([1, start])
    at = (places * (MICROSECONDS // max(rows_a_day, 1))).clip(max=MICROSECONDS - 1)
    times = pa.array((int(START.timestamp() * 1e6) + day * MICROSECONDS + at).astype(np.int64)).cast(
        pa.timestamp("us", "UTC")
    )
    ids = pa.array([f"{start + number:018x}-0" for number in range(rows)])
    p = draw.beta(2, 5, rows).astype(np.float32)
    nothing = pa.nulls(rows, pa.string())
    zeros, ones = pa.array(np.zeros(rows, np.int32)), pa.array(np.ones(rows, np.int32))
    flags = pa.array(
        [["out_of_range:n01"] if strange else [] for strange in draw.random(rows) < 0.02], pa.list_(pa.string())
    )
    table = {
        "time": times, "prediction_id": ids, "row": zeros, "rows": ones, "request_id": nothing,
        "digest": pa.array([DIGEST] * rows), "arm": pa.array(["champion"] * rows), "chosen": nothing,
        "kind": pa.array(["live"] * rows), "fallback": pa.array(np.zeros(rows, bool)),
        "propensity": pa.array(np.ones(rows)),
        "entity": pa.array([f"e{each}" for each in draw.integers(0, 10**6, rows)]),
        "flags": flags, "latency_us": pa.array(draw.lognormal(8, 0.7, rows).astype(np.int64)), "trace": nothing,
        "has_inputs": pa.array(np.ones(rows, bool)),
    }  # fmt: skip
    for name, values in features(draw, rows).items():
        table[f"input_{name}"] = pa.array(values, from_pandas=True)
    table |= {"output_probability": pa.array(p), "output_label": pa.array(np.where(p >= 0.5, "yes", "no").tolist())}
    told = draw.random(rows) < 0.8
    seconds = draw.lognormal(10, 1, rows)
    labels = pa.table({
        "prediction_id": ids, "row": zeros, "label": pa.array(np.where(draw.random(rows) < p, "yes", "no").tolist()),
        "label_number": pa.nulls(rows, pa.float64()),
        "label_time": pa.array(np.asarray(times.cast(pa.int64())) + (seconds * 1e6).astype(np.int64)).cast(times.type),
        "received": times, "prediction_time": times, "late": pa.array(np.zeros(rows, bool)), "revision": zeros,
    })  # fmt: skip
    return pa.table(table), labels.filter(pa.array(told))


def write(  # noqa: PLR0913 - what a file is
    home: Path, name: str, start: int, rows: int, *, day: int, rows_a_day: int
) -> None:
    """Write one file of rows and one of their labels."""
    archive = settings(home).serving("production") / "archive"
    date = f"date={START + timedelta(days=day):%Y-%m-%d}"
    folders = [archive / kind / date for kind in (MODEL, f"{MODEL}.labels")]
    writers: list[pq.ParquetWriter] = []
    for at in range(0, rows, PIECE):
        size = min(PIECE, rows - at)
        tables = piece(start + at, size, day, rows_a_day, np.arange(at, at + size))
        for number, (folder, table) in enumerate(zip(folders, tables, strict=True)):
            if not at:
                folder.mkdir(parents=True, exist_ok=True)
                writers.append(pq.ParquetWriter(folder / f"{name}.parquet", table.schema, compression="zstd"))
            writers[number].write_table(table, row_group_size=size)
    for writer in writers:
        writer.close()


def fill(home: Path, rows: int, days: int) -> None:
    """Write the archive."""
    start = 0
    for day in range(days):
        of_day = rows * (day + 1) // days - rows * day // days
        for number, at in enumerate(range(0, of_day, FILE)):
            write(home, f"m-{number:03d}", start + at, min(FILE, of_day - at), day=day, rows_a_day=of_day)
        start += of_day


def measured(home: Path) -> dict[str, float]:
    """Summarise in a process of its own."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(home)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return {"wall_s": round(time.monotonic() - began, 2), **found}


def measure(home: Path) -> None:
    from lockgate.adapters.log_windows import summarise

    found = summarise(settings(home), MODEL, spec=spec())
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024),
        "rows": sum(each.rows for each in found),
        "labelled": sum(each.labels.n for each in found),
        "days": len(found),
    }
    sys.stdout.write(json.dumps(told))


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rows", type=int, default=10_000_000)
    ask.add_argument("--days", type=int, default=28)
    ask.add_argument("--more", type=int, default=200_000, help="rows of the file that comes after the first run")
    ask.add_argument("--folder", type=Path, default=None)
    ask.add_argument("--limit-gib", type=float, default=2.0)
    ask.add_argument("--json", type=Path, default=None)
    ask.add_argument("--measure", type=Path, default=None, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.measure:
        measure(given.measure)
        return 0
    home = Path(tempfile.mkdtemp(prefix="monitoring-", dir=given.folder))
    try:
        bundle(home)
        fill(home, given.rows, given.days)
        archive = settings(home).serving("production") / "archive"
        size = sum(path.stat().st_size for path in archive.rglob("*.parquet"))
        runs = {"first": measured(home)}
        write(home, "one-more", given.rows, given.more, day=given.days - 1, rows_a_day=given.more)
        runs |= {"one more file": measured(home), "nothing new": measured(home)}
    finally:
        shutil.rmtree(home)
    told = {"rows": given.rows, "days": given.days, "archive_mib": size >> 20, "load": os.getloadavg()[0], "runs": runs}
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    if given.json:
        given.json.write_text(json.dumps(told, indent=1))
    is_whole = runs["first"]["rows"] == given.rows and runs["nothing new"]["rows"] == given.rows + given.more
    return 0 if is_whole and all(run["peak_mib"] <= given.limit_gib * 1024 for run in runs.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
