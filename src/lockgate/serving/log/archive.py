"""The archive's process: closed segments of predictions and labels -> Parquet, and what is too old goes.

    python -m lockgate.serving.log.archive --state DIR [--once]

    <state>/archive/<model>/date=YYYY-MM-DD/*.parquet            predictions, see `archive_tables`
    <state>/archive/<model>.labels/date=YYYY-MM-DD/*.parquet     labels, see `archive_labels`
    <state>/archive/status.json                                  what was done, see `archive_status`

It runs apart from the server, at low priority, and may be killed at any instant, see `archive_run`. One process at a
time works on an archive; a second one ends at once.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published

from lockgate.serving.disk import alone
from lockgate.serving.fleet.process_log import log_to_stderr
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import BUSY, Kept, archive_folder
from lockgate.serving.without_pandas import hide_pandas

logger = logging.getLogger("lockgate.serving.log.archive")

NICE: Final = 10


def run_once(state: Path, kept: Kept) -> int:
    """Run once and return the exit code: 0, 1 after a failure, which is logged, or `BUSY`."""
    started = time.monotonic()
    folder = archive_folder(state)
    try:
        folder.mkdir(mode=0o750, exist_ok=True)
        with alone(folder / ".lock") as first:
            if not first:
                return BUSY
            archive = Archive(state, kept)
            status = archive.run()
    except (OSError, ValueError) as broken:
        logger.error("the archive could not be brought up to date: %s; what was done is kept", broken)  # noqa: TRY400 - said
        return 1
    logger.info(
        "archived %d requests, %d rows so far; labels: %d joined, %d wait; %.1f s",
        status.requests, status.rows, status.labels.joined, status.labels.waiting, time.monotonic() - started,
        extra={"event": "archived"},
    )  # fmt: skip
    return min(archive.failed, 1)


def main(argv: Sequence[str]) -> int:
    """Bring a server's archive up to date, once or again and again.

    Args:
        argv: The options, without the program's name.

    Returns:
        0; with `--once` also 1 after a failure and 75 when another process is at it.
    """
    kept = Kept()
    parser = argparse.ArgumentParser(
        prog="python -m lockgate.serving.log.archive", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--state", required=True, type=Path, help="the server's state folder")
    parser.add_argument("--once", action="store_true", help="end after one run")
    parser.add_argument("--interval-s", type=float, default=60.0, help="between two runs; default: %(default)s")
    parser.add_argument("--keep-days", type=int, default=kept.days, help="0: all; default: %(default)s")
    parser.add_argument("--max-bytes", type=int, default=kept.max_bytes, help="0: any size; default: %(default)s")
    parser.add_argument("--label-window-days", type=float, default=kept.label_window_days, help="0: none is late")
    parser.add_argument(
        "--tethered", action="store_true", help="end when stdin does: the process that started this one"
    )
    given = parser.parse_args(argv)
    if not given.state.is_dir():
        parser.error(f"--state: {given.state} is not a folder; give the one the server was started with")
    log_to_stderr()
    os.nice(NICE)
    pa.set_cpu_count(1)  # the other cores are the server's
    pa.set_memory_pool(pa.system_memory_pool())  # gives back what it does not need
    hide_pandas()
    if given.tethered:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    kept = Kept(days=given.keep_days, max_bytes=given.max_bytes, label_window_days=given.label_window_days)
    while True:
        code = run_once(given.state, kept)
        if given.once:
            return code
        time.sleep(given.interval_s)


def _end_with_stdin() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):  # not sys.stdin, whose lock would still be held at this process's own end
            pass
    os._exit(1)  # at once: every step happens whole or not at all


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
