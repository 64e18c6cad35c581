"""A file scored in bulk: `lockgate score` and native XGBoost, in turns, Parquet to Parquet.

    python -m benchmarks.serving.bulk --rows 10000000 [--runs 5] [--shuffle] [--json out.json]

Both read the same file and write one probability a row by the same 300 trees; categories are encoded on both sides.
The native side is written as well as we can: streaming, strings as the file's own dictionaries, `inplace_predict` on
one float32 matrix, in two ways of using two cores; the faster one is what ours is compared with. Ours also verifies
the bundle, checks every value against the contract, counts what lies outside it, and writes the label.

The rows are the flights of 2013, replicated, the weather jittered so that no two are alike; in the order of time, as
such files come, or with --shuffle in none, which is the harder case for both. Every run is a process of its own, timed
from opening the input to the finished output, imports left out (they are in "process s").
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.model import MONTHS, ROOT, VALIDATION_DAYS, cache_folder

TREES = 300
KEY = "flight_id"
PIECE_ROWS = 131_072  # the native side was no faster with 16,384 or 1,048,576
ROW_GROUP_ROWS = 1 << 20  # pandas' and Arrow's own
JITTER = 0.01
SIDES = {"ours": (2, 1), "native, 2 threads in one piece": (1, 2), "native, 2 pieces at once": (2, 1)}
"""Name to workers and XGBoost threads of each."""


def make_model(folder: Path) -> None:
    """Fit 300 trees on January and February, package them as the product does, and keep the booster beside."""
    import pandas as pd

    from deployments.flights.source import prepare, write_batch
    from lockgate.adapters.bundle_contract import contract_of, probes_of
    from lockgate.adapters.bundle_store import FileBundleStore
    from lockgate.adapters.native_scorer import NativeScorer
    from lockgate.config import load_settings
    from lockgate.core.drift import reference_profile
    from lockgate.core.ids import canonical_json
    from lockgate.models import trainer_of
    from lockgate.models.checkpoint import nowhere
    from lockgate.models.frames import labelled_rows
    from lockgate.spec_file import read_spec

    spec = read_spec(ROOT / "deployments" / "flight-delays.yaml")
    months = []
    for month in MONTHS:
        write_batch(month, folder / "raw.parquet")
        months.append(pd.read_parquet(folder / "raw.parquet"))
    frame = prepare(pd.concat(months, ignore_index=True))
    late = frame["sched_time"] >= frame["sched_time"].max() - pd.Timedelta(days=VALIDATION_DAYS)
    train, validation = labelled_rows(frame[~late], spec), labelled_rows(frame[late], spec)
    trainer = trainer_of(spec)
    object.__setattr__(spec.training, "early_stopping_rounds", None)  # all 300
    native = trainer.fit(train, validation, spec, {**spec.training.parameters, "n_estimators": TREES}, nowhere()).native
    form = trainer.form(native, spec)
    seen = pd.concat([train.features, validation.features], ignore_index=True)
    for name in spec.data.categorical:
        seen[name] = seen[name].where(seen[name] != form.missing_string, None)
    contract = contract_of(spec, seen, 0.5, form)
    answers = NativeScorer(native, spec.task.kind, spec.data.numeric, spec.data.categorical)
    columns = {name: seen[name].to_numpy() for name in spec.data.features}
    parts = {
        "model.onnx": trainer.to_onnx(native, spec, form),
        "contract.json": canonical_json(contract),
        "probe_requests.json": canonical_json(probes_of(contract, seen, answers, spec.training.seed)),
        "reference_profile.json": canonical_json(reference_profile(columns, spec.data.numeric, spec.data.categorical)),
    }
    settings = load_settings({"LOCKGATE_PROJECT": str(ROOT), "LOCKGATE_HOME": str(folder / "home")})
    bundle = FileBundleStore(settings).put(spec.name, parts)
    native.named_steps["trees"].get_booster().save_model(folder / "booster.ubj")
    facts = {
        "bundle": bundle.digest,
        "numeric": list(form.numeric_columns),
        "coded": {each.name: list(each.values) for each in form.coded},
    }
    (folder / "facts.json").write_text(json.dumps(facts))


def make_rows(path: Path, rows: int, *, shuffle: bool) -> None:
    """Write so many rows, a row group at a time."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from deployments.flights.source import BATCHES, prepare, write_batch
    from lockgate.spec_file import read_spec

    spec = read_spec(ROOT / "deployments" / "flight-delays.yaml")
    months = []
    for month in BATCHES:
        write_batch(month, path)
        months.append(pd.read_parquet(path))
    year = prepare(pd.concat(months, ignore_index=True))[[KEY, *spec.data.features]]
    rng = np.random.default_rng(0)
    weather = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "pressure", "visib"]
    schema = pa.Schema.from_pandas(year, preserve_index=False).remove_metadata()
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, ROW_GROUP_ROWS):
            count = min(ROW_GROUP_ROWS, rows - start)
            at = rng.integers(0, len(year), count) if shuffle else np.arange(start, start + count) % len(year)
            part = year.iloc[at].reset_index(drop=True)
            part[weather] *= 1 + rng.normal(0, JITTER, (count, len(weather)))
            writer.write_table(pa.Table.from_pandas(part, schema, preserve_index=False), row_group_size=ROW_GROUP_ROWS)


