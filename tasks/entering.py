"""What happens on every entry of a release's run: its start, its way back from approval, a Retry."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from lockgate.core.progress import Progress


@task(persist_result=False, cache_policy=NO_CACHE)
def enter_release(model: str, reason: str, started_by: str) -> Progress | None:
    """Check that the release of this run may go on, on this code; never cached, because it is asked every time."""
    from lockgate.line import enter

    return enter(model, reason, started_by)
