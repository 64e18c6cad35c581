"""Look once for landed files and say so by event; the watcher process of `lockgate up` does the same all the time.

Scheduled, it is the sweep behind the watcher: an event that was lost is emitted again until the file is taken in.
"""

from __future__ import annotations

from prefect import flow

from tasks.watching import announce_landed, watched_models


@flow(name="watch-landing")
def watch_landing() -> list[str]:
    """Emit one event for every model with landed files; returns the models."""
    return [model for model in watched_models() if announce_landed(model)]
