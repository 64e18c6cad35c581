"""The parent's view of one worker process: starts it, talks to it, and knows when it is gone.

    starting ──Begun──> begun ──joined──> joined ──end of its channel, a kill──> gone

A process whose channel is at its end is gone for good, whatever is left of it: it is killed and reaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from lockgate.errors import LockgateError, TransientError
from lockgate.serving.fleet import messages
from lockgate.serving.fleet.channel import Channel, ChannelBroken
from lockgate.serving.options import ServerOptions

logger = logging.getLogger(__name__)

REAP_S: Final = 2.0
TO_SAY_S: Final = 0.3


class WorkerGone(TransientError):
    """The worker ended, was killed, or did not answer in time."""


class Member:
    """One worker process.

    Attributes:
        number: Which worker it is, from 1.
        begun: Done once it has loaded what is routed; fails with `WorkerGone`, or with the reason it gave.
        gone: Set once it has ended.
        joined: Whether it answers callers.
        heard: When it last said anything, monotonic, in seconds.
        ended: What is known of its end.
    """

    def __init__(self, options: ServerOptions, sockets: Iterable[socket.socket]) -> None:
        """Start it.

        Args:
            options: The server's, for this worker.
            sockets: All listening sockets of the data port.
        """
        self.number: Final = options.worker
        self._options = options
        self.joined = False
        self.heard = time.monotonic()
        self.gone: Final = asyncio.Event()
        self.ended = ""
        self.begun: Final[asyncio.Future[messages.Begun]] = asyncio.get_running_loop().create_future()
        self.begun.add_done_callback(_retrieved)
        self._on_leaving: Callable[[], None] = lambda: None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._channel: Channel[messages.ToParent] | None = None
        listeners = [each.fileno() for each in sockets]
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: nothing that lies in the folder the server was started in is taken for a module;
                # the number is for whoever lists processes, the worker learns it from its first message
                [sys.executable, "-P", "-m", "lockgate.serving.fleet.worker", str(theirs.fileno()), str(self.number)],
                pass_fds=(theirs.fileno(), *listeners),
                stdin=subprocess.DEVNULL,
            )
        begin = messages.Begin(options=messages.options_to_json(options), sockets=tuple(listeners))
        self._listening = asyncio.ensure_future(self._listen(ours, begin))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def on_leaving(self, told: Callable[[], None]) -> None:
        """Have `told` called when it says that it ends by itself."""
        self._on_leaving = told

    async def ask(self, message: messages.Message, timeout_s: float) -> msgspec.Raw:
        """Send a request and return the answer.

        Raises:
            WorkerGone: It has ended, or did not answer in time.
            LockgateError: It refused; the very error it raised.
        """
        number = next(self._numbers)
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self.tell(msgspec.structs.replace(message, number=number))
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError as late:
            raise WorkerGone(
                f"worker {self.number} did not answer {type(message).__name__} in {timeout_s:g} s"
            ) from late
        finally:
            del self._asked[number]

    def tell(self, message: messages.Message) -> None:
        """Send a message that needs no answer.

        Raises:
            WorkerGone: It has ended, or does not read any more.
        """
        if self._channel is None or self.gone.is_set():
            raise WorkerGone(f"worker {self.number} is not running")
        try:
            self._channel.send(message)
        except ChannelBroken as broken:
            raise WorkerGone(f"worker {self.number}: {broken}") from broken

    def kill(self, why: str) -> None:
        """End it at once."""
        if not self.gone.is_set() and self._process.poll() is None:
            logger.error("worker %d is killed: %s", self.number, why)
            self._process.kill()

    async def kill_hanging(self, why: str) -> None:
        """End it at once, after it has said where it hangs, if it still can."""
        if not self.gone.is_set() and self._process.poll() is None:
            self._process.send_signal(messages.SAY_WHERE)
            await asyncio.sleep(TO_SAY_S)
            self.kill(why)

    async def _listen(self, ours: socket.socket, begin: messages.Begin) -> None:
        try:
            self._channel = await Channel.open(ours, messages.ToParent)
            self._channel.send(begin)
            while (message := await self._channel.receive()) is not None:
                self.heard = time.monotonic()
                self._take(message)
        except ChannelBroken as broken:
            logger.error("worker %d: %s", self.number, broken)  # noqa: TRY400 - the message says it all
        finally:
            if self._channel is not None:
                self._channel.close()
            await self._reap()

    def _take(self, message: messages.ToParent) -> None:
        match message:
            case messages.Begun():
                if not self.begun.done():
                    self.begun.set_result(message)
            case messages.Done():
                self._settle(message.number, message.result)
            case messages.Failed(number=0):
                if not self.begun.done():
                    self.begun.set_exception(messages.error_of(message, self.number))
            case messages.Failed():
                self._settle(message.number, messages.error_of(message, self.number))
            case messages.Leaving():
                self._on_leaving()
            case messages.Alive():
                pass

    def _settle(self, number: int, answer: msgspec.Raw | LockgateError) -> None:
        asked = self._asked.get(number)
        if asked is None or asked.done():
            return  # it came too late
        if isinstance(answer, LockgateError):
            asked.set_exception(answer)
        else:
            asked.set_result(answer)

    async def _reap(self) -> None:
        code = await asyncio.to_thread(self._wait)
        self.ended = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        trace = await asyncio.to_thread(messages.read_trace, self._options)
        if trace:
            logger.error("worker %d hung; where is in the trace", self.number, extra={"trace": trace})
        self.joined = False
        self.gone.set()
        gone = WorkerGone(f"worker {self.number} {self.ended}")
        waiting: tuple[asyncio.Future[Any], ...] = (self.begun, *self._asked.values())
        for each in waiting:
            if not each.done():
                each.set_exception(gone)

    def _wait(self) -> int:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(REAP_S)
        self._process.kill()
        return self._process.wait()


def _retrieved(future: asyncio.Future[messages.Begun]) -> None:
    """Look at a future's error, so that one nobody waited for is not complained about."""
    if not future.cancelled():
        future.exception()
