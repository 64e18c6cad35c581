"""Keeps the workers of a server going: starts them, watches them, and starts again what has ended.

A worker that ends is started again: at once, or after a while where it keeps ending. Until it has joined, the others
accept from its socket, so that nobody waits in a queue that no one reads. One that says nothing for `hang_s` is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Final

from lockgate.errors import LockgateError
from lockgate.serving.fleet import messages
from lockgate.serving.fleet.member import Member, WorkerGone
from lockgate.serving.fleet.process import End
from lockgate.serving.fleet.routing import ANSWER_S, FleetRouting
from lockgate.serving.options import ServerOptions

logger = logging.getLogger(__name__)

START_S: Final = 120.0  # ours: every routed bundle is loaded in it, one after the other
LOOK_S: Final = 0.5
SUSPECT_S: Final = 2.5  # two times it should have said that it is alive: others accept in its place, too
STEADY_S: Final = 30.0  # ours: a worker that lived so long did not end because of how it starts
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 15.0


class Fleet:
    """The workers of one server.

    Attributes:
        restarts: How often each worker was started again, by its number.
    """

    def __init__(self, options: ServerOptions, sockets: Sequence[socket.socket], end: End) -> None:
        """Take what workers need; none is started yet.

        Args:
            options: The server's.
            sockets: The data port's: one for each worker, or one for all of them.
            end: Asked for when workers cannot be kept going any more.
        """
        self._options, self._sockets, self._end = options, sockets, end
        self._numbers = range(1, options.workers + 1)
        self._members: dict[int, Member] = {}
        self._serving: dict[Member, tuple[int, ...]] = {}
        self._suspects: set[Member] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()
        self.restarts: Final = {str(number): 0 for number in self._numbers}

    def joined(self) -> list[Member]:
        """Return the workers that answer callers, in the order of their numbers."""
        return [member for _, member in sorted(self._members.items()) if member.joined]

    async def start(self, routing: FleetRouting) -> None:
        """Start all workers and wait until each answers callers; keep them going from then on.

        Raises:
            LockgateError: One cannot start; the reason it gave.
        """
        ready = asyncio.ensure_future(self._ready.wait())
        keeping = [self._run(self._keep(number, routing)) for number in self._numbers]
        self._run(self._watch())
        done, _ = await asyncio.wait((*keeping, ready), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        for each in done:
            each.result()

    def reload(self) -> None:
        """Let every worker read the certificate again."""
        for member in self._members.values():
            with contextlib.suppress(WorkerGone):  # one that is started again reads it anyway
                member.tell(messages.Reload())

    async def stop(self, timeout_s: float) -> None:
        """Let every worker answer what it took, and end; what does not end in this time is killed."""
        members = list(self._members.values())
        for member in members:
            with contextlib.suppress(WorkerGone):
                member.tell(messages.Stop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for each in members:
                    await each.gone.wait()
        await self.kill("it did not end in time")

    async def kill(self, why: str) -> None:
        """End at once every worker that is left, and what keeps them going."""
        tasks, self._tasks = self._tasks, set()
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for member in self._members.values():
            member.kill(why)
            await member.gone.wait()

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do some work beside everything else; where it breaks, the server must end rather than go on half."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self._ready.is_set():
            logger.critical("workers cannot be kept going any more: ending", exc_info=task.exception())
            self._end.exit_code = 1
            self._end.ask()

    async def _keep(self, number: int, routing: FleetRouting) -> None:
        """Run a worker again and again."""
        wait_s = 0.0
        while not self._end.asked.is_set():
            started = time.monotonic()
            ended = await self._live(number, routing)
            lived = time.monotonic() - started
            wait_s = 0.0 if lived > STEADY_S else min(LONGEST_WAIT_S, max(FIRST_WAIT_S, 2 * wait_s))
            if self._end.asked.is_set():
                return
            self.restarts[str(number)] += 1
            logger.error(
                "worker %d %s after %.1f s; it is started again in %.1f s, the others go on",
                number, ended, lived, wait_s,
            )  # fmt: skip
            await asyncio.sleep(wait_s)

    async def _live(self, number: int, routing: FleetRouting) -> str:
        """Run a worker to its end and return what is known of that."""
        try:
            member = self._members[number] = Member(replace(self._options, worker=number), self._sockets)
        except OSError as broken:
            return f"could not be started ({broken})"
        member.on_leaving(lambda: self._left(member))
        try:
            await self._bring_in(member, routing)
        except LockgateError as error:
            if not self._ready.is_set() and not isinstance(error, WorkerGone):
                raise
            member.kill(error.message)
        await member.gone.wait()
        self._left(member)
        return member.ended

    async def _bring_in(self, member: Member, routing: FleetRouting) -> None:
        """Wait until a worker has loaded what is routed, and let it answer callers.

        Raises:
            LockgateError: It does not serve what it should.
        """
        try:
            begun = await asyncio.wait_for(asyncio.shield(member.begun), START_S)
        except TimeoutError as late:
            raise WorkerGone(f"worker {member.number} has not loaded what is routed in {START_S:g} s") from late
        await routing.join(member, begun)
        await self._spread()
        if len(self.joined()) == len(self._numbers):
            self._ready.set()
        logger.info("worker %d serves, process %d", member.number, member.pid)

    def _left(self, member: Member) -> None:
        """Let the others accept from the socket of a worker that takes no more callers."""
        member.joined = False
        self._serving.pop(member, None)
        self._run(self._spread())

    async def _spread(self) -> None:
        """Tell each worker which sockets it accepts from: its own, and its part of those that nobody answers at."""
        members = [each for each in self.joined() if each not in self._suspects]
        last = len(self._sockets) - 1
        wanted = {member: [min(member.number - 1, last)] for member in members}
        left = sorted({*range(len(self._sockets))} - {own for (own,) in wanted.values()})
        for index, socket_number in enumerate(left if members else ()):
            wanted[members[index % len(members)]].append(socket_number)
        changed = {member: tuple(own) for member, own in wanted.items() if self._serving.get(member) != tuple(own)}
        self._serving = {**self._serving, **changed}
        asked = [member.ask(messages.Serve(sockets=own), ANSWER_S) for member, own in changed.items()]
        for member, answer in zip(changed, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(answer, Exception):
                member.kill(f"it does not accept from its sockets: {answer}")

    async def _watch(self) -> None:
        """Kill workers that say nothing."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            stood_still, last = now - last > 4 * LOOK_S, now
            for member in list(self._members.values()):
                if stood_still:  # this process itself did: what the workers said meanwhile is still to be read
                    member.heard = now
                elif now - member.heard > (self._options.hang_s if member.begun.done() else START_S):
                    await member.kill_hanging(f"it has not said for {now - member.heard:.0f} s that it is alive")
            suspects = {each for each in self.joined() if time.monotonic() - each.heard > SUSPECT_S}
            if suspects != self._suspects:
                self._suspects = suspects
                self._run(self._spread())
