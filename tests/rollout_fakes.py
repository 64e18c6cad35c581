"""In-memory parts of a rollout's world: a server's routing with a lease, and logs that say what a test puts there.

They keep the promises of their ports; `tests/contract/` holds them against a real server and real files. Failures are
armed by attributes, not patched in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from lockgate.core.ids import Digest, ModelName
from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation, Seen
from lockgate.core.rollout.routing import Routed, Routing
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, TransientError
from tests.fakes import FakeClock


@dataclass
class _Put:
    routing: Routing
    lease_until: float


@dataclass
class FakeTrafficRouter:
    """A server's routing in memory; its lease follows `clock.time`, and reading it does not move that clock.

    Attributes:
        known: Bundles that it can load; None: whichever.
        down: Every call fails as an unreachable server would.
        calls: What was asked, in order: `route`, `renew` or `routed`.
        placed: Every routing that was put in place by `route`, in order; a repeated one once.
        strays: What the next calls say is routed in place of what is (a worker that did not follow), oldest first.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    name: str = "production"
    known: set[Digest] | None = None
    down: bool = False
    calls: list[str] = field(default_factory=list)
    placed: list[Routing] = field(default_factory=list)
    strays: deque[Routed] = field(default_factory=deque)
    _models: dict[ModelName, _Put] = field(default_factory=dict)

    def route(self, model: ModelName, routing: Routing) -> Routed:
        self._answers("route")
        put = self._models.get(model)
        if put is not None:
            self._check(put.routing, routing)
        self._accept(routing)
        if put is None or put.routing != routing:
            self.placed.append(routing)
            self._models[model] = _Put(routing, self._end(routing))
        else:
            put.lease_until = max(put.lease_until, self._end(routing))
        return self._really(model)

    def renew(self, model: ModelName, sequence: int) -> Routed:
        self._answers("renew")
        put = self._models.get(model)
        if put is None:
            raise LedgerConflict(f"{self.name} answered 404: no model {model!r} is routed here")
        if put.routing.sequence != sequence:
            raise LedgerConflict(f"model {model!r} is at sequence {put.routing.sequence}, not {sequence}")
        put.lease_until = max(put.lease_until, self._end(put.routing))
        return self._really(model)

    def routed(self, model: ModelName) -> Routed | None:
        self._answers("routed")
        return self._really(model) if model in self._models else None

    def somebody_else(self, model: ModelName, champion: Digest) -> int:
        """Let another controller, or a rollback by hand, put `champion` alone in place; return its sequence."""
        before = self._models.get(model)
        sequence = 1 if before is None else before.routing.sequence + 1
        self._models[model] = _Put(Routing(sequence=sequence, champion=champion, salt="another"), float("-inf"))
        return sequence

    def restart(self) -> None:
        """Let the server end and come back: the routing stands, no lease survives."""
        for put in self._models.values():
            put.lease_until = float("-inf")

    def asked(self, model: ModelName) -> Routing | None:
        """Return the routing in place, whether its lease lasts or not; no call."""
        put = self._models.get(model)
        return None if put is None else put.routing

    def _answers(self, call: str) -> None:
        self.calls.append(call)
        if self.down:
            raise TransientError(f"{self.name} did not answer")

    def _check(self, served: Routing, asked: Routing) -> None:
        if asked.sequence < served.sequence:
            raise LedgerConflict(f"sequence {asked.sequence} is behind {served.sequence}")
        if asked.sequence == served.sequence and asked != served:
            raise LedgerConflict(f"sequence {asked.sequence} already stands for another routing")

    def _accept(self, routing: Routing) -> None:
        for share in (routing.weight, routing.shadow, *(each.weight for each in routing.arms)):
            if not 0 <= share <= 1 or 0 < share < 1e-4:
                raise BadInput(f"{self.name} answered 400: {share} is no share of the traffic, 0 to 1")
        if routing.challenger is None and (routing.weight or routing.shadow):
            raise BadInput("a routing without a challenger has neither weight nor shadow")
        for bundle in (routing.champion, routing.challenger, *(each.bundle for each in routing.arms)):
            if bundle is not None and self.known is not None and bundle not in self.known:
                raise IntegrityError(f"{self.name} answered 404: no bundle {bundle}", bundle=bundle)

    def _end(self, routing: Routing) -> float:
        leased = routing.challenger is not None or routing.arms
        return self._now() + routing.lease_s if leased else float("-inf")

    def _now(self) -> float:
        return self.clock.time.timestamp()

    def _really(self, model: ModelName) -> Routed:
        if self.strays:
            return self.strays.popleft()
        put = self._models[model]
        left = max(0.0, put.lease_until - self._now())
        return Routed(
            sequence=put.routing.sequence,
            champion=put.routing.champion,
            weight=put.routing.weight if left else 0.0,
            shadow=put.routing.shadow if left else 0.0,
            lease_left_s=left,
            arms=tuple(each if left else replace(each, weight=0.0) for each in put.routing.arms),
        )


@dataclass
class FakeTrafficLog:
    """Logs as a list of what each reading gives; a cursor counts the readings before it.

    Attributes:
        queue: What is there, in order; `put` appends.
        down: Every call fails as a disk that cannot be read.
        lags: Every reading says that there is more, as where requests are logged faster than they can be read.
        reads: The cursors that were read from.
    """

    queue: list[Seen] = field(default_factory=list)
    down: bool = False
    lags: bool = False
    reads: list[str] = field(default_factory=list)

    def put(
        self,
        *observations: Observation,
        labels: tuple[LabelSeen, ...] = (),
        kpis: tuple[KpiSeen, ...] = (),
        lost: int = 0,
    ) -> None:
        """Log something; one reading gives it."""
        self.queue.append(Seen(observations=observations, labels=labels, kpis=kpis, lost=lost, cursor=""))

    def end(self, model: ModelName) -> str:
        del model
        self._reachable()
        return str(len(self.queue))

    def read(self, model: ModelName, cursor: str) -> Seen:
        del model
        self._reachable()
        self.reads.append(cursor)
        at = int(cursor)
        if at >= len(self.queue):
            return Seen(cursor=cursor, behind=self.lags)
        return replace(self.queue[at], cursor=str(at + 1), behind=self.lags or at + 1 < len(self.queue))

    def _reachable(self) -> None:
        if self.down:
            raise TransientError("the log cannot be read now")
