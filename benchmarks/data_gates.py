"""What the data gates cost by the number of rows: CPU, wall and peak memory of stage `validate_data`.

    python benchmarks/data_gates.py [--rows 1000000] [--limit-gib 6] [--json out.json]

Writes synthetic rows in pieces (never all in memory), freezes them in the form of a snapshot, and measures in a process
of its own: the suite on batch and training rows, volume, duplicates, leakage, and drift against a champion that was
trained on as many rows. Exits 1 when the process's peak was above the limit, or a gate did not pass.
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

from lockgate.adapters.durable_files import sha256_of
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, ModelName, canonical_json, digest_of
from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, SplitSection, TaskSection

ROOT = Path(__file__).resolve().parents[1]
PIECE = 250_000
NUMERIC = tuple(f"n{i:02d}" for i in range(16))
CATEGORICAL = tuple(f"c{i}" for i in range(4))
LEVELS = (4, 16, 100, 2_000)
SHARES = {"train": 0.80, "validation": 0.08, "holdout": 0.12}
BATCH_SHARE = 0.10
DAYS = 400
START = datetime(2024, 1, 1, tzinfo=UTC)


def spec() -> ReleaseSpec:
    return ReleaseSpec(
        model=ModelSection(name=ModelName("synthetic")),
        task=TaskSection(kind=TaskKind.BINARY, classes=("no", "yes")),
        data=DataSection(suite="synthetic", label="y", time="t", key=("id",), numeric=NUMERIC, categorical=CATEGORICAL),
        split=SplitSection(validation_days=32, holdout_days=48),
    )


def piece(start: int, rows: int, total: int, seed: int) -> pa.Table:
    """Rows `start` to `start + rows` of `total`, in the order of time."""
    draw = np.random.default_rng([seed, start])
    place = np.arange(start, start + rows)
    numbers = {name: draw.normal(size=rows) for name in NUMERIC}
    numbers["n03"] = np.round(draw.exponential(size=rows), 1)
    numbers["n07"][draw.random(rows) < 0.15] = np.nan
    words = {
        name: pa.DictionaryArray.from_arrays(
            pa.array((levels * draw.random(rows) ** 2).astype(np.int32)),
            pa.array([f"{name}-value-{i}" for i in range(levels)]),
        ).cast(pa.string())
        for name, levels in zip(CATEGORICAL, LEVELS, strict=True)
    }
    yes = numbers["n00"] + 0.5 * numbers["n01"] + 2 * draw.normal(size=rows) > 1.5
    microseconds = int(START.timestamp() * 1e6) + (place * (DAYS * 86_400_000_000 // total))
    return pa.table(
        {
            "id": pa.array([f"row-{seed}-{i:09d}" for i in place.tolist()]),
            "t": pa.array(microseconds, pa.timestamp("us", tz="UTC")),
            **numbers,
            **words,
            "y": pa.array(np.where(yes, "yes", "no").astype(object), pa.string()),
        }
    )


def freeze(folder: Path, rows: int, seed: int) -> Digest:
    """Write a snapshot in the form that the store reads."""
    parts: dict[str, tuple[int, int]] = {}
    at = 0
    for name, share in SHARES.items():
        parts[name] = (at, at + int(rows * share))
        at += int(rows * share)
    parts["batch"] = (at - int(rows * BATCH_SHARE), at)
    partial = folder / ".partial"
    partial.mkdir(parents=True)
    for name, (first, last) in parts.items():
        _write_part(partial / f"{name}.parquet", first, last, at, seed)
    section = json.loads(canonical_json(spec().split))
    hashes = {name: sha256_of(partial / f"{name}.parquet") for name in parts}
    digest = digest_of({"parts": hashes, "split": section})
    facts = {
        "schema_version": 1,
        "model": "synthetic",
        "table_version": 1,
        "as_of": (START + timedelta(days=DAYS)).isoformat(),
        "rows": {name: last - first for name, (first, last) in parts.items()},
        "unlabelled": dict.fromkeys(parts, 0),
    }
    index = {**facts, "digest": digest, "parts": hashes, "split": section}
    (partial / "snapshot.json").write_bytes(canonical_json(index))
    partial.rename(folder / digest)
    return digest


def _write_part(path: Path, first: int, last: int, total: int, seed: int) -> None:
    writer = None
    for start in range(first, last, PIECE):
        table = piece(start, min(PIECE, last - start), total, seed)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def suite() -> dict[str, Any]:
    """A suite of the usual kind: a row count, nulls, a key, ranges and sets."""
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("expect_table_row_count_to_be_between", {"min_value": 100}),
        ("expect_column_values_to_be_unique", {"column": "id"}),
        ("expect_column_values_to_not_be_null", {"column": "t"}),
        ("expect_column_values_to_be_in_set", {"column": "y", "value_set": ["no", "yes"]}),
    ]
    wanted += [
        ("expect_column_values_to_be_between", {"column": name, "min_value": -50, "max_value": 50}) for name in NUMERIC
    ]
    wanted += [("expect_column_values_to_not_be_null", {"column": name}) for name in CATEGORICAL]
    return {"expectations": [{"type": kind, "kwargs": kwargs} for kind, kwargs in wanted]}


def project(folder: Path) -> Path:
    """A project folder with a suite and nothing else."""
    context = folder / "project" / "great_expectations"
    (context / "expectations").mkdir(parents=True)
    shutil.copy(ROOT / "great_expectations" / "great_expectations.yml", context)
    (context / "expectations" / "synthetic.json").write_text(json.dumps(suite()))
    return context.parent


def measure(home: Path, champion: Digest, now: Digest) -> dict[str, Any]:
    """Measure as the line does, and judge; in this process."""
    from lockgate.adapters import snapshots
    from lockgate.adapters.gx_validator import GxValidator
    from lockgate.config import Settings
    from lockgate.core.drift import reference_profile
    from lockgate.core.gates.registry import gate_named
    from lockgate.core.ids import to_json
    from lockgate.stages.feature_columns import feature_columns
    from lockgate.stages.validate_data import measure_validation

    class Store:
        """The parts of `DatasetStore` that the stage asks for."""

        def part(self, snapshot: Any, name: str, columns: Any = None) -> Any:  # noqa: ANN401
            return snapshots.read_part(snapshot, name, columns)

    wanted, folder = spec(), home / "snapshots"
    then, later = snapshots.load(folder, champion), snapshots.load(folder, now)
    settings = Settings(project=home / "project", home=home, host="127.0.0.1", ports={}, notify=(), ledger_url="")
    # the profile that would lie in the champion's bundle: of a part, so that making it costs no memory here
    seen = feature_columns(snapshots.read_part(then, "validation"), wanted)
    profile = {**reference_profile(seen, NUMERIC, CATEGORICAL), "rows": then.rows["train"]}
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    measured = measure_validation(
        Store(),  # type: ignore[arg-type]  # two of its methods are enough
        GxValidator(settings),
        wanted,
        later,
        champion=champion,
        reference_profile=profile,
        docs=home / "docs",
        champion_rows=then,
        history=[later.rows["batch"]] * 5,
    )
    wall_s = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rows": dict(later.rows),
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall_s": wall_s,
        "peak_gib": after.ru_maxrss / 1024**2,
        "verdicts": {name: _judged(gate_named(name), facts) for name, facts in measured.items()},
        "json_bytes": {name: len(json.dumps(to_json(facts))) for name, facts in measured.items()},
    }


def _judged(gate: Any, facts: Any) -> list[str]:  # noqa: ANN401
    from lockgate.core.evidence import Evidence
    from lockgate.core.ids import ReleaseId

    evidence = Evidence(
        gate=gate.name,
        stage=gate.stage,
        release=ReleaseId("synthetic-0001"),
        measured_at=START,
        measured_on="benchmark",
        subjects={},
        measurements=facts,
    )
    report = gate.judge(evidence, gate.thresholds())
    return [report.verdict.value, report.reason]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--limit-gib", type=float, default=6.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=3, metavar=("HOME", "CHAMPION", "NOW"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        home, champion, now = asked.measure
        print(json.dumps(measure(Path(home), Digest(champion), Digest(now))))
        return 0
    with tempfile.TemporaryDirectory(prefix="lockgate-data-gates-") as folder:
        home = Path(folder)
        project(home)
        started = time.monotonic()
        champion, now = (freeze(home / "snapshots", asked.rows, seed) for seed in (1, 2))
        print(f"wrote 2 x {asked.rows:,} rows in {time.monotonic() - started:.0f} s; load {os.getloadavg()[0]:.1f}")
        command = [sys.executable, __file__, "--measure", folder, champion, now]
        answered = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    found = json.loads(answered.stdout.splitlines()[-1])
    print(f"rows {found['rows']}")
    print(f"CPU {found['cpu_s']:.1f} s, wall {found['wall_s']:.1f} s, peak RSS {found['peak_gib']:.2f} GiB")
    for name, (verdict, reason) in found["verdicts"].items():
        print(f"  {name}: {verdict} ({found['json_bytes'][name]} bytes) {'' if verdict == 'PASS' else reason}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    held = found["peak_gib"] <= asked.limit_gib and all(v == "PASS" for v, _ in found["verdicts"].values())
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
