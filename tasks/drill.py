"""The drill's one step; never retried, because a second fault would hide what the first one showed."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from lockgate.core.drills import DrillResult, DrillVerdict

_NAMES = {DrillVerdict.FAILED: "DrillFailed", DrillVerdict.INCONCLUSIVE: "Inconclusive"}


@task(cache_policy=NO_CACHE, persist_result=False, timeout_seconds=300)
def drill(model: str, fault: str, *, production: bool) -> DrillResult:
    """Plant the fault, wait until it is undone, and put on record how long that took."""
    from lockgate.line.drilling import drill_page, run_drill
    from lockgate.line.model_line import line_of

    result = run_drill(line_of(model), fault, production=production)
    create_markdown_artifact(drill_page(model, result), key=f"{model}-drill", description=result.reason)
    return result


def drill_state(result: DrillResult) -> State:
    """Return the state of a drill's run."""
    message = f"{result.drill} {result.verdict.value}: {result.reason}. Next: {result.next}"
    if result.passed:
        return Completed(name="Passed", message=message)
    return Cancelled(name=_NAMES[result.verdict], message=message)
