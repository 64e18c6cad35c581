"""Whether a server can be sent requests, and if not, why.

Live: the event loop turns, which whoever is answered knows. Ready: every routed model is loaded, every arm that has
traffic answered its last self-probe rightly, memory is below its cap, and the server is not about to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from lockgate.serving.routing.router import Route, Router
from lockgate.serving.watch.process_usage import resident_bytes
from lockgate.serving.watch.self_probe import SelfProbe


class Health:
    """The health of one process.

    Attributes:
        self_probe: Finds models that answer wrong.
        stopping: Whether the process is told to end; set by whoever ends it.
    """

    def __init__(
        self,
        router: Router,
        *,
        self_probe: SelfProbe | None = None,
        max_memory_bytes: int = 0,
        memory_bytes: Callable[[], int] = resident_bytes,
    ) -> None:
        """Make it.

        Args:
            router: Says what is served.
            self_probe: Finds models that answer wrong; None: one that was not asked yet.
            max_memory_bytes: With more than this the server is not ready; 0: any.
            memory_bytes: Returns what the process uses.
        """
        self.self_probe: Final = SelfProbe(router) if self_probe is None else self_probe
        self.stopping = False
        self._router = router
        self._max_memory_bytes, self._memory_bytes = max_memory_bytes, memory_bytes

    def problems(self) -> list[str]:
        """Return why the server is not ready, one sentence a reason; empty when it is."""
        return [*self._of_process(), *(each for route in self._router.table.values() for each in self.of_model(route))]

    def of_model(self, route: Route) -> Iterator[str]:
        """Yield why a model's requests are not, or not rightly, answered."""
        if not route.ready:
            yield route.problem
            return
        weights = route.weights()
        for arm in route.arms:
            wrong = self.self_probe.wrong.get(arm.model.digest)
            # where another arm stands in for one that lies, callers are answered rightly
            if wrong is not None and weights[arm.name] > 0 and not route.fallback(arm):
                yield f"model {route.model!r}, arm {arm.name!r}: bundle {arm.model.digest} answers wrong: {wrong}"

    def ready(self, route: Route) -> bool:
        """Tell whether a model's requests are answered, and rightly."""
        return next(self.of_model(route), None) is None

    def wrong_arms(self) -> dict[tuple[str, str], int]:
        """Return 1 for every arm whose last self-probe did not hold, 0 for the others, by model and arm."""
        wrong = self.self_probe.wrong
        found: dict[tuple[str, str], int] = {}
        for name, route in self._router.table.items():
            found |= {(name, arm.name): int(arm.model.digest in wrong) for arm in route.arms}
            found |= {(name, shadow.name): int(shadow.model.digest in wrong) for shadow in route.shadows}
        return found

    def _of_process(self) -> Iterator[str]:
        if self.stopping:
            yield "the server is stopping"
        used = self._memory_bytes() if self._max_memory_bytes else 0
        if used > self._max_memory_bytes:
            yield f"the process uses {used / 1e6:.0f} MB of memory, more than its {self._max_memory_bytes / 1e6:.0f} MB"
