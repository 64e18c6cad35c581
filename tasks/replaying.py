"""The replay's one step; never retried by itself, because run again it goes on where it was."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE


@task(cache_policy=NO_CACHE, persist_result=False)
def replay_months(model: str, since: str, until: str, policies: list[str]) -> str:
    """Replay the months on a temporary stack, and return where the report lies."""
    from lockgate.line import line_of
    from lockgate.line.replay_policies import Wanted, replayed, result_page

    wanted = Wanted(model=line_of(model).model, since=since, until=until, over=tuple(policies))
    result, report = replayed(line_of(model).services, wanted, get_run_logger().info)
    create_markdown_artifact(result_page(result, report), key=f"{model}-replay", description=f"{since} to {until}")
    return str(report)
