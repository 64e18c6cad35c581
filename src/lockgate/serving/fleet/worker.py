"""A worker: answers on the data port, does what its parent says, and ends soon after its parent.

    python -m lockgate.serving.fleet.worker DESCRIPTOR NUMBER    the channel's end; started by `fleet` alone

    loading ──Begun──> waiting ──Serve──> serving ──Stop | SIGTERM | end of channel | too much memory──> ending

It owns neither routing nor state folder: what it serves it reads from the routing on disk when it begins, and from its
parent afterwards. Leases end by themselves, so that a parent's death leaves the champion alone even before the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, TextIO

import msgspec

from lockgate.errors import LedgerConflict, LockgateError
from lockgate.serving.fleet import messages
from lockgate.serving.fleet.channel import Channel, ChannelBroken
from lockgate.serving.fleet.process import End, data_port, end_ports, guard_memory, run_loop, tls_files
from lockgate.serving.fleet.process_log import log_to_stderr
from lockgate.serving.http.app import data_app
from lockgate.serving.net.port import Port
from lockgate.serving.options import ServerOptions
from lockgate.serving.routing.account import account
from lockgate.serving.routing.control import Prepared
from lockgate.serving.routing.desired import Desired, check_lease
from lockgate.serving.routing.router import Route
from lockgate.serving.routing.state import decode_desired, encode_desired, read_routing
from lockgate.serving.service import Service
from lockgate.serving.watch.memory_bound import check_bound
from lockgate.serving.watch.process_usage import resident_bytes
from lockgate.serving.watch.watching import watching

if TYPE_CHECKING:
    from lockgate.serving.net.tls import TlsFiles

logger = logging.getLogger(__name__)

LAST_RESORT_S: Final = 5.0  # beyond hang_s: by then a parent that lives has killed it


class Worker:
    """What a worker can be asked for."""

    def __init__(self, service: Service, port: Port, sockets: dict[int, socket.socket], tls: TlsFiles | None) -> None:
        """Take the parts.

        Args:
            service: Answers.
            port: Listens on whichever of the sockets it is told.
            sockets: All of the data port's, by number.
            tls: The certificate, where there is one.
        """
        self._service, self._port, self._sockets, self._tls = service, port, sockets, tls
        self._prepared: dict[int, Prepared] = {}

    async def do(self, message: messages.ToWorker) -> object:
        """Do what a message asks for and return the answer to it, of what JSON can hold.

        Raises:
            LockgateError: It is refused.
        """
        result: object = None
        match message:
            case messages.Serve(sockets=numbers):
                await self._port.listen({number: self._sockets[number] for number in numbers})
            case messages.Prepare(change=change, model=model, desired=desired):
                prepared = self._prepared[change] = await self._service.control.prepare(model, decode_desired(desired))
                result = messages.Prepared(prepared.changes, encode_desired(prepared.desired))
            case messages.Publish(change=change, until=until):
                result = self._publish(change, until)
            case messages.Discard(change=change):
                self._prepared.pop(change, None)
            case messages.Lease(model=model, sequence=sequence, until=until):
                result = self._lease(model, sequence, until)
            case messages.Reload() if self._tls is not None:
                self._tls.reload_or_say()
            case messages.Read():
                result = {model: account(route) for model, route in self._service.router.table.items()}
            case _:
                raise LockgateError(f"{type(message).__name__} is nothing a worker can do now")
        return result

    def _publish(self, change: int, until: float) -> object:
        prepared = self._prepared.pop(change, None)
        if prepared is None:
            raise LedgerConflict("nothing is prepared that could be published")
        return account(self._service.control.publish(prepared, until))

    def _lease(self, model: str, sequence: int, until: float) -> object:
        route = self._service.router.find(model)
        check_lease(model, sequence, route.desired.sequence)
        route = route.leased_until(until)  # not `renewed`: the same end in every worker
        self._service.router.publish(route)
        return account(route)


async def _serve(descriptor: int) -> int:
    end = End()
    end.on_signals()
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's: the parent's matter
        asyncio.get_running_loop().add_signal_handler(number, lambda: None)
    channel: Channel[messages.ToWorker] = await Channel.open(socket.socket(fileno=descriptor), messages.ToWorker)
    begin = await channel.receive()
    if not isinstance(begin, messages.Begin):
        return 1
    options = messages.options_from_json(begin.options)
    log_to_stderr(options.worker)
    with contextlib.ExitStack() as opened:
        opened.callback(channel.close)
        alive = asyncio.ensure_future(_say_alive(channel, options))
        opened.callback(alive.cancel)
        try:
            return await _serve_options(options, channel, begin, end, opened)
        except LockgateError as error:
            with contextlib.suppress(ChannelBroken):
                channel.send(messages.failed(0, error))
            return error.exit_code


async def _serve_options(
    options: ServerOptions,
    channel: Channel[messages.ToWorker],
    begin: messages.Begin,
    end: End,
    opened: contextlib.ExitStack,
) -> int:
    sockets = {number: opened.enter_context(socket.socket(fileno=each)) for number, each in enumerate(begin.sockets)}
    service = Service(options)
    opened.callback(service.close)
    check_bound(options.max_memory_mb, resident_bytes())
    if not await end.within(service.control.restore(_saved(options))):
        return 0
    access_log = opened.enter_context(watching(service))
    tls = tls_files(options)
    port = data_port(data_app(service, access_log), service.metrics, options, tls)
    opened.callback(port.close)
    channel.send(_begun(service.router.table))
    obeying = asyncio.ensure_future(_obey(channel, Worker(service, port, sockets, tls), end))
    guarding = asyncio.ensure_future(guard_memory(options, end))
    await end.asked.wait()
    service.health.stopping = True
    with contextlib.suppress(ChannelBroken):
        channel.send(messages.Leaving(why="it was told to, or uses too much memory"))
    guarding.cancel()
    port.take(sockets.values())  # another worker, which was quicker, may have left some
    for listener in sockets.values():
        listener.close()
    await end.finish(end_ports((port,), options.stop_timeout_s))
    obeying.cancel()
    return end.exit_code


def _saved(options: ServerOptions) -> dict[str, Desired]:
    """Return the routing on disk; nothing where that was damaged since the parent has read it, who tells it then."""
    try:
        return read_routing(options.state / "routing.json", options.environment)
    except LockgateError as damaged:
        logger.error("it begins with what its parent tells: %s", damaged)  # noqa: TRY400 - the message says it all
        return {}


def _begun(table: Mapping[str, Route]) -> messages.Begun:
    """Return what a worker says of the routing it has restored."""
    lacks = {
        model: {str(each): route.refused[each] for each in route.desired.needed if each in route.refused}
        for model, route in table.items()
    }
    return messages.Begun(
        sequences={model: route.desired.sequence for model, route in table.items()},
        lacks={model: reasons for model, reasons in lacks.items() if reasons},
    )


async def _obey(channel: Channel[messages.ToWorker], worker: Worker, end: End) -> None:
    """Do what the parent says, until it says stop or is gone."""
    doing: set[asyncio.Task[None]] = set()
    try:
        while (message := await channel.receive()) is not None and not isinstance(message, messages.Stop):
            task = asyncio.ensure_future(_answer(channel, worker, message))  # a lease must not wait for a bundle
            doing.add(task)
            task.add_done_callback(doing.discard)
        if message is None:
            logger.warning("the parent is gone: ending")
    except ChannelBroken:
        logger.exception("the parent speaks another language: ending")
    end.ask()


async def _answer(channel: Channel[messages.ToWorker], worker: Worker, message: messages.ToWorker) -> None:
    try:
        result = await worker.do(message)
        answer: messages.Message = messages.Done(message.number, result=msgspec.Raw(msgspec.json.encode(result)))
    except Exception as error:  # the one seam: whatever it is, the parent gets an answer
        if not isinstance(error, LockgateError):
            logger.exception("%s failed", type(message).__name__)
        answer = messages.failed(message.number, error)
    with contextlib.suppress(ChannelBroken):
        channel.send(answer)


async def _say_alive(channel: Channel[messages.ToWorker], options: ServerOptions) -> None:
    """Say once a second that the event loop turns; when it does not for too long, the process ends itself."""
    with _traces(options) as traces:
        faulthandler.register(messages.SAY_WHERE, file=traces)
        try:
            while True:
                # a thread of the interpreter's own, which needs no lock: it ends a worker that hangs in native code
                # when there is no parent left to do it, and writes down where it hangs
                faulthandler.dump_traceback_later(options.hang_s + LAST_RESORT_S, exit=True, file=traces)
                with contextlib.suppress(ChannelBroken):
                    channel.send(messages.Alive())
                await asyncio.sleep(messages.ALIVE_EVERY_S)
        finally:
            faulthandler.cancel_dump_traceback_later()
            faulthandler.unregister(messages.SAY_WHERE)


@contextlib.contextmanager
def _traces(options: ServerOptions) -> Iterator[TextIO]:
    """Open what this process writes down where it hangs: a file of its own, stderr where the disk takes none."""
    path = messages.trace_file(options)
    with contextlib.ExitStack() as opened:
        traces = sys.stderr
        try:
            path.parent.mkdir(exist_ok=True)
            traces = opened.enter_context(path.open("w"))
        except OSError as broken:  # no reason not to serve
            logger.warning("where this worker hangs, should it, will be said on stderr: %s", broken)
        yield traces


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("a worker is started by its server alone: lockgate serve --workers N")
    sys.exit(run_loop(lambda: _serve(int(sys.argv[1]))))
