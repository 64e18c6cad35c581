"""What a server is asked to route while a rollout is under way, and what it says it really does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lockgate.core.ids import Digest

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
ONE_OF: Final = "challenger-"
"""What a server calls several challengers: with their number behind it, from 1."""
SHADOW: Final = "challenger-shadow"
"""What a server calls the challenger where it answers copies: names of arms and shadows are all different."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedArm:
    """One of several challengers.

    Attributes:
        name: What the server calls it.
        bundle: What answers.
        weight: Its share of entities, 0 to 1.
    """

    name: str
    bundle: Digest
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """A model's routing as it is asked for.

    Attributes:
        sequence: The ledger's row that intends it; a server refuses a lower one.
        champion: Who has what the challenger has not.
        challenger: Who may replace it; None: the champion alone.
        weight: The challenger's share of entities, 0 to 1; 0: loaded, but no live request reaches it.
        shadow: The share of requests that is copied to the challenger, 0 to 1.
        salt: Keys who gets which arm; the rollout's own, so that nobody is in the challenger's buckets twice by fate.
        lease_s: Weight and shadow end so long after the last renewal.
        arms: Several challengers at once, in place of `challenger`.
    """

    sequence: int
    champion: Digest
    challenger: Digest | None = None
    weight: float = 0.0
    shadow: float = 0.0
    salt: str
    lease_s: float = 10.0
    arms: tuple[RoutedArm, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What a server says it really routes.

    Attributes:
        sequence: What it acknowledged.
        champion: The champion it serves.
        weight: The challenger's share of entities right now; 0 once the lease is over.
        shadow: The share of requests that is copied to it right now.
        lease_left_s: Until the lease is over; 0 where nothing is leased.
        arms: Where there are several challengers: each, with its share right now.
    """

    sequence: int
    champion: Digest
    weight: float
    shadow: float
    lease_left_s: float
    arms: tuple[RoutedArm, ...] = ()
