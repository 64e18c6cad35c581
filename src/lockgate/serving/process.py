"""One server process: two sockets, one event loop, signals, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Generator

import uvicorn

from lockgate.errors import BadInput
from lockgate.serving.app import App, data_app
from lockgate.serving.http_admin import admin_app, read_token
from lockgate.serving.options import ServerOptions
from lockgate.serving.service import Service

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 75  # longer than the usual pools of callers and proxies, so that they close first
BACKLOG = 2048
SWITCH_INTERVAL_S = 0.0005  # the log's thread may keep the interpreter from an answer for this long, not for 5 ms


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process, which has two of it."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


def run(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        BadInput: An option is wrong or a port is taken; nothing was served.
        IntegrityError: The routing on disk cannot be read; nothing was served.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(options))


async def _serve(options: ServerOptions) -> None:
    token = read_token(options.admin_token_file)
    with contextlib.ExitStack() as opened:
        # listening before loading: callers of a restarting server wait in the backlog, none is turned away
        data = opened.enter_context(listen(options.host, options.port, "--port"))
        admin = opened.enter_context(listen(options.host, options.admin_port, "--admin-port"))
        service = Service(options)
        opened.callback(service.close)
        servers: list[_Server] = []
        _end_on_signals(servers)
        await service.restore()
        servers += [
            _server(app, options, lambda: _say_ready(options, servers, data, admin))
            for app in (data_app(service), admin_app(service, token))
        ]
        await asyncio.gather(servers[0].serve([data]), servers[1].serve([admin]))
        logger.info("stopped: every request that was taken is answered")


def listen(host: str, port: int, option: str) -> socket.socket:
    """Return a listening socket.

    Raises:
        BadInput: The port is taken, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as broken:
        raise BadInput(f"cannot listen on {host}:{port}: {broken}") from broken
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as broken:
        listener.close()
        if broken.errno == errno.EADDRINUSE:
            raise BadInput(
                f"port {port} on {host} is taken by another process: end that one, or give another {option}"
            ) from broken
        raise BadInput(
            f"cannot listen on {host}:{port}: {broken.strerror}; give another --host or {option}"
        ) from broken
    return listener


def _server(app: App, options: ServerOptions, on_started: Callable[[], None]) -> _Server:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(options.stop_timeout_s)),
    )
    return _Server(config, on_started)


def _say_ready(options: ServerOptions, servers: list[_Server], data: socket.socket, admin: socket.socket) -> None:
    """Log the ready line once both ports answer."""
    if all(server.started for server in servers):
        port, admin_port = data.getsockname()[1], admin.getsockname()[1]
        logger.info(
            "ready: environment %s listens on http://%s:%d, admin on port %d",
            options.environment,
            options.host,
            port,
            admin_port,
            extra={"event": "ready", "environment": options.environment, "port": port, "admin_port": admin_port},
        )


def _end_on_signals(servers: list[_Server]) -> None:
    """On SIGTERM or SIGINT stop taking requests and answer those taken; a second signal ends at once."""
    loop = asyncio.get_running_loop()
    serving = asyncio.current_task()

    def stop() -> None:
        if not servers and serving is not None:
            serving.cancel()  # still loading
        for server in servers:
            server.force_exit = server.should_exit
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop
