"""Sends simulated traffic to a server's data port, open loop, and tells it later what turned out to be true.

    due ──> sent at its time, whatever became of those before ──> answer: arm, prediction id ──> label, after a delay

A request that is not sent within `LATE_S` of its time, or while `OPEN_AT_MOST` are open, is counted as unsent. Latency
counts from the time it was due. What is asked when is `core.simulation`.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from lockgate.adapters.open_loop import parse_head
from lockgate.core.contract import ColumnType, ModelContract
from lockgate.core.ids import Json
from lockgate.core.simulation import Due, Simulation, told
from lockgate.core.simulation_counts import Counts
from lockgate.core.simulation_faults import skewed
from lockgate.core.wire import Row, infer_call, model_path

OPEN_AT_MOST = 256
"""Ours: at a hundred requests a second two and a half seconds of an unanswering server; more only feeds its queue."""
LATE_S = 1.0
"""Ours: a client that is a second late is another client."""
TIMEOUT_S = 5.0
_LABELS_EVERY_S = 0.5
_LABELS_AT_ONCE = 2000
_BEHIND_S = 0.001  # nearer than this there is no point in sleeping
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_BROKEN = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whom requests go to.

    Attributes:
        host: The server's address.
        port: Its data port.
        token: Its admin token, which labels need.
        contract: Of the model.
    """

    host: str
    port: int
    token: str
    contract: ModelContract


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What requests ask about; one entry a row in each.

    Attributes:
        rows: The values.
        keys: What names the row, sent as `x-request-id`.
        labels: What happened; None: nobody knows.
    """

    rows: Sequence[Row]
    keys: Sequence[str]
    labels: Sequence[Json]


@dataclass
class _Connections:
    """Kept-alive connections; as many as requests are open at once."""

    host: str
    port: int
    idle: list[_Connection] = field(default_factory=list)

    async def ask(self, request: bytes) -> tuple[int, dict[str, str]]:
        """Send a request and return the answer's status and headers.

        Raises:
            OSError: The connection broke.
            EOFError: It was closed within an answer.
        """
        reader, writer = await self._taken()
        try:
            writer.write(request)
            status, headers = parse_head(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(int(headers.get("content-length", "0")))
        except BaseException:
            writer.transport.abort()
            raise
        self.idle.append((reader, writer))
        return status, dict(headers)

    async def _taken(self) -> _Connection:
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():  # a server that was restarted hung up
                return reader, writer
            writer.transport.abort()
        return await asyncio.open_connection(self.host, self.port)

    def close(self) -> None:
        for _, writer in self.idle:
            writer.transport.abort()
        self.idle.clear()


class TrafficGenerator:
    """One run of simulated traffic.

    Attributes:
        total: What became of everything so far.
        waiting: How many labels are not due yet.
        late_s: A request that is so much overdue is not sent.
    """

    def __init__(
        self,
        asked: Asked,
        rows: Rows,
        simulation: Simulation,
        *,
        timeout_s: float = TIMEOUT_S,
        open_at_most: int = OPEN_AT_MOST,
    ) -> None:
        """Take what to do; nothing is sent yet.

        Args:
            asked: Whom.
            rows: About what.
            simulation: By whom, and what goes wrong.
            timeout_s: A request that is not answered by then is lost.
            open_at_most: A request that is due while so many are open is not sent.
        """
        self.total = Counts()
        self._period = Counts()
        self.late_s = LATE_S
        self._timeout_s, self._open_at_most = timeout_s, open_at_most
        self._asked, self._rows, self._simulation = asked, rows, simulation
        self._connections = _Connections(asked.host, asked.port)
        self._others = {str(each): each for each in rows.labels if each is not None}
        self._labels: list[tuple[float, int, str, Json]] = []
        self._order = count()
        self._open: set[asyncio.Task[None]] = set()
        self._began = 0.0

    @property
    def waiting(self) -> int:
        """How many labels are not due yet."""
        return len(self._labels)

    @property
    def untold(self) -> list[tuple[str, Json]]:
        """Prediction ids and labels that were not due before the end."""
        return [(answer, label) for _, _, answer, label in sorted(self._labels, key=lambda each: each[:2])]

    async def run(
        self, due: Iterator[Due], stop: asyncio.Event, tell: Callable[[float, Counts], None], *, every_s: float = 5.0
    ) -> float:
        """Send until there is nothing more to send, or until told to stop; then wait for what is open.

        Args:
            due: The requests.
            stop: Set to end sooner.
            tell: Called every so often with the seconds since the start and what became of the requests since.
            every_s: How often.

        Returns:
            How long was sent, in seconds.
        """
        self._began = time.monotonic()
        sending = asyncio.create_task(self._send(due))
        over, stopping = asyncio.get_running_loop().create_future(), asyncio.create_task(stop.wait())
        labelling, reporting = asyncio.create_task(self._label(over)), asyncio.create_task(self._report(tell, every_s))
        await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
        took_s = self._now()
        sending.cancel()
        await asyncio.wait([sending, *self._open])
        stopping.cancel()
        reporting.cancel()
        over.set_result(None)  # not cancelled: labels that are on their way are told, or due still
        await asyncio.wait((stopping, reporting, labelling))
        self._fold()
        self._connections.close()
        for task in (sending, reporting, labelling):
            if not task.cancelled():
                task.result()  # a defect of this program is raised, not swallowed with its task
        return took_s

    def _now(self) -> float:
        return time.monotonic() - self._began

    async def _send(self, due: Iterator[Due]) -> None:
        for each in due:
            ahead_s = each.at_s - self._now()
            if ahead_s > _BEHIND_S:
                await asyncio.sleep(ahead_s)
            elif self._period.due % 64 == 0:
                await asyncio.sleep(0)  # behind or not, answers are read
            behind_s = max(self._now() - each.at_s, 0.0)
            self._period.due += 1
            self._period.broken += each.broken
            self._period.behind_ms = max(self._period.behind_ms, behind_s * 1000)
            if behind_s > self.late_s or len(self._open) >= self._open_at_most:
                self._period.unsent += 1
                continue
            task = asyncio.create_task(self._one(each))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        if self._simulation.duration_s < math.inf:  # labels may be due, and silence is part of what is simulated
            await asyncio.sleep(max(self._simulation.duration_s - self._now(), 0.0))

    async def _one(self, due: Due) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                status, headers = await self._connections.ask(self._request(due))
        except TimeoutError:
            self._period.lost[f"no answer in {self._timeout_s:g} s"] += 1
            return
        except _BROKEN as broken:
            self._period.lost[type(broken).__name__] += 1
            return
        self._period.statuses[status] += 1
        if status == 200:
            self._took_answer(due, headers)

    def _took_answer(self, due: Due, headers: dict[str, str]) -> None:
        now_s = self._now()
        self._period.took((now_s - due.at_s) * 1000)
        self._period.arms[headers.get("x-lockgate-arm", "")] += 1
        self._period.fallbacks += "x-lockgate-fallback" in headers
        answer = headers.get("x-lockgate-prediction-id")
        truth = self._rows.labels[due.row]
        label = told(self._simulation, answered_s=now_s, number=due.number, truth=truth, others=self._others)
        if answer is not None and label is not None:
            heapq.heappush(self._labels, (label.at_s, next(self._order), answer, label.label))

    def _request(self, due: Due) -> bytes:
        asked = self._asked
        row = skewed(self._rows.rows[due.row], self._simulation.faults, due.at_s)
        if due.broken:
            row = {**row, **_nonsense(asked.contract)}
        body = infer_call(asked.contract, [row]).body or b""
        extra = f"x-lockgate-entity: {due.entity}\r\nx-request-id: {self._rows.keys[due.row]}\r\n"
        return _post(asked, model_path(asked.contract.model, "infer"), body, extra)

    # -- labels and reports ------------------------------------------------------------------------------------------

    async def _label(self, over: asyncio.Future[None]) -> None:
        while not over.done():
            await asyncio.wait((over,), timeout=_LABELS_EVERY_S)
            await self._tell_labels()

    async def _tell_labels(self) -> None:
        """Tell the server every label that is due; what it could not take for want of an answer is told again."""
        while self._labels and self._labels[0][0] <= self._now():
            part: list[tuple[float, int, str, Json]] = []
            while self._labels and self._labels[0][0] <= self._now() and len(part) < _LABELS_AT_ONCE:
                part.append(heapq.heappop(self._labels))
            body = json.dumps({"labels": [{"prediction_id": each[2], "label": each[3]} for each in part]}).encode()
            request = _post(self._asked, "/labels", body, f"authorization: Bearer {self._asked.token}\r\n")
            status = 503
            with suppress(TimeoutError, *_BROKEN):
                async with asyncio.timeout(self._timeout_s):
                    status, _ = await self._connections.ask(request)
            if status >= 500:
                for each in part:
                    heapq.heappush(self._labels, each)
                return
            self._period.labels += len(part) if status == 200 else 0
            self._period.labels_refused += len(part) if status != 200 else 0

    async def _report(self, tell: Callable[[float, Counts], None], every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s - self._now() % every_s)
            tell(self._now(), self._fold())

    def _fold(self) -> Counts:
        done, self._period = self._period, Counts()
        self.total.add(done)
        return done


def _nonsense(contract: ModelContract) -> dict[str, Json]:
    """Return a value that no server takes for this model: words where a number is asked for, or the reverse."""
    first = contract.inputs[0]
    return {first.name: "broken" if first.type is ColumnType.NUMBER else [1]}


def _post(asked: Asked, path: str, body: bytes, extra: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {asked.host}:{asked.port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode("latin-1", "replace") + body
