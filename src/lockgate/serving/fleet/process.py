"""One server process: two ports, one event loop, signals, an orderly end. With several workers, see `fleet`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from lockgate.serving.fleet.service_manager import ServiceManager
from lockgate.serving.http.admin import admin_app
from lockgate.serving.http.app import App, data_app
from lockgate.serving.log.archive_status import Kept
from lockgate.serving.log.archiver import Archiver
from lockgate.serving.net.connections import Connections, raise_file_limit
from lockgate.serving.net.listening import ADMIN, DATA, inherited, listen
from lockgate.serving.net.port import Port
from lockgate.serving.options import ServerOptions
from lockgate.serving.service import Service
from lockgate.serving.tokens import check_apart, read_token
from lockgate.serving.unwanted import hide_pandas
from lockgate.serving.watch.memory_bound import bound_memory, check_bound
from lockgate.serving.watch.metrics import Metrics
from lockgate.serving.watch.process_usage import resident_bytes
from lockgate.serving.watch.watching import watch_archive, watching

if TYPE_CHECKING:
    from lockgate.serving.net.tls import TlsFiles

logger = logging.getLogger(__name__)

SWITCH_INTERVAL_S: Final = 0.0005  # the log's thread may keep the interpreter from an answer so long, not for 5 ms
ADMIN_CONNECTIONS: Final = 256  # ours: a controller has one or two
LOOK_AT_MEMORY_S: Final = 1.0
LET_GO_S: Final = 1.0  # ours: what is cancelled ends within a turn of the loop, unless it hangs
NOTICE_S: Final = 3.0  # ours: a balancer that asks every second has seen it, and memory has not grown much


class End:
    """How a process is told to end.

    Attributes:
        asked: Set when it shall end in order.
        at_once: Set when it shall not wait for anything any more.
        exit_code: What it shall end with.
    """

    def __init__(self) -> None:
        self.asked: Final = asyncio.Event()
        self.at_once: Final = asyncio.Event()
        self.exit_code = 0

    def ask(self) -> None:
        """Ask for an end in order; asked again, for one at once."""
        if self.asked.is_set():
            self.at_once.set()
        self.asked.set()

    def on_signals(self) -> None:
        """Ask on SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask)

    async def within(self, work: Coroutine[None, None, object]) -> bool:
        """Do some work unless the end is asked for before it is done; return whether it was done."""
        return await _before(self.asked, work)

    async def finish(self, work: Coroutine[None, None, object]) -> bool:
        """Do the last work, unless it is to end at once; return whether it was done."""
        return await _before(self.at_once, work)


async def _before(event: asyncio.Event, work: Coroutine[None, None, object]) -> bool:
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait((working,), timeout=LET_GO_S)  # its end is heard of here, not as an error of nobody's
        return False
    working.result()
    return True


def run(options: ServerOptions) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after an end that was asked for, 1 where too much memory was used.

    Raises:
        BadInput: An option is wrong or a port is taken; nothing was served.
        IntegrityError: The routing on disk cannot be read; nothing was served.
    """
    _check_secrets(options)
    if options.workers > 1:
        from lockgate.serving.fleet.parent import serve_fleet

        return run_loop(lambda: serve_fleet(options))
    return run_loop(lambda: _serve(options))


def _check_secrets(options: ServerOptions) -> None:
    """Refuse files of tokens that are each other's, or something else's."""
    tokens = {"--admin-token-file": options.admin_token_file, "--feedback-token-file": options.feedback_token_file}
    others = {"--public-key": options.public_key, "--tls-cert": options.tls_cert, "--tls-key": options.tls_key}
    check_apart(*({option: path for option, path in each.items() if path is not None} for each in (tokens, others)))


def run_loop(main: Callable[[], Coroutine[None, None, int]]) -> int:
    """Run a process's event loop until `main` is done; return what it returns."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    hide_pandas()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


async def _serve(options: ServerOptions) -> int:
    end = End()
    end.on_signals()
    manager = ServiceManager(os.environ)
    token = read_token(options.admin_token_file)
    tls = tls_files(options)
    on_hangup(manager, tls)
    with contextlib.ExitStack() as opened:
        # listening before loading: callers of a restarting server wait in the backlog, none is turned away
        data, admin = opened.enter_context(_listening(options))
        service = Service(options)
        opened.callback(service.close)
        check_bound(options.max_memory_mb, resident_bytes())
        if not await end.within(service.restore()):
            return 0
        access_log = opened.enter_context(watching(service))
        opened.enter_context(archiving(options, service.metrics))
        ports = (
            data_port(data_app(service, access_log), service.metrics, options, tls),
            admin_port(admin_app(service, token), options, tls),
        )
        for port, listener in zip(ports, (data, admin), strict=True):
            opened.callback(port.close)
            await port.listen({0: listener})
        say_ready(options, data, admin)
        manager.ready()
        for each in (guard_memory(options, end), manager.keep()):
            opened.callback(asyncio.ensure_future(each).cancel)
        await end.asked.wait()
        manager.stopping()
        service.health.stopping = True
        data.close()
        admin.close()
        answered = await end.finish(end_ports(ports, options.stop_timeout_s))
        logger.info("stopped: %s", "every request that was taken is answered" if answered else "at once, as asked")
        return end.exit_code


