"""What differs between the program, the libraries and the machine that made a release, and those of today."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lockgate.core.evidence import Evidence
from lockgate.core.ids import Json, digest_bytes, digest_of
from lockgate.errors import IntegrityError
from lockgate.ports import Fit

_PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a model is made by.

    Attributes:
        tree: sha256 of the source.
        commit: The git commit, where there is one.
        lock: The lock file's content.
        platform: As `platform.platform()` says.
    """

    tree: str
    commit: str | None
    lock: str
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One thing that is not what it was when the release was made.

    Attributes:
        what: `source`, `commit`, `platform`, a package, or a library of the fit.
        recorded: Then.
        now: Now.
    """

    what: str
    recorded: str | None
    now: str | None


def program_changes(now: Program, folder: Path, code: str) -> Iterator[Changed]:
    """Yield what differs between the program that made a bundle and the one of today.

    Args:
        now: The program of today.
        folder: The bundle's parts.
        code: Digest of the program that the ledger names.

    Raises:
        IntegrityError: The bundle names another program than the ledger.
    """
    statement = json.loads((folder / "provenance.json").read_bytes())
    sources = {each["name"]: each for each in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    source, lock = sources["source"], str(sources["requirements.lock"]["digest"]["sha256"])
    tree = str(source["digest"]["sha256"])
    if digest_of({"tree": tree, "lock": lock}) != code:
        raise IntegrityError(f"bundle {folder.name[:12]} says it was made by another program than the ledger says")
    if tree != now.tree:
        yield Changed(what="source", recorded=tree, now=now.tree)
        commit = source.get("annotations", {}).get("commit")
        if commit != now.commit:
            yield Changed(what="commit", recorded=commit, now=now.commit)
    if lock != digest_bytes(now.lock.encode()):
        yield Changed(what="requirements.lock", recorded=lock, now=digest_bytes(now.lock.encode()))
        then = dict(_PINNED.findall((folder / "requirements.lock").read_text()))
        yield from _differences(then, dict(_PINNED.findall(now.lock)))


def fit_changes(program: Program, evidence: Evidence | None, fit: Fit) -> Iterator[Changed]:
    """Yield what differs between the libraries and the machine of the fit and those of today."""
    if evidence is None:
        return
    then, now = evidence.measurements.get("versions"), fit.facts.get("versions")
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        yield from _differences(then, now, suffix=" (installed)")
    platform = evidence.measured_on.partition(" ")[2]
    if platform != program.platform:
        yield Changed(what="platform", recorded=platform, now=program.platform)


def _differences(then: Mapping[str, Json], now: Mapping[str, Json], suffix: str = "") -> Iterator[Changed]:
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            old, new = then.get(name), now.get(name)
            told = (None if old is None else str(old), None if new is None else str(new))
            yield Changed(what=f"{name}{suffix}", recorded=told[0], now=told[1])
