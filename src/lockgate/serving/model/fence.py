"""Keeps a model's failure from being the server's: runs have a limit, and a model that keeps failing is not asked.

A run happens on the event loop, which is what makes a small one cheap, so a run that hangs would hang the server. A
watching thread ends it: ONNX Runtime looks at its terminate flag between any two nodes of a graph, in loops too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from lockgate.errors import LockgateError

logger = logging.getLogger(__name__)

RUN_LIMIT_S: Final = 2.0
WATCH_INTERVAL_S: Final = 0.05  # ours: at least; waking the watching thread costs 0.17 ms of a core
WATCHES_PER_LIMIT: Final = 8  # so that a run is ended at most an eighth later than it should be
FAILURES_AT_MOST: Final = 3  # ours: in a row; a single one may be the request's doing
COOL_OFF_S: Final = 10.0
CLOSE_S: Final = 2.0  # ours: a run ends between two nodes, and a node that takes longer is not waited for
_FATAL: Final = 4


class ModelFailed(LockgateError):
    """A model has no answer: its graph failed, took too long, or it is not asked for now."""


class RunTimedOut(ModelFailed):
    """A run was ended because it took too long."""


class Fence:
    """Ends the runs of one process that take too long; any thread may run."""

    def __init__(self, limit_s: float = RUN_LIMIT_S) -> None:
        """Say how long a run may take, in seconds; the watching thread starts with the first one."""
        self.limit_s: Final = limit_s
        self._running: dict[int, tuple[float, Any]] = {}
        self._idle: dict[int, Any] = {}
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._closed = False
        self._least_s = limit_s  # of the limits that runs had

    def run(
        self,
        session: Any,  # noqa: ANN401 - ORT publishes no types
        outputs: Sequence[str],
        feeds: Mapping[str, Any],
        limit_s: float | None = None,
    ) -> list[Any]:
        """Run a session, within a limit in seconds; None: the fence's own.

        Raises:
            RunTimedOut: It was ended.
            ModelFailed: It failed.
        """
        if self._thread is None:
            self._start()
        thread = threading.get_ident()
        options = self._idle.pop(thread, None) or _options()
        limit_s = limit_s or self.limit_s
        if limit_s < self._least_s:
            self._least_s = limit_s
            self._wake.set()
        self._running[thread] = (time.monotonic() + limit_s, options)
        try:
            found: list[Any] = session.run(outputs, feeds, options)
        except Exception as broken:  # ORT raises classes of its own, without a common base
            if options.terminate:
                raise RunTimedOut(f"the model did not answer within {limit_s:g} s") from broken
            raise ModelFailed(f"the model's graph failed: {broken}") from broken
        finally:
            del self._running[thread]
        if not options.terminate:
            self._idle[thread] = options
        return found

    def close(self) -> None:
        """End the watching, and the runs that are still going.

        A thread that comes back from ONNX Runtime after the interpreter has ended aborts the process.
        """
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        end = time.monotonic() + CLOSE_S
        while (running := tuple(self._running.values())) and time.monotonic() < end:
            for _, options in running:
                options.terminate = True
            time.sleep(WATCH_INTERVAL_S / 10)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="fence", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._closed:
            self._wake.wait(max(WATCH_INTERVAL_S, self._least_s / WATCHES_PER_LIMIT))
            self._wake.clear()
            now = time.monotonic()
            for deadline, options in tuple(self._running.values()):
                if now > deadline and not options.terminate:
                    options.terminate = True
                    logger.error("a model's run took too long and is ended")


def _options() -> Any:  # noqa: ANN401 - ORT publishes no types
    import onnxruntime as ort  # type: ignore[import-untyped]  # no stubs published

    options = ort.RunOptions()
    # its own words on a failed run would go to stderr beside our lines of JSON; the exception says the same
    options.log_severity_level = _FATAL
    return options


DEFAULT: Final = Fence()
"""The fence of models that no server loaded; its thread, too, starts with the first run."""


class Breaker:
    """Tells whether a model may be asked: after several failures in a row it rests, then it is tried again.

    The circuit breaker of M. Nygard, Release It! (2007).

    Attributes:
        resting_until: When it may be asked again, on the clock; 0 while it answers.
        timed_out: Whether its last failure was that it took too long.
    """

    __slots__ = ("_clock", "_failures", "resting_until", "timed_out")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a model that was never asked."""
        self._clock = clock
        self._failures = 0
        self.resting_until = 0.0
        self.timed_out = False

    @property
    def open(self) -> bool:
        """Whether the model rests."""
        return self.resting_until > 0.0 and self._clock() < self.resting_until

    def answered(self) -> None:
        """Note an answer."""
        if self._failures:
            self._failures, self.resting_until = 0, 0.0

    def failed(self, *, timed_out: bool = False) -> None:
        """Note a failure; a run that took too long is enough to rest, because nobody else was answered meanwhile."""
        self._failures += 1
        self.timed_out = timed_out
        if timed_out or self._failures >= FAILURES_AT_MOST:
            self.rest(COOL_OFF_S)

    def rest(self, seconds: float) -> None:
        """Let the model rest, whatever it did, until then or until it has answered a probe."""
        self._failures = max(self._failures, FAILURES_AT_MOST)
        self.resting_until = self._clock() + seconds
