"""What one process counts: plain numbers, changed from one thread, so that a request pays next to nothing.

    answered, uncounted, shadowed, fell_back, refused, failed     on the way of a request
    watch                                                      what others count, read when it is asked for
    snapshot -> bytes                                          all of it at one moment

`metric_snapshot` adds up the snapshots of several processes, `metric_files` brings those of one server together,
`metric_page` makes the page of it. Labels are names of routed models, arms and columns, never anything a caller chose,
so that their number is bounded.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

from lockgate.serving.model.column_values import EXTRA_COLUMN, Flag
from lockgate.serving.refusals import Reason
from lockgate.serving.watch.metric_snapshot import ArmSnapshot, Family, Kind, Labelled, Snapshot, encode
from lockgate.serving.watch.process_usage import usage
from lockgate.serving.watch.single_flight import SingleFlight
from lockgate.serving.watch.sketch import BINS, LATENCY_S, ScoreSketch

WINDOW_S: Final = 60.0
MAX_ARMS: Final = 256  # ours: a server sees a few; further ones are counted as one, so that a page stays a page
OTHER: Final = "other"
KEPT_FAILURES: Final = 20
_FOLD_ANSWERS: Final = 1024  # whose scores wait to be counted together: some 50 ns each instead of 5 us
_FOLD_VALUES: Final = 8192  # of few large answers; about 0.1 ms
_EDGES: Final = LATENCY_S.edges
_Key = tuple[str, str]


class ArmCounts:
    """What one arm of one model answered."""

    __slots__ = ("_marks", "_output", "_waiting", "_waiting_values", "latency", "rows", "scores", "seconds")

    def __init__(self, began: float) -> None:
        self.latency = LATENCY_S.empty()
        self.seconds = 0.0
        self.rows = 0
        self.scores: ScoreSketch | None = None
        self._output = ""
        self._waiting: deque[Any] = deque()
        self._waiting_values = 0
        self._marks: deque[tuple[float, int]] = deque([(began, 0)])

    def take(self, rows: int, seconds: float, outputs: Mapping[str, Any] | None) -> None:
        """Count one answer; its scores wait until there are enough of them to be counted in one go."""
        self.latency[bisect_left(_EDGES, seconds)] += 1
        self.seconds += seconds
        self.rows += rows
        if outputs is not None:
            if self.scores is None:
                self._output = next(iter(outputs.keys() & BINS.keys()))
                self.scores = ScoreSketch(self._output)
            scores = outputs[self._output]
            self._waiting.append(scores)
            self._waiting_values += scores.size
            if self._waiting_values >= _FOLD_VALUES or len(self._waiting) >= _FOLD_ANSWERS:
                self.fold()

    def fold(self) -> None:
        """Count the scores that wait."""
        self._waiting_values = 0
        # taken one by one: another thread may append meanwhile, and what it appends is not lost
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if taken and self.scores is not None:
            self.scores.add(taken)

    def recent(self, now: float) -> int:
        """Return how many answers came within the window that ends now, to a second."""
        count, marks = sum(self.latency), self._marks
        if now - marks[-1][0] >= 1.0:
            marks.append((now, count))
        while len(marks) > 1 and now - marks[1][0] >= WINDOW_S:
            marks.popleft()
        return count - marks[0][1]

    def snapshot(self, key: _Key, kind: Kind, now: float) -> ArmSnapshot:
        """Return everything counted until now."""
        self.fold()
        sketch = self.scores
        return ArmSnapshot(
            model=key[0],
            arm=key[1],
            kind=kind,
            rows=self.rows,
            seconds=self.seconds,
            latency=list(self.latency),
            recent=self.recent(now),
            output=self._output,
            scores=[] if sketch is None else sketch.counts,
            totals=[] if sketch is None else sketch.totals,
        )


class Metrics:
    """Everything that one process counts.

    Attributes:
        responses: HTTP answers of the data port, by status.
        switches: Routing changes put in place, by model.
        failures: Requests that failed inside the server.
        recent_failures: The last of them: seconds since the epoch, and what failed.
        share: Takes this process's snapshot, so that the other processes of the server can see it, and returns theirs,
            those of ended ones among them. May wait for a disk.
        page: Makes the page at `/metrics`.
        status: Makes the page at `/`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at nought.

        Args:
            clock: What the window of the shares that were seen is measured with, monotonic, in seconds.
        """
        self._clock = clock
        self.responses: Counter[int] = Counter()
        self.switches: Counter[str] = Counter()
        self.failures = 0
        self.recent_failures: deque[tuple[float, str]] = deque(maxlen=KEPT_FAILURES)
        self.share: Callable[[bytes], list[Snapshot]] = _alone
        self.page: Final = SingleFlight[bytes]()
        self.status: Final = SingleFlight[bytes]()
        self._started = time.time()
        self._taken = 0
        self._arms: dict[Kind, dict[_Key, ArmCounts]] = {"live": {}, "forced": {}, "probe": {}, "shadow": {}}
        self._live = self._arms["live"]
        self._flagged: Counter[tuple[str, str, str]] = Counter()
        self._refused: Counter[Reason] = Counter()
        self._fallbacks: Counter[tuple[str, str, str]] = Counter()
        self._watched: dict[str, tuple[Family, Callable[[], float | Mapping[Any, float]]]] = {}
        self._parts: dict[str, Callable[[], str | None]] = {}

    # -- on the way of a request ---------------------------------------------------------------------------------------

    def answered(  # noqa: PLR0913, PLR0917 - one flat call: an object a request would cost more than the counting
        self,
        model: str,
        arm: str,
        rows: int,
        flags: tuple[Flag, ...],
        seconds: float,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        """Count one answered request that the routing assigned to its arm.

        Args:
            model: Name of the model.
            arm: Name of the arm that really answered.
            rows: How many rows.
            flags: What lay outside the trained domain.
            seconds: From the request's headers to its answer.
            outputs: The answer, for the distribution of its scores: `probability` or `value` float32 [rows], or
                `probabilities` float32 [rows, classes]; None: left out of it.
        """
        try:
            counts = self._live[model, arm]
        except KeyError:
            counts = self._new("live", model, arm)
        counts.take(rows, seconds, outputs)
        for flag in flags:
            # a further column's name is the caller's choice, and must not become a label
            column = OTHER if flag.flag == EXTRA_COLUMN else flag.column
            self._flagged[model, column, flag.flag] += len(flag.rows)

    def uncounted(
        self, kind: Literal["forced", "probe"], model: str, arm: str, rows: int, seconds: float = 0.0
    ) -> None:
        """Count one answered request whose caller chose the arm, or only probed it; it enters no other statistic."""
        self._of(kind, model, arm).take(rows, seconds, None)

    def shadowed(
        self, model: str, arm: str, rows: int, seconds: float, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Count one answer of a shadow arm, which no caller saw; may be called from the shadow's own thread."""
        self._of("shadow", model, arm).take(rows, seconds, outputs)

    def fell_back(self, model: str, arm: str, why: str) -> None:
        """Count a request that the chosen arm had no answer to.

        Args:
            model: Name of the model.
            arm: The arm that was chosen.
            why: One of few words: `error`, `timeout`.
        """
        self._fallbacks[model, arm, why] += 1

    def refused(self, reason: Reason) -> None:
        """Count a request that was refused."""
        self._refused[reason] += 1

    def failed(self, what: str) -> None:
        """Count a request that failed inside the server.

        Args:
            what: Where, and the kind of error; shown on the status page, so without anything a caller sent.
        """
        self.failures += 1
        self.recent_failures.append((time.time(), what))

    def _of(self, kind: Kind, model: str, arm: str) -> ArmCounts:
        return self._arms[kind].get((model, arm)) or self._new(kind, model, arm)

    def _new(self, kind: Kind, model: str, arm: str) -> ArmCounts:
        arms = self._arms[kind]
        if len(arms) >= MAX_ARMS:
            arm = OTHER
        return arms.setdefault((model, arm), ArmCounts(self._clock()))

    # -- read when it is asked for -------------------------------------------------------------------------------------

    def watch(
        self,
        name: str,
        what: str,
        read: Callable[[], float | Mapping[Any, float]],
        labels: tuple[str, ...] = (),
    ) -> None:
        """Show a number that another part of this process keeps, in place of what was shown under its name.

        Args:
            name: Of the metric: `lockgate_..._total` for a counter, else a gauge; with a base unit, such as `_rows`.
                The numbers of several workers are added up.
            what: One sentence.
            read: Returns the number, or with labels the numbers by their values, a string or a tuple of several;
                called from the event loop, twice a second, so it must not wait.
            labels: Names of the labels; what they tell apart must be bounded.
        """
        kind: Literal["counter", "gauge"] = "counter" if name.endswith("_total") else "gauge"
        self._watched[name] = (Family(name, kind, what, labels), read)

    def watch_part(self, part: str, problem: Callable[[], str | None]) -> None:
        """Show whether a part of this process works that requests do not wait for.

        Args:
            part: One word.
            problem: Returns why it does not, for the status page; None while it does. Called as `read` of `watch` is.
        """
        self._parts[part] = problem

    def snapshot(self) -> bytes:
        """Return everything counted until now, for `merged`."""
        now = self._clock()
        self._taken += 1
        problems = {part: problem() for part, problem in self._parts.items()}
        return encode(
            Snapshot(
                number=self._taken,
                arms=[
                    counts.snapshot(key, kind, now)
                    for kind, arms in self._arms.items()
                    for key, counts in list(arms.items())
                ],
                families=[*self._families(), *usage(self._started), *self._read(), *_broken(problems)],
                failures=list(self.recent_failures),
                problems=[problem for problem in problems.values() if problem is not None],
            )
        )

    def _families(self) -> Iterable[Family]:
        def counter(name: str, what: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Family:
            return Family(f"lockgate_{name}_total", "counter", what, labels, dict(values))

        refused = {(reason.value,): count for reason, count in self._refused.items()}
        # from the start: a failure that begins its own series is no increase to Prometheus, and would raise no alarm
        responses = {("500",): 0, ("503",): 0} | {(str(status),): count for status, count in self.responses.items()}
        switches = {(model,): count for model, count in self.switches.items()}
        columns, fell = ("model", "column", "flag"), ("model", "arm", "why")
        yield counter("flagged_rows", "Rows answered outside the trained domain.", columns, self._flagged)
        yield counter("refused", "Requests refused, by reason.", ("reason",), refused)
        yield counter("responses", "HTTP answers of the data port, by status.", ("status",), responses)
        yield counter("switches", "Routing changes put in place.", ("model",), switches)
        yield counter("fallbacks", "Requests that the chosen arm had no answer to.", fell, self._fallbacks)
        yield counter("failures", "Requests that failed inside the server.", (), {(): self.failures})

    def _read(self) -> Iterable[Family]:
        for family, read in self._watched.values():
            value = read()
            numbers = dict(value).items() if isinstance(value, Mapping) else (((), value),)
            values: Labelled = {key if isinstance(key, tuple) else (key,): each for key, each in numbers}
            yield Family(family.name, family.kind, family.help, family.labels, values)


def _broken(problems: Mapping[str, str | None]) -> Iterable[Family]:
    what = "In how many processes a part does not work that requests do not wait for."
    broken: Labelled = {(part,): float(problem is not None) for part, problem in problems.items()}
    if broken:
        yield Family("lockgate_part_broken_processes", "gauge", what, ("part",), broken)


def _alone(snapshot: bytes) -> list[Snapshot]:
    del snapshot
    return []
