"""The landing sweep's tasks."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE


@task(cache_policy=NO_CACHE, persist_result=False)
def watched_models() -> list[str]:
    """Return every model with a spec in deployments/."""
    from lockgate.bootstrap import services

    return list(services().specs())


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=5)
def announce_landed(model: str) -> bool:
    """Emit the event that starts a release, if something new landed; tells whether it did."""
    from lockgate.line import announce, line_of

    return announce(line_of(model))
