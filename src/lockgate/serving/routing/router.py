"""Which arm answers a request: what is published of the desired routing. Pure; loads and stores nothing.

    desired --> prepared (loaded, proved, warm) --publish--> Route in the table --choose--> Choice
                                                               ^ lease renewed: the same with a later end

A request reads `Router.table` once and keeps what it found: a switch replaces the whole table by one reference, so
no request sees half of it, and a model that is no longer in the table lives until its last request is answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import msgspec

from lockgate.core.ids import Digest, Json
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.routing.desired import PREVIOUS, Desired
from lockgate.serving.routing.sticky import BUCKETS, SaltedHash

NO_LEASE: Final = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One loaded version that requests can reach.

    Attributes:
        name: `champion`, `previous`, or a name of its own.
        weight: Its share of the traffic while the lease lasts, 0 to 1.
        model: What answers.
        headers: What every answer of it carries, made once.
        tags: Other names by which a request can force it.
    """

    name: str
    weight: float
    model: ServedModel
    headers: tuple[tuple[bytes, bytes], ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A loaded version that answers copies of requests.

    Attributes:
        name: Its name.
        share: The share of the traffic that is copied to it, 0 to 1.
        model: What answers.
        sampled: Hashes entities with a salt of its own: whom it sees does not depend on who is in which arm.
    """

    name: str
    share: float
    model: ServedModel
    sampled: SaltedHash

    def takes(self, entity: str | None) -> bool:
        """Tell whether a request of this entity is copied to it; sticky, random without an entity."""
        return self.share >= 1 or self.sampled.bucket(entity) < self.share * BUCKETS


class Choice(msgspec.Struct, frozen=True, gc=False):
    """Which arm answers one request, and why.

    Attributes:
        arm: What answers.
        propensity: How probable this arm was for an entity drawn at random; 1 where the caller forced it.
        forced: Whether the caller asked for the arm or version; such a request never enters statistics.
        entity: What keyed the choice, None where nothing did.
        probe: Whether somebody only looks whether callers are answered: routed as they are, but never in statistics.
    """

    arm: Arm
    propensity: float
    forced: bool
    entity: str | None
    probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One model's routing as it is served.

    Attributes:
        model: The model's name.
        desired: What was asked for.
        arms: What takes traffic, the champion first; empty when the champion could not be loaded.
        shadows: What may answer copies; ask `active_shadows` for those that do now.
        previous: The arm that answers when the champion fails; None unless loaded and of the same columns and outputs.
        loaded: Every bundle in memory for this model.
        refused: Why a desired bundle is not loaded, by digest.
        lease_until: When weights and shadows end, on `clock`.
        clock: Monotonic, in seconds.
        forcible: Every arm by each name and tag by which a request can force it.
    """

    model: str
    desired: Desired
    arms: tuple[Arm, ...]
    shadows: tuple[Shadow, ...]
    previous: Arm | None
    loaded: Mapping[Digest, ServedModel]
    refused: Mapping[Digest, str]
    lease_until: float = NO_LEASE
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    forcible: Mapping[str, Arm] = field(repr=False)
    _owners: bytes | None = field(repr=False)  # index of the arm by bucket; None where the champion has them all
    _hash: SaltedHash = field(repr=False)

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return bool(self.arms)

    @property
    def problem(self) -> str:
        """Why requests are not answered."""
        reason = self.refused.get(self.desired.champion, "it is not loaded")
        return f"model {self.model!r} is routed to {self.desired.champion}, but: {reason}"

    @property
    def constant(self) -> Mapping[str, Json] | None:
        """The outputs of one row to answer with when every arm has failed; None: the caller gets the error."""
        return self.desired.constant

    @property
    def timeout_s(self) -> float | None:
        """How long one run of a model may take before the fallback answers; None: the server's own limit."""
        return self.desired.timeout_s

    def choose(self, entity: str | None, *, tag: str | None = None, version: str | None = None) -> Choice:
        """Return the arm that answers a request; the same for the same entity while weights stay.

        Args:
            entity: Keys the choice; None: any arm, by weight.
            tag: Forces the arm of this name or tag.
            version: Forces the arm of this bundle.

        Raises:
            RequestRefused: No arm is loaded, or none is the forced one.
        """
        if tag is not None or version is not None:
            return Choice(self._forced(tag, version), 1.0, True, entity)
        if self._owners is None or self.clock() >= self.lease_until:
            if not self.arms:
                raise refuse(Reason.NOT_LOADED, self.problem)
            return Choice(self.arms[0], 1.0, False, entity)
        arm = self.arms[self._owners[self._hash.bucket(entity)]]
        return Choice(arm, arm.weight, False, entity)

    def _forced(self, tag: str | None, version: str | None) -> Arm:
        if not self.arms:
            raise refuse(Reason.NOT_LOADED, self.problem)
        if tag is not None:
            arm = self.forcible.get(tag)
            if arm is None:
                raise refuse(
                    Reason.UNKNOWN_ARM,
                    f"model {self.model!r} has no arm {tag!r}; there are: {', '.join(self.forcible)}",
                )
            if version is None or version == arm.model.digest:
                return arm
            raise refuse(
                Reason.UNKNOWN_VERSION,
                f"arm {tag!r} of model {self.model!r} is version {arm.model.digest}, not {version}",
            )
        for arm in self.forcible.values():
            if arm.model.digest == version:
                return arm
        served = ", ".join(dict.fromkeys(str(arm.model.digest) for arm in self.forcible.values()))
        raise refuse(
            Reason.UNKNOWN_VERSION, f"version {version!r} of model {self.model!r} is not routed; there are: {served}"
        )

    def fallback(self, failed: Arm) -> tuple[Arm, ...]:
        """Return the arms to try after one has failed, in order: the champion, then the previous bundle.

        None of them holds the bundle that failed. After the last comes `constant`. A forced request has no fallback:
        it asks about that arm.
        """
        order = (*self.arms[:1], *(() if self.previous is None else (self.previous,)))
        # from the previous one there is no way back up: whoever chose it got there because the champion failed
        return tuple(arm for arm in order if arm.model is not failed.model) if failed.name != PREVIOUS else ()

    @property
    def leased(self) -> bool:
        """Whether the lease lasts."""
        return self.clock() < self.lease_until

    def active_shadows(self) -> tuple[Shadow, ...]:
        """Return the shadows that see requests now: none without a lease."""
        return self.shadows if self.shadows and self.clock() < self.lease_until else ()

    def renewed(self, lease_s: float | None = None) -> Route:
        """Return the route with a lease that starts now; the one it had lasts at least as long as before.

        Args:
            lease_s: How long, in seconds; None: what was asked for with the weights.
        """
        if not self.desired.leased:
            return self
        seconds = self.desired.lease_s if lease_s is None else lease_s
        return replace(self, lease_until=max(self.lease_until, self.clock() + seconds))

    def leased_until(self, end: float) -> Route:
        """Return the route with a lease that ends then, on `clock`; itself where nothing is leased."""
        return replace(self, lease_until=end) if self.desired.leased else self

    def weights(self) -> dict[str, float]:
        """Return each arm's share of the traffic right now; they sum to 1, or there are none."""
        if not self.arms:
            return {}
        if self._owners is None or not self.leased:
            return {arm.name: float(arm is self.arms[0]) for arm in self.arms}
        return {arm.name: arm.weight for arm in self.arms}


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
