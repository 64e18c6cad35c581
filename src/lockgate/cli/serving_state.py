"""What serves where, since when and why: the ledger's word beside the servers' own."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lockgate.cli.alert_commands import show_open_alerts
from lockgate.cli.surface import Surface
from lockgate.config import ENVIRONMENTS, Settings
from lockgate.core.approval_overrides import current
from lockgate.core.ids import Json, ModelName, is_model_name
from lockgate.core.ledger import Event
from lockgate.errors import LockgateError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.core.model_state import ModelState


def show_models(surface: Surface, settings: Settings) -> list[dict[str, Json]]:
    """Show every model's champions and its open release, and return them as JSON."""
    from lockgate.bootstrap import Services

    services = Services(settings)
    # the chain of people is no model
    names = sorted({*services.specs(), *(name for name in services.ledger.models() if is_model_name(name))})
    with ThreadPoolExecutor(max_workers=8) as pool:  # servers that do not answer are waited for side by side
        models = list(pool.map(lambda name: _model(services, name), names))
    for model in models:
        overridden = model["overridden"]
        for each in overridden if isinstance(overridden, list) else ():
            surface.text(f"{model['model']}: {each}", "bold red")
    alerts = show_open_alerts(surface, services, names)
    for model in models:
        model["alerts"] = alerts[str(model["model"])]
    if not services.approvers.exist:
        surface.say("approvers are not authenticated, and everybody here is admin: see lockgate approver add", "yellow")
    surface.table(
        "Serving",
        ("model", "environment", "release", "bundle", "since", "why", "server says"),
        [_row(model, environment) for model in models for environment in ENVIRONMENTS],
    )
    surface.table("Releases in progress", ("release", "state", "run"), [_open_row(m) for m in models if m["open"]])
    return models


def _model(services: Services, name: ModelName) -> dict[str, Json]:
    state = services.ledger.state(name)
    environments = {each: _environment(services, state, name, each) for each in ENVIRONMENTS}
    opened = state.open
    running: Json = None
    if opened is not None:
        running = {
            "release": opened.release,
            "run": opened.run,
            "opened_at": opened.opened_at.isoformat(),
            "waiting": opened.waiting,
            "expires_at": opened.expires_at.isoformat() if opened.expires_at else None,
        }
    shouted = [
        each.shout() for each in current(services.ledger.rows(name, events=(Event.OVERRIDDEN,)), services.clock.now())
    ]
    told: dict[str, Json] = {"model": name, "releases": state.releases, "environments": environments, "open": running}
    return {**told, "overridden": shouted, "approvers_authenticated": services.approvers.exist}


def _environment(services: Services, state: ModelState, name: ModelName, environment: str) -> dict[str, Json]:
    recorded, told = state.serving.get(environment), _ask_server(services, name, environment)
    bundle = None if recorded is None else recorded.bundle
    live = told.get("champion")
    return {
        "release": None if recorded is None else recorded.release,
        "bundle": bundle,
        "since": None if recorded is None else recorded.since.isoformat(),
        "why": "" if recorded is None else recorded.why,
        "sequence": None if recorded is None else recorded.sequence,
        "server": _agreement(told, bundle),
        "server_bundle": live,
    }


def _agreement(told: Mapping[str, Json], bundle: str | None) -> str:
    if "answer" in told:
        return str(told["answer"])
    if told.get("champion") is None and bundle is None:
        return "nothing"
    return "verified" if told.get("champion") == bundle else "differs"


def _ask_server(services: Services, name: ModelName, environment: str) -> Mapping[str, Json]:
    try:
        return services.target(environment).serving(name)
    except LockgateError as silent:
        return {"answer": "not running" if silent.exit_code == 7 else silent.message}


def _row(model: Mapping[str, Json], environment: str) -> tuple[object, ...]:
    environments = model["environments"]
    found = environments[environment] if isinstance(environments, dict) else {}
    from lockgate.cli.stack_commands import ago

    if found["bundle"] is None:
        return (model["model"], environment, "nothing yet", "", "", "", found["server"])
    since = f"{ago(found['since'])} ago"
    return (model["model"], environment, found["release"], found["bundle"][:12], since, found["why"], found["server"])


def _open_row(model: Mapping[str, Json]) -> tuple[object, ...]:
    opened = model["open"]
    if not isinstance(opened, dict):
        return ()
    state = f"waits for approval until {opened['expires_at']}" if opened["waiting"] else "running"
    return (opened["release"], state, opened["run"])
