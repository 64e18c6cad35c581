"""A replay's clients: what they ask production, day by day of a month, or beside a release; labels are told later."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockgate.config import Settings
from lockgate.core.ids import Json
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import NotRunning, TransientError

if TYPE_CHECKING:
    import pandas as pd

    from lockgate.adapters.traffic_generator import Asked, Rows, TrafficGenerator
    from lockgate.bootstrap import Services

MONTH_RPS = 400.0
"""While nothing else goes on: ours, a month of 2,000 requests in 5 s; the server answers ten times as many."""
QUIET_RPS = 20.0
"""While gates measure, so that they have requests to look at; as in the demo."""
ROLLOUT_RPS = 140.0
ENTITIES = 20_000
_NEVER_S = 1e9  # labels of this run are told by the replay, after the month
_ENDED_WITHIN_S = 30.0
_LOOK_S = 0.05
_LABELS_AT_ONCE = 2_000


def whom(services: Services, spec: ReleaseSpec) -> Asked:
    """Return whom clients ask: production, about what serves.

    Raises:
        NotRunning: Nothing serves.
    """
    from lockgate.adapters.traffic_generator import Asked

    champion = services.ledger.state(spec.name).champion
    if champion is None:
        raise NotRunning(f"nothing serves {spec.name} in this replay")
    return Asked(
        host=services.settings.host,
        port=services.settings.ports["production"],
        token=services.settings.admin_token_file.read_text().strip(),
        contract=services.bundles.get(champion).contract,
    )


def request_rows_of(spec: ReleaseSpec, frame: pd.DataFrame) -> Rows:
    """Return rows as clients ask about them."""
    from lockgate.adapters.sample_batches import request_keys, request_labels, request_rows
    from lockgate.adapters.traffic_generator import Rows

    return Rows(
        rows=request_rows(frame, spec.data.features),
        keys=request_keys(frame, spec),
        labels=request_labels(frame, spec),
    )


def tell_labels(settings: Settings, told: Sequence[tuple[str, Json]]) -> None:
    """Tell production what turned out to be true.

    Raises:
        TransientError: It did not take them.
    """
    import httpx

    head = {"authorization": f"Bearer {settings.admin_token_file.read_text().strip()}"}
    with httpx.Client(base_url=settings.url("production"), headers=head, timeout=30, trust_env=False) as client:
        for at in range(0, len(told), _LABELS_AT_ONCE):
            part = [{"prediction_id": name, "label": label} for name, label in told[at : at + _LABELS_AT_ONCE]]
            try:
                client.post("/labels", json={"labels": part}).raise_for_status()
            except httpx.HTTPError as broken:
                raise TransientError(f"production took no labels: {broken}") from broken


@dataclass
class Sent:
    """What became of requests.

    Attributes:
        asked: Sent.
        answered: Answered well.
        untold: Prediction id and label of every answer whose truth is known.
    """

    asked: int = 0
    answered: int = 0
    untold: list[tuple[str, Json]] = field(default_factory=list)

    def take(self, generator: TrafficGenerator) -> None:
        """Add what a run of the generator did."""
        self.asked += generator.total.due - generator.total.unsent
        self.answered += generator.total.answered
        self.untold += generator.untold


def ask_by_day(asked: Asked, days: Iterator[tuple[Callable[[], None], Rows]], seed: int) -> Sent:
    """Ask about a month's rows, a day after the other.

    Args:
        asked: Whom.
        days: Of each day, what moves the clock there, and the rows.
        seed: Of arrivals and clients.
    """
    sent = Sent()
    for number, (move, rows) in enumerate(days):
        move()
        sent.take(_run(asked, rows, seed + number, MONTH_RPS, len(rows.rows), threading.Event()))
    return sent


class Clients:
    """Clients who ask in the background, at one rate at a time.

    Attributes:
        sent: What became of their requests; whole once `end` returned.
    """

    def __init__(self, asked: Asked, rows: Rows, seed: int) -> None:
        """Take whom and about what; nobody asks yet."""
        self._asked, self._rows, self._seed = asked, rows, seed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.sent = Sent()

    def ask(self, rate_rps: float) -> None:
        """Ask at this rate from now on."""
        self.end()
        self._stop = threading.Event()
        self._seed += 1
        self._thread = threading.Thread(target=self._work, args=(rate_rps, self._seed, self._stop), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ask no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=_ENDED_WITHIN_S)
        self._thread = None

    def _work(self, rate_rps: float, seed: int, stop: threading.Event) -> None:
        self.sent.take(_run(self._asked, self._rows, seed, rate_rps, None, stop))


def _run(  # noqa: PLR0913, PLR0917 - whom, about what, how, and until when
    asked: Asked, rows: Rows, seed: int, rate_rps: float, most: int | None, stop: threading.Event
) -> TrafficGenerator:
    import uvloop

    from lockgate.adapters.traffic_generator import TrafficGenerator
    from lockgate.core.simulation import Simulation, requests, steady_arrivals

    simulation = Simulation(entities=ENTITIES, seed=seed, duration_s=math.inf, label_delay_s=_NEVER_S)
    generator = TrafficGenerator(asked, rows, simulation)
    due = requests(simulation, itertools.islice(steady_arrivals(rate_rps, seed), most), len(rows.rows))

    async def work() -> None:
        told = asyncio.Event()
        hearing = asyncio.create_task(_hear(stop, told))
        await generator.run(due, told, lambda _now_s, _counts: None)
        hearing.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
    return generator


async def _hear(stop: threading.Event, told: asyncio.Event) -> None:
    while not stop.is_set():  # noqa: ASYNC110 - another thread says so
        await asyncio.sleep(_LOOK_S)
    told.set()
