"""The project and the settings of a replay: a copy of the program and of one spec, a home and ports of its own.

    <folder>/project    what is run: a file that is edited meanwhile changes nothing in it
    <folder>/home       everything the replay holds, with its clock

Schedules are left out: a replay does by itself what they would start, and no clock but its own says when.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import yaml

from lockgate.adapters.virtual_clock import start_clock
from lockgate.config import PORTS, Settings
from lockgate.core.ids import Json, ModelName
from lockgate.errors import BadInput

_FOLDERS = ("src", "flows", "tasks", "deployments", "great_expectations")
_IGNORED = ("__pycache__", "*.egg-info", "uncommitted", "plugins", "environments")
_RELEASES = ":release_model"


def read_yaml(path: Path, what: str) -> dict[str, Json]:
    """Read a mapping.

    Raises:
        BadInput: There is no such file, or it holds something else.
    """
    if not path.is_file():
        raise BadInput(f"{what}: there is no file {path}")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        raise BadInput(f"{what}: {path} is not YAML: {broken}") from broken
    if not isinstance(given, dict):
        raise BadInput(f"{what}: {path} must hold sections of a spec, e.g. retraining")
    return given


def make_project(source: Path, model: ModelName, spec: Mapping[str, Json], folder: Path) -> None:
    """Copy a project with one spec of it; one that is there already stays as it is.

    Args:
        source: The checkout.
        model: The model that is replayed.
        spec: What its spec holds in the replay.
        folder: Where to; it appears whole.

    Raises:
        BadInput: prefect.yaml has no deployment that releases the model.
    """
    if folder.is_dir():
        return
    half = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(half, ignore_errors=True)
    for name in _FOLDERS:
        if (source / name).is_dir():
            shutil.copytree(source / name, half / name, ignore=shutil.ignore_patterns(*_IGNORED))
    others = {each.stem for each in (half / "deployments").glob("*.yaml")} - {model}
    for other in others | {model}:
        (half / "deployments" / f"{other}.yaml").unlink(missing_ok=True)
    (half / "deployments" / f"{model}.yaml").write_text(yaml.safe_dump(dict(spec), sort_keys=False))
    deployments = _deployments(read_yaml(source / "prefect.yaml", "the deployments"), model, others)
    (half / "prefect.yaml").write_text(yaml.safe_dump(deployments, sort_keys=False))
    if (source / "requirements.lock").is_file():
        shutil.copy(source / "requirements.lock", half)
    half.rename(folder)


def _deployments(given: Mapping[str, Json], model: ModelName, others: Collection[str]) -> dict[str, Json]:
    """Return the deployments without those of other models, and without schedules."""
    kept: list[Json] = []
    releases = 0
    each_given = given.get("deployments")
    for each in each_given if isinstance(each_given, list) else ():
        if each.get("name") in others:
            continue
        releases += each.get("name") == model and str(each.get("entrypoint")).endswith(_RELEASES)
        kept.append({key: value for key, value in each.items() if key != "schedules"})
    if not releases:
        raise BadInput(f"prefect.yaml has no deployment of release_model named {model}; copy that of another model")
    return {**{key: value for key, value in given.items() if key != "definitions"}, "deployments": kept}


def replay_settings(source: Settings, folder: Path, began: datetime) -> Settings:
    """Return the settings of a replay in a folder; its clock begins at a time, unless it has begun.

    Args:
        source: Of the installation; its address is kept, nothing else.
        folder: Holds the project and the home.
        began: What time it is at first.
    """
    home = folder / "home"
    clock_file = start_clock(home, began)
    return replace(
        source,
        project=folder / "project",
        home=home,
        ports=_free_ports(source.host),
        notify=(),
        ledger_url=f"sqlite:///{home}/ledger.db",
        clock_file=clock_file,
    )


def _free_ports(host: str) -> dict[str, int]:
    with ExitStack() as held:
        ports = {}
        for name in PORTS:
            taken = held.enter_context(socket.socket())
            taken.bind((host, 0))
            ports[name] = int(taken.getsockname()[1])
        return ports
