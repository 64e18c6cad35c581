"""The archive's process: closed segments of predictions and labels -> Parquet, and what is too old goes.

    python -m lockgate.serving.log.archive --state DIR [--once]

    <state>/archive/<model>/date=YYYY-MM-DD/*.parquet            predictions, see `archive_tables`
    <state>/archive/<model>.labels/date=YYYY-MM-DD/*.parquet     labels, see `archive_labels`
    <state>/archive/status.json                                  what was done, see `archive_status`

It runs apart from the server, at low priority, and may be killed at any instant, see `archive_run`. One process at a
time works on an archive; a second one ends at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published

from lockgate.errors import BadInput
from lockgate.serving import command_line as read
from lockgate.serving.disk import alone
from lockgate.serving.fleet.process_log import log_to_stderr
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import BUSY, Kept, archive_folder
from lockgate.serving.unwanted import hide_pandas

logger = logging.getLogger("lockgate.serving.log.archive")

NICE: Final = 10
PROGRAM: Final = "python -m lockgate.serving.log.archive"


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


class Given(msgspec.Struct, frozen=True):
    """What the archive's process is told.

    Attributes:
        state: The server's state folder.
        kept: What of its log is kept.
        once: Whether it ends after one run.
        tethered: Whether it ends when its stdin does.
        interval_s: Between two runs, in seconds.
    """

    state: Path
    kept: Kept
    once: bool
    tethered: bool
    interval_s: float


def parse(argv: Sequence[str]) -> Given:
    """Read the command line.

    Raises:
        BadInput: It is wrong; what is, and what is allowed.
    """
    parser = read.Parser(PROGRAM, (__doc__ or "").partition("\n")[0], listed_by=f"{PROGRAM} --help")
    add, kept = parser.add_argument, Kept()
    add("--state", required=True, type=Path, metavar="DIR", help="the server's state folder")
    add("--once", action="store_true", help="end after one run")
    add("--interval-s", type=read.interval_s, default=60.0, metavar="N", help="between two runs; default: %(default)s")
    add("--keep-days", type=read.whole_days, default=kept.days, metavar="N", help="0: all; default: %(default)s")
    add("--max-bytes", type=read.size_bytes, default=kept.max_bytes, metavar="N", help="0: any; default: %(default)s")
    add("--specs", type=Path, metavar="DIR", help="holds <model>.yaml, which says when labels are due; default: none")
    add("--label-window-days", type=read.days, metavar="N", help="for all models; 0: none is late; default: the specs'")
    add("--tethered", action="store_true", help="end when stdin does: the process that started this one")
    given = parser.read(argv)
    if not given["state"].is_dir():
        parser.error(f"--state: {given['state']} is not a folder; give the one the server was started with")
    told = Kept(
        days=given.pop("keep_days"),
        max_bytes=given.pop("max_bytes"),
        label_window_days=given.pop("label_window_days"),
        specs=given.pop("specs"),
    )
    return Given(kept=told, **given)


def main(argv: Sequence[str]) -> int:
    """Bring a server's archive up to date, once or again and again.

    Args:
        argv: The options, without the program's name.

    Returns:
        0; 2 when an option is wrong; with `--once` also 1 after a failure and 75 when another process is at it.
    """
    log_to_stderr()
    try:
        given = parse(argv)
    except BadInput as wrong:
        logger.error("%s", wrong, extra={"event": "refused_to_start"})  # noqa: TRY400 - the message says it all
        return wrong.exit_code
    os.nice(NICE)
    pa.set_cpu_count(1)  # the other cores are the server's
    pa.set_memory_pool(pa.system_memory_pool())  # gives back what it does not need
    hide_pandas()
    if given.tethered:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    while True:
        code = run_once(given.state, given.kept)
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
