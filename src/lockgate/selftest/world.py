"""A temporary installation: its own home, ledger and keys, copied whole to start a candidate from any stage.

    begin ── champion ──> before ingest ── clean candidate ──> before validate ──> ... ──> before stress

A copy shares nothing with the original, so candidates cannot see each other's traces.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.adapters.sandbox import Sandboxes
from lockgate.adapters.signer import ensure_keys
from lockgate.bootstrap import Services
from lockgate.config import Settings
from lockgate.core.ids import Digest, ModelName
from lockgate.core.ledger import Outcome
from lockgate.core.progress import Progress
from lockgate.core.spec import ReleaseSpec
from lockgate.line.lifecycle import this_process
from lockgate.line.model_line import Line
from lockgate.ports import Readback, RunState
from lockgate.stages import intake, releasing
from lockgate.stages.traffic import Switch, switch_traffic

if TYPE_CHECKING:
    import pandas as pd

_LANDED_AT = 1_700_000_000
"""A landed file's time: long ago, so that nothing waits for it to settle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every world of one selftest is made of; small, and travels to other processes.

    Attributes:
        settings: Of the installation that is imitated; only its project and host are kept.
        spec: The model's spec, for rows that are landed as they are.
        history: Parquet file of the rows that the champion is made of.
        batch: Parquet file of the rows that the candidate brings.
    """

    settings: Settings
    spec: ReleaseSpec
    history: Path
    batch: Path


@dataclass(slots=True, kw_only=True)
class World:
    """One temporary installation.

    Attributes:
        home: Holds everything.
        plan: What it is made of.
        services: Its ports; a fault replaces some.
        spoil: Changes the bundle as the staging host has it; None: it is what was sealed.
    """

    home: Path
    plan: Plan
    services: Services = field(init=False)
    spoil: Callable[[Path], None] | None = None
    _running: contextlib.ExitStack = field(init=False, default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self.services = Services(
            replace(self.plan.settings, home=self.home, notify=(), ledger_url=f"sqlite:///{self.home}/ledger.db")
        )

    @classmethod
    def new(cls, home: Path, plan: Plan) -> World:
        """Make an empty installation with keys of its own."""
        home.mkdir(parents=True)
        world = cls(home=home, plan=plan)
        ensure_keys(world.services.settings)
        return world

    def copy(self, home: Path) -> World:
        """Return a copy in another folder; this one must be closed, so that its ledger is whole on disk."""
        self.close()
        shutil.copytree(self.home, home)
        return World(home=home, plan=self.plan)

    def close(self) -> None:
        """Close the ledger and end the staging server, as far as they were opened."""
        self._running.close()
        if "ledger" in vars(self.services):
            self.services.ledger.close()
            del vars(self.services)["ledger"]

    def line(self, spec: ReleaseSpec | None = None) -> Line:
        """Return the line of this world."""
        return Line(services=self.services, spec=spec or self.plan.spec)

    def open_release(self, rows: pd.DataFrame, name: str, spec: ReleaseSpec | None = None) -> Progress:
        """Land rows, take them in and open a release, as the first task of a run does.

        Args:
            rows: What lands.
            name: Of the file, and of the run.
            spec: What the release is judged by; None: what the rows are taken in by.
        """
        line = self.line()
        folder = self.services.settings.landing(line.model)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.parquet"
        rows.to_parquet(path, index=False)
        os.utime(path, (_LANDED_AT, _LANDED_AT))
        intake.take_in(line.ledger, self.services.store, line.spec)
        start = releasing.Start(
            run=name, reason="selftest", started_by="selftest", code=self.services.code.digest, process=this_process()
        )
        return releasing.open_release(line.ledger, _NoRuns(), spec or line.spec, start)

    def open_staging(self, bundle: Digest) -> None:
        """Start the real server as staging, on a host that has copies of the bundles and of the public key."""
        settings, host = self.services.settings, self.home / "staging-host"
        shutil.copytree(settings.bundles, host / "bundles")
        (host / "keys").mkdir()
        shutil.copy(settings.public_key, host / "keys")
        if self.spoil is not None:
            self.spoil(host / "bundles" / bundle)
        server = self._running.enter_context(Sandboxes(replace(settings, home=host), settings.logs).open("staging"))
        settings.admin_token_file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(server.token_file, settings.admin_token_file)
        ports = {"staging": _port(server.url), "staging_admin": _port(server.admin_url)}
        self.services.settings = replace(settings, ports={**settings.ports, **ports})

    def promote(self, so_far: Progress) -> None:
        """Make a release's bundle the champion in the ledger, verified by a target that needs no server."""
        line = self.line()
        target = _Switchboard(name="production")
        switch = Switch(ledger=line.ledger, target=target, model=line.model, actor="selftest")
        why = "the selftest's champion"
        switch_traffic(switch, so_far.release, Digest(so_far.refs["bundle"]), why=why)
        releasing.end_release(line.ledger, line.spec, so_far.release, Outcome.PROMOTED, why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A candidate on its way.

    Attributes:
        world: Where it lives; its own.
        spec: What it is judged by.
        so_far: How far it has come; None before its rows landed.
    """

    world: World
    spec: ReleaseSpec
    so_far: Progress | None

    @property
    def line(self) -> Line:
        """Its line."""
        return self.world.line(self.spec)

    def judged_by(self, spec: ReleaseSpec) -> Candidate:
        """Return the candidate under another spec."""
        so_far = None if self.so_far is None else replace(self.so_far, spec=spec.digest)
        return replace(self, spec=spec, so_far=so_far)

    def opened(self) -> Progress:
        """Return how far it has come; lands the plan's rows if none have landed."""
        if self.so_far is not None:
            return self.so_far
        import pandas as pd

        return self.world.open_release(pd.read_parquet(self.world.plan.batch), "candidate", self.spec)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


class _NoRuns:
    """Flow runs of an installation without an orchestrator: none is known."""

    def state(self, run: str) -> RunState | None:  # noqa: ARG002 - the port's form
        """Return None."""
        return None

    def end(self, run: str, *, type: str, name: str, message: str) -> None:  # noqa: A002 - the port's word
        """Do nothing."""


@dataclass
class _Switchboard:
    """A deploy target that remembers what it was told and answers with it."""

    name: str
    sequence: int = 0
    serves: Digest | None = None

    def switch(self, model: ModelName, bundle: Digest, *, sequence: int, previous: Digest | None) -> None:  # noqa: ARG002
        self.sequence, self.serves = sequence, bundle

    def readback(self, model: ModelName, bundle: Digest, requests: int) -> Readback:  # noqa: ARG002 - the port's form
        answers: Iterable[Digest] = [] if self.serves is None else [self.serves] * requests
        return Readback(sequence=self.sequence, answers=tuple(answers))

    def serving(self, model: ModelName) -> dict[str, str | int | None]:  # noqa: ARG002 - the port's form
        return {"champion": self.serves, "sequence": self.sequence}
