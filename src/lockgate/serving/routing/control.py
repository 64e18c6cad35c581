"""Changes what is served: loads, warms up and proves the bundles of a desired routing, keeps it on disk, publishes it.

    put:  prepare (in threads, nothing is published) --> save --> publish (one reference)
    lease: renew --> the same route with a later end

Several changes may be prepared at a time, so that a rollback never waits for a bundle that hangs; what another one has
overtaken is prepared again, or refused where its sequence is behind by then.

What leaves the table is freed when its last request is answered: nothing here or there holds it any longer. Knows no
transport. Its methods run on one event loop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from lockgate.core.ids import Digest
from lockgate.errors import IntegrityError, LedgerConflict
from lockgate.serving.model.bundle import UnknownBundle, open_bundle
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.model.fence import Fence
from lockgate.serving.model.proving import load
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.routing.desired import Desired, already_served, check_lease
from lockgate.serving.routing.loading import LOAD_TIMEOUT_S, Loader, OpenModel
from lockgate.serving.routing.router import Route, Router
from lockgate.serving.routing.routes import constant_problem, difference, make_route

logger = logging.getLogger(__name__)


class Keeper(Protocol):
    """Keeps the desired routing over a restart; `RoutingFile` is one."""

    def load(self) -> dict[str, Desired]:
        """Return what was saved last, by model."""
        ...

    def save(self, models: Mapping[str, Desired]) -> None:
        """Keep this routing, whole or not at all."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A routing whose bundles are loaded, warm and proved, and which is not published.

    Attributes:
        route: What would be published; its lease starts then.
        base: What was in place when it was prepared; None where nothing was.
        changes: Whether it differs from that; a repeated request does not.
    """

    route: Route
    base: Desired | None
    changes: bool

    @property
    def desired(self) -> Desired:
        """What is to be kept on disk before it is published."""
        return self.route.desired


def bundle_opener(store: Path, public_key: ec.EllipticCurvePublicKey, fence: Fence) -> OpenModel:
    """Return what loads bundles of a store by digest, verified against a key; the fence ends their runs."""

    def open_model(model: str, digest: Digest) -> ServedModel:
        bundle = open_bundle(store, digest, public_key)
        if bundle.contract.model != model:
            raise IntegrityError(f"bundle {digest} is one of model {bundle.contract.model!r}, not of {model!r}")
        return load(bundle, fence)

    return open_model


class Control:
    """The routing of one process."""

    def __init__(  # noqa: PLR0913 - the parts it is composed of, each named
        self,
        router: Router,
        open_model: OpenModel,
        keeper: Keeper | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_published: Callable[[Route], None] | None = None,
        load_timeout_s: float = LOAD_TIMEOUT_S,
    ) -> None:
        """Take the parts; nothing is loaded yet.

        Args:
            router: Where routes are published.
            open_model: Loads bundles.
            keeper: Keeps what is put; None where another process does.
            clock: What leases are measured with, monotonic, in seconds.
            on_published: Told of every change that was put in place, not of renewed leases.
            load_timeout_s: A bundle that has not loaded and proved itself in this time is refused.
        """
        self._router = router
        self._loader = Loader(open_model, load_timeout_s)
        self._keeper = keeper
        self._clock = clock
        self._on_published = on_published
        self._changing = asyncio.Lock()

    async def restore(self, saved: Mapping[str, Desired] | None = None) -> None:
        """Load what was routed when the server last ran; what does not verify any more is routed and not ready.

        No lease survives a restart: the champion alone answers until the controller renews it.

        Args:
            saved: The routing by model; None: what the keeper has.

        Raises:
            IntegrityError: The state on disk cannot be read.
            ConfigError: It belongs to another environment.
        """
        if saved is None:
            saved = {} if self._keeper is None else self._keeper.load()
        loads = (self._loader.load(model, desired.bundles, {}, needed=()) for model, desired in saved.items())
        found = zip(saved.items(), await asyncio.gather(*loads), strict=True)
        routes = [make_route(*each, *bundles, clock=self._clock) for each, bundles in found]
        self._router.publish(*routes)
        for route in routes:
            logger.info("restored model %s: %s", route.model, _summary(route))
        gc.collect()
        gc.freeze()  # what is alive now lives on: collections need not walk it

    async def prepare(self, model: str, desired: Desired) -> Prepared:
        """Load, warm up and prove what a routing needs; publish nothing.

        Champion, challengers and shadows must load and prove their golden answers; a previous bundle that does not is
        reported in the route and never stands in the way of a rollback.

        Raises:
            RequestRefused: The routing breaks a rule; names the field.
            LedgerConflict: A higher sequence was accepted before, or this one with other content.
            UnknownBundle: There is no such bundle in the store.
            IntegrityError: A bundle is refused; says why.
        """
        problem = desired.problem()
        if problem is not None:
            raise refuse(Reason.MALFORMED, f"routing: {problem}")
        current = self._router.table.get(model)
        base = None if current is None else current.desired
        if current is not None and already_served(model, current.desired, desired):
            if not current.refused:
                return Prepared(route=current, base=base, changes=False)
            desired = current.desired  # the same again: try once more to load what is missing
        desired = desired.settled(base)
        warm = {} if current is None else current.loaded
        try:
            loaded, refused = await self._loader.load(model, desired.bundles, warm, needed=desired.needed)
        except (UnknownBundle, IntegrityError) as reason:
            logger.error("model %s: sequence %d refused: %s", model, desired.sequence, reason.message)  # noqa: TRY400 - said
            raise
        _check_together(desired, loaded)
        return Prepared(route=make_route(model, desired, loaded, refused, clock=self._clock), base=base, changes=True)

    def publish(self, prepared: Prepared, lease_until: float | None = None) -> Route:
        """Serve a prepared routing from the next request on; return what is served.

        Args:
            prepared: The routing.
            lease_until: When its lease ends, on the clock; None: it is new.

        Raises:
            LedgerConflict: Another change was published since it was prepared.
        """
        model = prepared.route.model
        if not self._stands(prepared):
            raise LedgerConflict(f"the routing of model {model!r} changed meanwhile; read it and decide again")
        current = self._router.table.get(model)
        route = current if current is not None and not prepared.changes else prepared.route
        route = route.renewed() if lease_until is None else route.leased_until(lease_until)
        self._router.publish(route)
        if prepared.changes:
            logger.info("model %s: %s", model, _summary(route))
            if self._on_published is not None:
                self._on_published(route)
        return route

    async def put(self, model: str, desired: Desired) -> Route:
        """Put a routing in place without dropping a request; return what is really served.

        Raises:
            RequestRefused: The routing breaks a rule; names the field.
            LedgerConflict: A higher sequence was accepted before, or this one with other content.
            UnknownBundle: There is no such bundle in the store.
            IntegrityError: A bundle is refused; says why.
            OSError: The routing could not be kept on disk; what was served before still is.
        """
        while True:
            prepared = await self.prepare(model, desired)
            async with self._changing:
                if not self._stands(prepared):
                    continue  # overtaken
                if prepared.changes and self._keeper is not None:
                    wanted = {name: route.desired for name, route in self._router.table.items()}
                    await asyncio.to_thread(self._keeper.save, wanted | {model: prepared.desired})
                return self.publish(prepared)

    def _stands(self, prepared: Prepared) -> bool:
        """Tell whether what is in place is what it was when a routing was prepared."""
        current = self._router.table.get(prepared.route.model)
        return (None if current is None else current.desired) is prepared.base

    async def renew(self, model: str, sequence: int) -> Route:
        """Renew the lease of a model's challengers and shadows; after a restart this brings them back.

        Raises:
            RequestRefused: There is no such model.
            LedgerConflict: Another sequence is served.
        """
        route = self._router.find(model)
        check_lease(model, sequence, route.desired.sequence)
        route = route.renewed()
        self._router.publish(route)
        return route


def _check_together(desired: Desired, loaded: Mapping[Digest, ServedModel]) -> None:
    """Refuse what callers would feel as another service.

    Raises:
        RequestRefused: A challenger takes or gives other columns than the champion, or the constant is no answer of it.
    """
    champion = loaded[desired.champion].contract
    for index, each in enumerate(desired.challengers):
        problem = difference(champion, loaded[each.bundle].contract)
        if problem is not None:
            raise refuse(Reason.MALFORMED, f"routing: challengers[{index}].bundle {each.bundle}: {problem}")
    problem = None if desired.constant is None else constant_problem(desired.constant, champion)
    if problem is not None:
        raise refuse(Reason.MALFORMED, f"routing: {problem}")


def _summary(route: Route) -> str:
    desired = route.desired
    return (
        f"sequence {desired.sequence}, champion {desired.champion}, previous {desired.previous or 'none'}, "
        f"challengers {desired.weights}, shadows {[each.name for each in desired.shadows]}, "
        f"loaded {list(route.loaded)}, refused {dict(route.refused)}"
    )
