"""What stage `evaluate_model` costs: CPU seconds and peak memory of all its measurements, by task and holdout size.

    python benchmarks/judgement.py [--rows 100000 1000000] [--task binary ...] [--json out.json]

Each case runs in a process of its own on a made-up holdout like the demo's (14 numbers, 6 strings, 60 days): challenger
and champion are boosted trees of 200 rounds, fitted on 20,000 rows before the clock starts. On the clock is everything
from the rows in memory to `evaluation.json`: answers of challenger, champion, naive and simple model, the keys that the
champion knew, every gate, every section, two past champions. Off it: reading files, folds, search, reproducibility.

The bounds: 30 CPU s at 100,000 rows, ten times that at 1,000,000, and under 3 GiB. CPU seconds, because wall time on a
shared machine says little. Exit code 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from lockgate.adapters.native_scorer import NativeScorer
    from lockgate.core.spec import ReleaseSpec

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("binary", "multiclass", "regression")
NUMBERS, STRINGS = 14, 6
DAYS = 60
FITTED_ROWS = 20_000
KNOWN_ROWS = 300_000
# threads that wait for each other on a busy machine spin, and their spinning would be counted as work
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
CPU_S_PER_100K = 30.0
MOST_BYTES = 3 * 1024**3


def made_rows(rows: int, task: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, DAYS, rows))
    frame = pd.DataFrame({f"x{k}": rng.normal(size=rows).astype(np.float32) for k in range(NUMBERS)})
    for k in range(STRINGS):
        values = np.array([f"v{each}" for each in range(4 * 2**k)], dtype=object)
        frame[f"c{k}"] = values[rng.integers(0, len(values), rows)]
    signal = frame["x0"] + 0.5 * frame["x1"] * frame["x2"] + 0.8 * (frame["c0"] == "v1") + rng.normal(0, 0.4, DAYS)[day]
    frame.loc[rng.random(rows) < 0.05, "x3"] = np.nan
    noisy = (signal + rng.logistic(size=rows)).to_numpy()
    frame["id"] = np.arange(rows) + seed * 10_000_000
    frame["time"] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(day * 86_400 + 43_200, unit="s")
    if task == "regression":
        frame["label"] = 100 + 10 * noisy
    elif task == "binary":
        frame["label"] = np.where(noisy > 1, "yes", "no")
    else:
        frame["label"] = np.array(["a", "b", "c", "d"])[np.digitize(noisy, [-0.5, 1.0, 2.5])]
    return frame


def spec_for(task: str) -> ReleaseSpec:
    from lockgate.core.contract import TaskKind
    from lockgate.core.ids import ModelName
    from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, SliceSection, TaskSection, TrainingSection

    classes = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c", "d"), "regression": ()}[task]
    return ReleaseSpec(
        model=ModelSection(name=ModelName("bench")),
        task=TaskSection(kind=TaskKind(task), classes=classes, threshold=0.5 if task == "binary" else None),
        data=DataSection(
            suite="bench",
            label="label",
            time="time",
            key=("id",),
            numeric=tuple(f"x{k}" for k in range(NUMBERS)),
            categorical=tuple(f"c{k}" for k in range(STRINGS)),
        ),
        training=TrainingSection(parameters={"n_estimators": 200, "max_depth": 6, "learning_rate": 0.1}),
        slices=(SliceSection(column="c1"), SliceSection(column="c4")),
        sensitive=("c0", "c2"),
    )


def fitted(spec: ReleaseSpec, seed: int) -> NativeScorer:
    from lockgate.adapters.native_scorer import NativeScorer
    from lockgate.models import trainer_of
    from lockgate.models.checkpoint import nowhere
    from lockgate.models.frames import labelled_rows

    rows = labelled_rows(made_rows(FITTED_ROWS, spec.task.kind, seed), spec)
    made = trainer_of(spec).fit(rows, rows, spec, dict(spec.training.parameters), nowhere())
    return NativeScorer(made.native, spec.task.kind, spec.data.numeric, spec.data.categorical)


@contextmanager
def on_the_clock(spent: dict[str, float], name: str) -> Iterator[None]:
    before = time.process_time()
    yield
    spent[name] = round(time.process_time() - before, 2)
    print(f"{name:<24}{spent[name]:>8.2f} CPU s", file=sys.stderr, flush=True)


def measure(task: str, rows: int) -> dict[str, Any]:
    """Measure one case in this process."""
    from lockgate.core.ids import Digest, canonical_json
    from lockgate.models.simple import fit_simple
    from lockgate.stages import evaluate
    from lockgate.stages.examination import examination_of
    from lockgate.stages.sampling import ChampionScores, Scores, naive_scores
    from lockgate.stages.staleness import Opened, PastChampion, staleness_section

    spec = spec_for(task)
    challenger, champion, old = (fitted(spec, seed) for seed in (1, 2, 3))
    holdout, train = made_rows(rows, task, 5), made_rows(FITTED_ROWS, task, 1)
    known = pd.DataFrame({"id": np.arange(KNOWN_ROWS)})
    evaluate.measures(), evaluate.sections()  # imports are not what is measured
    spent: dict[str, float] = {}
    print(f"{task}, {rows:,} rows: models fitted", file=sys.stderr, flush=True)
    with on_the_clock(spent, "simple model"):
        simple = fit_simple(train, spec).score(holdout)
    with on_the_clock(spent, "answers"):
        served = ChampionScores(bundle=Digest("a" * 64), scores=champion.score(holdout), known_keys=known)
        scores = Scores(
            challenger=challenger.score(holdout),
            naive=naive_scores(spec, train["label"], rows),
            simple=simple,
            champion=served,
        )
    with on_the_clock(spent, "sample"):
        examination = examination_of(
            spec,
            holdout,
            scores,
            ask=challenger.score,
            ask_champion=champion.score,
            part=lambda _, columns: train if columns is None else train[list(columns)],
        )
    measured = {}
    for name, gate in evaluate.measures().items():
        with on_the_clock(spent, f"gate {name}"):
            measured[name] = gate(examination)
    shown = {}
    for name, section in evaluate.sections().items():
        if name != "slice_search":  # the gate `slices` has made it
            with on_the_clock(spent, f"section {name}"):
                shown[name] = section(examination)
    with on_the_clock(spent, "section staleness"):
        opened = partial(Opened, ask=old.score, threshold=None, known_keys=known, age_days=30.0)
        shown["staleness"] = staleness_section(
            examination, [PastChampion(bundle=Digest("b" * 64), release="x", open=opened)] * 2
        )
    evaluate.sections = dict  # type: ignore[assignment]  # they were on the clock already
    with on_the_clock(spent, "curves"):
        document = evaluate.evaluation_document(examination, measured, shown)
    return {
        "task": task,
        "rows": rows,
        "cpu_s": round(sum(spent.values()), 1),
        "document_bytes": len(canonical_json(document)),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "parts": spent,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help="measure one case in this process and print it as JSON")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.task[0], asked.rows[0])))
        return 0
    found, broken = [], False
    for rows in asked.rows:
        for task in asked.task:
            command = [sys.executable, __file__, "--one", "--task", task, "--rows", str(rows)]
            done = subprocess.run(
                command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD}
            )
            case = json.loads(done.stdout.splitlines()[-1])
            found.append(case)
            bound = CPU_S_PER_100K * rows / 100_000
            broken |= case["cpu_s"] > bound or case["peak_bytes"] > MOST_BYTES
            slowest = sorted(case["parts"].items(), key=lambda part: -part[1])[:6]
            parts = ", ".join(f"{name} {cpu_s:g}" for name, cpu_s in slowest)
            peak = case["peak_bytes"] / 1024**3
            print(
                f"{task:<11}{rows:>9,} rows  {case['cpu_s']:>6} of {bound:g} CPU s  {peak:.2f} GiB   {parts}",
                flush=True,
            )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(broken)


if __name__ == "__main__":
    raise SystemExit(main())
