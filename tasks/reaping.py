"""The reaper's tasks; see `lockgate.stages.reaping` for what it may end."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE


@task(cache_policy=NO_CACHE, persist_result=False)
def released_models() -> list[str]:
    """Return every model that has a ledger."""
    from lockgate.bootstrap import services

    return list(services().ledger.models())


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=5)
def reap_model(model: str) -> list[str]:
    """End what of this model is overdue or dead."""
    from lockgate.line import line_of, reap_line

    return reap_line(line_of(model))


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=5)
def reconcile_model(model: str) -> list[str]:
    """Finish or give up half-recorded switches, and set the registry's aliases from the ledger."""
    from lockgate.line import line_of, reconcile_line

    return reconcile_line(line_of(model))
