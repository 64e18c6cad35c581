"""Kills the archive's run at every call that changes the disk, runs it again, and compares what came of it.

python archive_crashes.py FOLDER        prints {"points": n, "wrong": [...]}
"""

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lockgate.serving.log import archive_retention
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import Kept, read_status
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.unwanted import hide_pandas
from tests.bundles import contract

TODAY = datetime.now(UTC).replace(hour=12, minute=0)
KEPT = Kept(days=30, max_bytes=0, waiting_bytes=200)  # one label that waits, not two
DIED = 9
CALLS = ("fsync", "replace", "unlink", "rename")


def make_state(state: Path) -> None:
    """Make a state that gives every kind of work: two models and dates, labels of all kinds, merging, deleting."""
    logs = [PredictionLog(state / "predictions", worker=worker) for worker in range(2)]
    for worker, log in enumerate(logs):
        for model in ("toy", "other"):
            log.append(_record(f"{model}-{worker}", model, TODAY))
        log.append(_record(f"old-{worker}", "toy", TODAY - timedelta(days=60)))
        log.close()
    (state / "labels").mkdir()
    for name, told in enumerate((["toy-1", "other-1", "nobody"], ["toy-1", "toy-0", "no-one"])):
        lines = [{"prediction_id": each, "row": 0, "label": name, "label_time": TODAY.isoformat()} for each in told]
        path = state / "labels" / f"20260101T000000.000000Z-w0-{name:06d}.jsonl"
        path.write_text("".join(json.dumps(line | {"received": line["label_time"]}) + "\n" for line in lines))


def _record(name: str, model: str, time: datetime) -> Record:
    return Record(
        time.timestamp(), name, model, "d" * 64, "champion", None, 2, {"amount": [1.0, 2.0]},
        {"probability": np.array([0.25, 0.5], np.float32), "label": ["no", "yes"]}, (), 80, contract(model),
    )  # fmt: skip


def outcome(state: Path) -> Any:
    """Return everything that a run leads to, without names of files and times of runs."""
    rows = {}
    for model in ("toy", "other", "toy.labels", "other.labels"):
        files = sorted((state / "archive" / model).glob("date=*/*.parquet"))
        read = pa.concat_tables([pq.read_table(path, partitioning=None) for path in files]).to_pylist()
        rows[model] = sorted((row["prediction_id"], row["row"], row.get("revision", 0)) for row in read)
    status = read_status(state)
    left = sorted(
        str(path.relative_to(state))
        for path in state.rglob("*")
        if path.suffix in {".jsonl", ".tmp"} or ".new" in path.name
    )
    facts = {
        name: getattr(status, name) for name in ("segments", "requests", "rows", "removed_rows", "unmatched_files")
    }
    labels = {
        name: getattr(status.labels, name) for name in ("joined", "corrected", "duplicate", "waiting", "displaced")
    }
    return json.loads(json.dumps([rows, facts, labels, left, (state / "archive" / ".journal.json").exists()]))


def in_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own and return its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - a forked child must not come back
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(state: Path) -> None:
    Archive(state, KEPT).run()


def run_and_compare(state: Path, report: Path) -> None:
    """Run and write down what came of it."""
    run(state)
    report.write_text(json.dumps(outcome(state)))


def run_and_die(state: Path, point: int) -> None:
    """Run, and end before the call of that number; what happens between two calls leaves no trace."""
    count = 0

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == point:
                os._exit(DIED)
            return call(*given, **named)

        return wrapped

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))
    run(state)


def main(folder: Path) -> None:
    logging.disable()
    hide_pandas()  # as the program itself does; it would be loaded after each fork
    os.fsync = os.fstat  # type: ignore[assignment]  # counted like the others, but a killed process loses nothing by it
    archive_retention.MERGED_FILES = 2  # type: ignore[misc]  # fewer files, fewer points
    made, right, again = folder / "made", folder / "right", folder / "again"
    make_state(made)
    shutil.copytree(made, right)
    assert in_child(lambda: run_and_compare(right, folder / "right.json")) == 0
    expected, wrong, point, code = json.loads((folder / "right.json").read_text()), [], 0, DIED
    while code == DIED:
        point += 1
        shutil.copytree(made, again)
        code = in_child(lambda: run_and_die(again, point))  # noqa: B023 - called at once
        if in_child(lambda: run_and_compare(again, folder / "again.json")) != 0:
            wrong.append({"point": point, "found": "the second run failed"})
        elif (found := json.loads((folder / "again.json").read_text())) != expected:
            wrong.append({"point": point, "found": found})
        shutil.rmtree(again)
    sys.stdout.write(json.dumps({"points": point - 1, "wrong": wrong, "expected": expected}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
