"""What a rollout needs from outside: the server's routing, and what its logs say."""

from __future__ import annotations

from typing import Protocol

from lockgate.core.ids import ModelName
from lockgate.core.rollout.observations import Seen
from lockgate.core.rollout.routing import Routed, Routing


class TrafficRouter(Protocol):
    """The routing of one environment while a rollout is under way; `ServerTarget` is one."""

    name: str

    def route(self, model: ModelName, routing: Routing) -> Routed:
        """Put a routing in place, its lease new, and return what is really routed; idempotent for one sequence.

        Raises:
            IntegrityError: A bundle was refused; nothing changed.
            LedgerConflict: The server has seen a higher sequence.
            TransientError: It did not answer.
        """
        ...

    def renew(self, model: ModelName, sequence: int) -> Routed:
        """Renew the lease of a routing and return what is really routed.

        Raises:
            LedgerConflict: Another sequence is served: somebody else has changed the routing.
            TransientError: It did not answer.
        """
        ...

    def routed(self, model: ModelName) -> Routed | None:
        """Return what is really routed; None when the model is not.

        Raises:
            TransientError: It did not answer.
        """
        ...


class TrafficLog(Protocol):
    """What production's logs say, read once each, in order."""

    def end(self, model: ModelName) -> str:
        """Return a cursor behind everything that is there now."""
        ...

    def read(self, model: ModelName, cursor: str) -> Seen:
        """Return what was logged since a cursor, a bounded part of it at a time.

        Raises:
            TransientError: The log cannot be read now.
        """
        ...