def on_hangup(manager: ServiceManager, tls: TlsFiles | None, then: Callable[[], None] = lambda: None) -> None:
    """Read the certificate again on SIGHUP; a server without one goes on, unless it is its terminal that was closed.

    Args:
        manager: Is told.
        tls: The certificate, where there is one.
        then: What is done after it was read.
    """

    def reload() -> None:
        if tls is None:
            logger.info("SIGHUP: there is no certificate to read again; nothing changes")
            return
        tls.reload_or_say()
        tls.say_validity(datetime.now(UTC))
        then()

    if tls is not None or not sys.stderr.isatty():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, manager.reload, reload)


def tls_files(options: ServerOptions) -> TlsFiles | None:
    """Return the certificate of both ports; None where there is none.

    Raises:
        ConfigError: It cannot be used.
    """
    if options.tls_cert is None or options.tls_key is None:
        return None
    from lockgate.serving.net.tls import TlsFiles

    tls = TlsFiles(options.tls_cert, options.tls_key)
    if not options.worker:  # said once
        tls.say_validity(datetime.now(UTC))
    return tls


@contextlib.contextmanager
def archiving(options: ServerOptions, metrics: Metrics) -> Iterator[None]:
    """Keep the prediction log's archive going for the length of a block; in the process that owns the state folder."""
    archiver = Archiver(options.state, kept_of(options))
    watch_archive(metrics, archiver)
    archiver.start()
    try:
        yield
    finally:
        archiver.stop()


def kept_of(options: ServerOptions) -> Kept:
    """Return what of the prediction log is kept, as the options say."""
    return Kept(
        days=options.keep_log_days,
        max_bytes=options.max_log_bytes,
        label_window_days=options.label_window_days,
        specs=options.specs,
    )


@contextlib.contextmanager
def _listening(options: ServerOptions) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open both ports, where they were not passed in."""
    given = inherited(os.environ)
    data = given.get(DATA) or listen(options.host, options.port, "--port")
    with data, given.get(ADMIN) or listen(options.host, options.admin_port, "--admin-port") as admin:
        yield data, admin


def data_port(app: App, metrics: Metrics, options: ServerOptions, tls: TlsFiles | None) -> Port:
    """Return the port that answers requests; raises the process's limit on open files as far as it goes."""
    most = min(options.limits.connections, raise_file_limit())
    if most < options.limits.connections:
        logger.warning("the limit on open files allows %d connections, not %d", most, options.limits.connections)
    connections = Connections(most, options.limits.header_timeout_s)
    metrics.watch("lockgate_connections", "Open connections of the data port.", lambda: connections.open)
    metrics.watch(
        "lockgate_connections_ended_total", "Connections that were ended early, by why.", connections.ended, ("why",)
    )
    return Port(app, connections, None if tls is None else tls.context)


def admin_port(app: App, options: ServerOptions, tls: TlsFiles | None) -> Port:
    """Return the port that takes orders."""
    connections = Connections(ADMIN_CONNECTIONS, options.limits.header_timeout_s)
    return Port(app, connections, None if tls is None else tls.context)


async def end_ports(ports: tuple[Port, ...], timeout_s: float) -> None:
    """End several ports together; what is not answered in time is dropped and said."""
    for port, answered in zip(ports, await asyncio.gather(*(port.end(timeout_s) for port in ports)), strict=True):
        if not answered:
            logger.warning("a port was closed with requests unanswered after %g s: %r", timeout_s, port)


def say_ready(options: ServerOptions, data: socket.socket, admin: socket.socket) -> None:
    """Log the line that says that both ports answer."""
    port, admin_port = data.getsockname()[1], admin.getsockname()[1]
    logger.info(
        "ready: environment %s listens on %s://%s:%d, admin on port %d",
        options.environment,
        "http" if options.tls_cert is None else "https",
        f"[{options.host}]" if ":" in options.host else options.host,
        port,
        admin_port,
        extra={"event": "ready", "environment": options.environment, "port": port, "admin_port": admin_port},
    )


async def guard_memory(options: ServerOptions, end: End) -> None:
    """Ask for the end, with code 1, once this process uses more memory than it may.

    What would take it far beyond that at once is refused by the system instead, see `bound_memory`. Some time before
    the end it is not ready already (`Health`), so that whoever asks sends callers elsewhere first.
    """
    limit = options.max_memory_mb * 1_000_000
    if limit:
        bound_memory(limit)
    hint = "; what is routed needs that much from the start, so a restart ends the same: raise it, or route less"
    while limit:
        used = resident_bytes()
        if used > limit:
            logger.error("%.0f MB are in use, --max-memory-mb is %d: ending%s", used / 1e6, options.max_memory_mb, hint)
            await asyncio.sleep(NOTICE_S)
            if not end.asked.is_set():  # asked twice, it would not wait for anything
                end.exit_code = 1
                end.ask()
            return
        hint = ""
        await asyncio.sleep(LOOK_AT_MEMORY_S)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop
