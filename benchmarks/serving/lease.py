"""Renews a challenger's lease as a rollout would, for the length of a block."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def renewed(renew: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Call `renew` now and then every few seconds.

    Raises:
        Exception: What a renewal raised: without the lease there would be no split to measure.
    """
    over, failed = threading.Event(), []
    renew()

    def run() -> None:
        while not over.wait(every_s):
            try:
                renew()
            except Exception as error:  # noqa: BLE001 - raised where it can be seen
                failed.append(error)
                return

    thread = threading.Thread(target=run, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]
