"""What a bundle's folder tells without loading it: sizes, libraries, contract, and the program that made it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from lockgate.core.estimates import within
from lockgate.core.ids import Json

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
"""One pin of a requirements file as pip writes it: name, extras, version; hashes and markers follow."""


def bundle_sheet(folder: Path) -> dict[str, dict[str, str | float]]:
    """Return what tells two bundles apart, by group; empty where the folder is not there any more.

    Args:
        folder: A bundle's folder.
    """
    if not folder.is_dir():
        return {}
    return {
        "size": {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
        "lock": _locked(folder / "requirements.lock"),
        "contract": _contract(read_part(folder, "contract.json")),
        "code": {name: str(value) for name, value in program(folder).items()},
    }


def program(folder: Path) -> Mapping[str, Json]:
    """Return the facts of the program that made a bundle: commit, dirty, tree; empty where they are not told."""
    definition = within(within(read_part(folder, "provenance.json"), "predicate"), "buildDefinition")
    sources = within(definition, "resolvedDependencies")
    for each in sources if isinstance(sources, list) else ():
        facts = within(each, "annotations")
        if within(each, "name") == "source" and isinstance(facts, Mapping):
            return facts
    return {}


def read_part(folder: Path, name: str) -> Json:
    """Return a JSON part of a bundle; None where it is not there or is no JSON."""
    try:
        read: Json = json.loads((folder / name).read_bytes())
    except (OSError, ValueError):
        return None
    return read


def _locked(path: Path) -> dict[str, str | float]:
    return dict(_PINNED.findall(path.read_text())) if path.is_file() else {}


def _contract(contract: Json) -> dict[str, str | float]:
    inputs, threshold = within(contract, "inputs"), within(contract, "threshold")
    told: dict[str, str | float] = {}
    if isinstance(threshold, int | float):
        told["threshold"] = threshold
    for column in inputs if isinstance(inputs, list) else ():
        told[f"input.{within(column, 'name')}"] = str(within(column, "type"))
    return told