def score_ours(folder: Path, source: Path, target: Path, workers: int) -> None:
    from lockgate.core.ids import Digest
    from lockgate.serving.bulk.scoring import BulkOptions, score_file
    from lockgate.serving.model.bundle import open_bundle
    from lockgate.serving.model.signature import load_public_key

    digest = Digest(json.loads((folder / "facts.json").read_text())["bundle"])
    bundle = open_bundle(folder / "home" / "bundles", digest, load_public_key(folder / "home" / "keys" / "signing.pub"))
    score_file(bundle, source, target, BulkOptions(workers=workers), lambda _rows, _total: None)


def score_native(folder: Path, source: Path, target: Path, workers: int, threads: int) -> None:
    """Score with XGBoost itself."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import xgboost

    facts = json.loads((folder / "facts.json").read_text())
    numeric, coded = facts["numeric"], facts["coded"]
    codes = {name: {value: float(code) for code, value in enumerate(values)} for name, values in coded.items()}
    booster = xgboost.Booster({"nthread": threads}, model_file=folder / "booster.ubj")
    names = [*numeric, *coded]

    def score(piece: pa.RecordBatch) -> pa.RecordBatch:
        matrix = np.empty((piece.num_rows, len(names)), np.float32)
        for at, name in enumerate(numeric):
            matrix[:, at] = piece.column(name).to_numpy(zero_copy_only=False)
        for at, name in enumerate(coded, len(numeric)):
            column = piece.column(name)
            known = [codes[name].get(value, np.nan) for value in column.dictionary.to_pylist()]
            indices = column.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
            matrix[:, at] = np.array([*known, np.nan], np.float32)[indices]
        return pa.record_batch({"probability": booster.inplace_predict(matrix)})

    schema = pa.schema({"probability": pa.float32()})
    with (
        pq.ParquetFile(source, read_dictionary=list(coded), buffer_size=1 << 20, pre_buffer=False) as file,
        pq.ParquetWriter(target, schema, use_dictionary=False) as writer,
    ):
        for scored in _side_by_side(file.iter_batches(PIECE_ROWS, columns=names), score, workers):
            writer.write_batch(scored)


def _side_by_side(pieces: Iterator[Any], score: Callable[[Any], Any], workers: int) -> Iterator[Any]:
    if workers == 1:
        yield from map(score, pieces)
        return
    waiting: list[Any] = []
    with ThreadPoolExecutor(workers) as pool:
        for piece in pieces:
            waiting.append(pool.submit(score, piece))
            if len(waiting) > workers + 1:
                yield waiting.pop(0).result()
        yield from (each.result() for each in waiting)


def run_side(side: str, folder: Path, source: Path, target: Path) -> None:
    """Score once in this process, and print what it took."""
    import pyarrow.parquet  # noqa: F401 - imported before the clock starts, like the rest

    workers, threads = SIDES[side]
    if side == "ours":
        import lockgate.serving.bulk.scoring  # noqa: F401 - as above
    else:
        import xgboost  # noqa: F401 - as above
    began, used = time.perf_counter(), time.process_time()
    if side == "ours":
        score_ours(folder, source, target, workers)
    else:
        score_native(folder, source, target, workers, threads)
    found = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - used,
        "peak_rss_mib": _peak_rss_mib(),
    }
    print(json.dumps(found))


def _peak_rss_mib() -> float:
    """Return this process's own peak; `ru_maxrss` would be its parent's where that was larger."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(folder: Path, source: Path, runs: int) -> dict[str, Any]:
    """Run every side in turns, each in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    outputs = {side: folder / f"answers-{at}.parquet" for at, side in enumerate(SIDES)}
    for turn in range(runs):
        for side in list(SIDES)[turn % len(SIDES) :] + list(SIDES)[: turn % len(SIDES)]:
            began = time.perf_counter()
            command = [sys.executable, "-m", "benchmarks.serving.bulk", "--side", side]
            paths = ["--folder", str(folder), "--source", str(source), "--target", str(outputs[side])]
            done = subprocess.run([*command, *paths], cwd=ROOT, check=True, capture_output=True, text=True)
            found[side].append({**json.loads(done.stdout), "process_seconds": time.perf_counter() - began})
            print(f"run {turn + 1}, {side}: {found[side][-1]['seconds']:.2f} s", file=sys.stderr)
    return {"sides": found, "largest_difference": _largest_difference(list(outputs.values()))}


def _largest_difference(outputs: list[Path]) -> float:
    import pyarrow.parquet as pq

    first, *others = (pq.read_table(each, columns=["probability"]).column(0).to_numpy() for each in outputs)
    return max(float(np.abs(first - other).max()) for other in others)


def report(found: dict[str, Any], rows: int) -> float:
    """Print the table, and return the ratio of medians to the faster native side."""
    medians = {
        side: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for side, runs in found["sides"].items()
    }
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{rows:,} rows, {len(found['sides']['ours'])} runs in turns, load average {load}; medians")
    print("| side | s | us a row | CPU us a row | process s | peak RSS MiB |\n|---|---|---|---|---|---|")
    for side, each in medians.items():
        print(
            f"| {side} | {each['seconds']:.2f} | {each['seconds'] / rows * 1e6:.2f} "
            f"| {each['cpu_seconds'] / rows * 1e6:.2f} | {each['process_seconds']:.2f} | {each['peak_rss_mib']:.0f} |"
        )
    best = min((side for side in medians if side != "ours"), key=lambda side: medians[side]["seconds"])
    ratio = medians["ours"]["seconds"] / medians[best]["seconds"]
    cpu = medians["ours"]["cpu_seconds"] / medians[best]["cpu_seconds"]
    print(f"\nours / {best}: {ratio:.2f} (CPU {cpu:.2f}); largest difference {found['largest_difference']:.1e}")
    return ratio


def prepared(rows: int, *, shuffle: bool) -> tuple[Path, Path]:
    """Return the folder of the model and the file of rows, made now if they are not there."""
    from benchmarks.serving.model import _key  # the same sources make both models

    folder = cache_folder() / f"bulk-{_key()}"
    source = cache_folder() / f"flights-{rows}{'-shuffled' if shuffle else ''}.parquet"
    if not (folder / "facts.json").is_file():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make_model(partial)
        partial.rename(folder)
    if not source.is_file():
        made = source.with_suffix(".partial")
        make_rows(made, rows, shuffle=shuffle)
        made.rename(source)
    return folder, source


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.bulk", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shuffle", action="store_true", help="rows in no order")
    parser.add_argument("--json", type=Path, help="write every run to this file too")
    for name in ("--side", "--folder", "--source", "--target"):
        parser.add_argument(name, type=str if name == "--side" else Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        run_side(given.side, given.folder, given.source, given.target)
        return
    folder, source = prepared(given.rows, shuffle=given.shuffle)
    found = measure(folder, source, given.runs)
    found["ratio"] = report(found, given.rows)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
