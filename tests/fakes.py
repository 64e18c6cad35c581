"""In-memory parts that implement the ports, for tests that need the port's meaning and not the machine behind it.

Each keeps the promises of its protocol (compare-and-set, idempotence, refusals), so that the contract suites in
`tests/contract/` run against these and against the real parts alike. Failures are armed by attributes, not patched in.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lockgate.core.alerting.messages import Message
from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, canonical_json
from lockgate.core.ledger import Event, LedgerRow, next_row
from lockgate.core.model_state import ModelState, project
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, NotRunning, TransientError
from lockgate.ports import Delivered, Readback

EPOCH = datetime(2013, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class FakeClock:
    """A clock that stands still unless told to move; every reading may also move it by `step`."""

    time: datetime = EPOCH
    step: timedelta = timedelta(0)

    def now(self) -> datetime:
        now = self.time
        self.time += self.step
        return now

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class FakeLedger:
    """A ledger in memory.

    Attributes:
        down: Every call fails as an unreachable database would.
        before_append: Called before each append takes effect: what another writer does meanwhile.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    down: bool = False
    before_append: Callable[[Event], None] | None = None
    _chains: dict[ModelName, list[LedgerRow]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def append(
        self,
        model: ModelName,
        event: Event,
        payload: Mapping[str, Json],
        *,
        release: ReleaseId | None = None,
        actor: str = "lockgate",
        expect_seq: int | None = None,
    ) -> LedgerRow:
        self._reachable()
        if self.before_append is not None:
            self.before_append(event)
        with self._lock:
            chain = self._chains.get(model, [])
            stored: Mapping[str, Json] = json.loads(canonical_json(payload))  # what a real one would read back
            if expect_seq is not None and expect_seq != len(chain):
                raise LedgerConflict(
                    f"{model}: row {expect_seq} was the last one read, {len(chain)} is", seq=len(chain)
                )
            row = next_row(
                model=model,
                at=self.clock.now(),
                event=event,
                release=release,
                actor=actor,
                payload=stored,
                last=chain[-1] if chain else None,
            )
            self._chains.setdefault(model, []).append(row)
            return row

    def rows(
        self, model: ModelName, *, release: ReleaseId | None = None, events: Sequence[Event] = (), after: int = 0
    ) -> tuple[LedgerRow, ...]:
        self._reachable()
        return tuple(
            row
            for row in self._chains.get(model, [])
            if row.seq > after and (release is None or row.release == release) and (not events or row.event in events)
        )

    def state(self, model: ModelName) -> ModelState:
        return project(self.rows(model))

    def last_seq(self, model: ModelName) -> int:
        self._reachable()
        return len(self._chains.get(model, []))

    def models(self) -> tuple[ModelName, ...]:
        self._reachable()
        return tuple(sorted(self._chains))

    def _reachable(self) -> None:
        if self.down:
            raise TransientError("the ledger did not answer")


@dataclass
class FakeNotifier:
    """Keeps what it was told; `delivers=False` is a machine without addresses."""

    delivers: bool = True
    sent: list[tuple[str, str]] = field(default_factory=list)

    def notify(self, title: str, body: str) -> bool:
        if self.delivers:
            self.sent.append((title, body))
        return self.delivers


@dataclass
class FakeOutbox:
    """Keeps the messages it takes, once an id; `takes=False` is a machine without addresses."""

    takes: bool = True
    messages: list[Message] = field(default_factory=list)
    done: dict[str, Delivered] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _taken: int = 0

    def put(self, message: Message) -> bool:
        if self.takes and message.id not in self._known:
            self._known.add(message.id)
            self.messages.append(message)
        return self.takes

    def take(self) -> None:
        """Let every address take what waits."""
        for each in self.messages[self._taken :]:
            self.done[each.id] = Delivered(id=each.id, model=each.model, to=("json-1",))
        self._taken = len(self.messages)

    def deliver(self) -> int:
        """As the real one does; returns how many messages were taken."""
        before = self._taken
        self.take()
        return self._taken - before

    def delivered(self) -> tuple[Delivered, ...]:
        return tuple(self.done.values())

    def settle(self, message: str) -> None:
        del self.done[message]


@dataclass
class FakeBundleStore:
    """Bundles by digest; `tampered` ones are refused as the real store refuses a flipped byte."""

    root: Path = Path("/nowhere")
    bundles: dict[Digest, ModelBundle] = field(default_factory=dict)
    tampered: set[Digest] = field(default_factory=set)

    def put(self, bundle: ModelBundle) -> ModelBundle:
        self.bundles[bundle.digest] = bundle
        return bundle

    def get(self, digest: Digest) -> ModelBundle:
        if digest in self.tampered:
            raise IntegrityError(f"bundle {digest}: its bytes are not what was signed", bundle=digest)
        if digest not in self.bundles:
            raise BadInput(f"there is no bundle {digest}; there are {sorted(self.bundles)}", bundle=digest)
        return self.bundles[digest]

    def folder(self, digest: Digest) -> Path:
        return self.root / digest


@dataclass
class FakeDeployTarget:
    """An environment that serves what it was told to, unless armed otherwise.

    Attributes:
        name: The environment.
        known: Bundles it can load; None: every one.
        stuck_on: Answers keep carrying this digest, whatever was switched to.
        down: Nothing listens.
        lose_switches: The next so many switches take effect, but their answer is lost.
    """

    name: str = "production"
    known: set[Digest] | None = None
    stuck_on: Digest | None = None
    down: bool = False
    lose_switches: int = 0
    routing: dict[ModelName, tuple[int, Digest, Digest | None]] = field(default_factory=dict)
    switches: list[tuple[ModelName, Digest, int]] = field(default_factory=list)

    def switch(self, model: ModelName, bundle: Digest, *, sequence: int, previous: Digest | None) -> None:
        if self.down:
            raise TransientError(f"{self.name} did not answer")
        if self.known is not None and bundle not in self.known:
            raise IntegrityError(f"{self.name} refused bundle {bundle}", bundle=bundle)
        seen = self.routing.get(model)
        wanted = (sequence, bundle, previous)
        if seen is not None and (sequence < seen[0] or (sequence == seen[0] and wanted != seen)):
            raise LedgerConflict(f"{self.name} has seen sequence {seen[0]}, not {sequence}", sequence=seen[0])
        self.routing[model] = wanted
        self.switches.append((model, bundle, sequence))
        if self.lose_switches:
            self.lose_switches -= 1
            raise TransientError(f"{self.name} did not answer")

    def readback(self, model: ModelName, bundle: Digest, requests: int) -> Readback:
        del bundle  # a real target needs it to know which golden requests to send
        if self.down or model not in self.routing:
            raise TransientError(f"{self.name} did not answer for {model}")
        sequence, champion, _previous = self.routing[model]
        return Readback(sequence=sequence, answers=(self.stuck_on or champion,) * requests)

    def serving(self, model: ModelName) -> Mapping[str, Json]:
        if self.down:
            raise NotRunning(f"nothing listens at {self.name}")
        if model not in self.routing:
            return {}
        sequence, champion, previous = self.routing[model]
        loaded = [digest for digest in (champion, previous) if digest is not None]
        return {"sequence": sequence, "champion": champion, "previous": previous, "loaded": loaded}


@dataclass
class FakeRegistry:
    """Versions by bundle, aliases by name."""

    down: bool = False
    versions: dict[tuple[ModelName, Digest], Mapping[str, Json]] = field(default_factory=dict)
    aliases: dict[tuple[ModelName, str], Digest] = field(default_factory=dict)
    alias_writes: list[tuple[ModelName, str, Digest]] = field(default_factory=list)
    attached: list[tuple[ModelName, Digest, bytes]] = field(default_factory=list)

    def register(
        self, spec: ReleaseSpec, release: ReleaseId, bundle: ModelBundle, folder: Path, facts: Mapping[str, Json]
    ) -> Mapping[str, Json]:
        del folder, facts
        self._reachable()
        key = (spec.name, bundle.digest)
        if key not in self.versions:
            version = 1 + sum(model == spec.name for model, _ in self.versions)
            uri = f"fake://{spec.name}/{version}"
            self.versions[key] = {"version": str(version), "run": f"run-{release}", "uri": uri, "page": uri}
        return self.versions[key]

    def set_alias(self, model: ModelName, alias: str, bundle: Digest) -> None:
        self._require_version(model, bundle)
        if self.aliases.get((model, alias)) != bundle:
            self.aliases[model, alias] = bundle
            self.alias_writes.append((model, alias, bundle))

    def attach(self, model: ModelName, bundle: Digest, path: Path) -> str:
        self._require_version(model, bundle)
        self.attached.append((model, bundle, path.read_bytes()))
        return f"fake://{model}/{bundle}/{path.name}"

    def drop_alias(self, model: ModelName, alias: str) -> None:
        self._reachable()
        self.aliases.pop((model, alias), None)

    def _require_version(self, model: ModelName, bundle: Digest) -> None:
        self._reachable()
        if (model, bundle) not in self.versions:
            raise BadInput(f"{model} has no version of bundle {bundle}; register it first", bundle=bundle)

    def _reachable(self) -> None:
        if self.down:
            raise TransientError("the registry did not answer")
