"""Which bundle answers for which model: desired state, and what is published of it. Pure; loads and stores nothing.

    desired (sequence, champion, previous) --accept--> loaded --publish--> Route in the table

A request reads `Router.table` once and keeps what it found: a switch replaces the whole table by one reference, so
no request sees half of it, and a model that is no longer in the table lives until its last request is answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from lockgate.core.ids import Digest, Json
from lockgate.errors import LedgerConflict
from lockgate.serving.dataplane import ServedModel
from lockgate.serving.refusals import Reason, refuse

CHAMPION = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What a model's routing should be: what the controller asked for, and what is kept on disk.

    Attributes:
        sequence: The ledger's sequence of the request; a lower one is refused.
        champion: The bundle that answers.
        previous: The bundle that is kept loaded and warm for a rollback.
        since: When it was put in place, aware UTC.
    """

    sequence: int
    champion: Digest
    previous: Digest | None
    since: datetime

    def same_as(self, other: Desired) -> bool:
        """Tell whether both ask for the same, whenever that was."""
        return (self.sequence, self.champion, self.previous) == (other.sequence, other.champion, other.previous)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One version that takes part of a model's traffic.

    Attributes:
        name: `champion`; challengers get names of their own.
        weight: Its share of the traffic, 0 to 1.
        model: What answers.
        headers: What every answer of it carries, made once.
    """

    name: str
    weight: float
    model: ServedModel
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One model's routing as it is served.

    Attributes:
        model: The model's name.
        desired: What was asked for.
        arms: What answers, the champion first; empty when the champion could not be loaded.
        loaded: Every bundle in memory for this model, arms and the warm previous one.
        refused: Why a desired bundle is not loaded, by digest.
    """

    model: str
    desired: Desired
    arms: tuple[Arm, ...]
    loaded: Mapping[Digest, ServedModel]
    refused: Mapping[Digest, str]

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return bool(self.arms)

    @property
    def problem(self) -> str:
        """Why requests are not answered."""
        reason = self.refused.get(self.desired.champion, "it is not loaded")
        return f"model {self.model!r} is routed to {self.desired.champion}, but: {reason}"

    def choose(self, entity: str | None) -> Arm:
        """Return the arm that answers for an entity.

        The champion takes all traffic; weights, sticky by a hash of the entity, come in here.

        Raises:
            RequestRefused: No arm is loaded.
        """
        del entity
        if not self.arms:
            raise refuse(Reason.NOT_LOADED, self.problem)
        return self.arms[0]

    def to_json(self) -> dict[str, Json]:
        """Return what is really served, for the admin API."""
        return {
            "sequence": self.desired.sequence,
            "champion": self.desired.champion,
            "previous": self.desired.previous,
            "loaded": list(self.loaded),
            "refused": {str(digest): reason for digest, reason in self.refused.items()},
            "since": self.desired.since.isoformat() if self.ready else None,
        }


def make_route(
    model: str, desired: Desired, loaded: Mapping[Digest, ServedModel], refused: Mapping[Digest, str]
) -> Route:
    """Return the route that serves `desired` with the bundles that could be loaded."""
    champion = loaded.get(desired.champion)
    arms = () if champion is None else (_arm(CHAMPION, 1.0, champion),)
    return Route(
        model=model,
        desired=desired,
        arms=arms,
        loaded=MappingProxyType(dict(loaded)),
        refused=MappingProxyType(dict(refused)),
    )


def _arm(name: str, weight: float, model: ServedModel) -> Arm:
    headers = (
        (b"x-lockgate-model", model.contract.model.encode()),
        (b"x-lockgate-release-digest", model.digest.encode()),
        (b"x-lockgate-arm", name.encode()),
    )
    return Arm(name=name, weight=weight, model=model, headers=headers)


def already_served(current: Route, asked: Desired) -> bool:
    """Tell whether a request only repeats the one that is in place.

    Raises:
        LedgerConflict: A higher sequence was accepted before, or the same one with other content.
    """
    if asked.sequence < current.desired.sequence:
        raise LedgerConflict(
            f"sequence {asked.sequence} is behind {current.desired.sequence}, which model {current.model!r} is at; "
            "read the ledger again",
            asked=asked.sequence,
            served=current.desired.sequence,
        )
    if asked.sequence > current.desired.sequence:
        return False
    if not asked.same_as(current.desired):
        raise LedgerConflict(
            f"sequence {asked.sequence} of model {current.model!r} already stands for champion "
            f"{current.desired.champion}, previous {current.desired.previous}; a change needs a higher sequence",
            asked=asked.sequence,
            served=current.desired.sequence,
        )
    return True


class Router:
    """Holds the one published table."""

    def __init__(self) -> None:
        self.table: Mapping[str, Route] = MappingProxyType({})

    def publish(self, *routes: Route) -> None:
        """Serve these routes from the next request on, beside those of other models."""
        self.table = MappingProxyType({**self.table, **{route.model: route for route in routes}})

    def find(self, model: str | None) -> Route:
        """Return a model's route; None asks for the only one there is.

        Raises:
            RequestRefused: There is no such model, or none was named where there are several.
        """
        table = self.table
        if model is None:
            if len(table) == 1:
                return next(iter(table.values()))
            if table:
                raise refuse(Reason.MALFORMED, f"several models are served: add ?model= with one of {_names(table)}")
            raise refuse(Reason.UNKNOWN_MODEL, "no model is routed here yet")
        route = table.get(model)
        if route is None:
            raise refuse(Reason.UNKNOWN_MODEL, f"no model {model!r} is routed here; there are: {_names(table)}")
        return route


def _names(table: Mapping[str, Route]) -> str:
    return ", ".join(sorted(table)) or "none yet"
