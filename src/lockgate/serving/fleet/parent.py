"""Several workers on one data port that act as one: the parent, which answers on the admin port alone.

    parent   state folder and its lock, routing file, admin port, all listening sockets
      ├── worker 1   its socket ─┐
      ├── worker 2   its socket ─┼─ one port: the kernel spreads new connections between them
      └── ...        its socket ─┘

See `routing` for how all change as one, and `supervision` for what happens when a worker ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Final

from lockgate.errors import BadInput
from lockgate.serving.fleet.admin import FleetService, fleet_admin_app
from lockgate.serving.fleet.process import End, admin_port, archiving, end_ports, on_hangup, say_ready, tls_files
from lockgate.serving.fleet.routing import FleetRouting
from lockgate.serving.fleet.service_manager import ServiceManager
from lockgate.serving.fleet.supervision import Fleet
from lockgate.serving.model.signature import load_public_key
from lockgate.serving.net.connections import raise_file_limit
from lockgate.serving.net.listening import ADMIN, DATA, inherited, listen, listen_shared
from lockgate.serving.net.port import Port
from lockgate.serving.options import ServerOptions
from lockgate.serving.routing.state import RoutingFile
from lockgate.serving.tokens import read_token
from lockgate.serving.watch.metric_files import MetricFiles, begin_run
from lockgate.serving.watch.metrics import Metrics

logger = logging.getLogger(__name__)

LAST_WRITES_S: Final = 3.0  # beyond stop_timeout_s: for a worker's log


async def serve_fleet(options: ServerOptions) -> int:
    """Serve with several workers until SIGTERM or SIGINT; return the exit code.

    Raises:
        BadInput: An option is wrong or a port is taken; nothing was served.
        IntegrityError: The routing on disk cannot be read; nothing was served.
    """
    end = End()
    end.on_signals()
    manager = ServiceManager(os.environ)
    token = _check(options)
    tls = tls_files(options)  # read here as well, so that a wrong pair is said once
    raise_file_limit()  # for the workers, which inherit it
    with contextlib.ExitStack() as opened:
        data, admin = opened.enter_context(_listening(options))
        keeper = RoutingFile(options.state, options.environment)
        opened.callback(keeper.close)
        service = FleetService(options, Metrics())
        begin_run(options.state / "metrics")
        counts = MetricFiles(options.state / "metrics", service.metrics)
        opened.callback(counts.close)
        opened.enter_context(archiving(options, service.metrics))
        fleet = Fleet(options, data, end)
        on_hangup(manager, tls, fleet.reload)
        service.metrics.watch(
            "lockgate_worker_restarts_total", "Workers that ended and were started again.", lambda: fleet.restarts,
            ("worker",),
        )  # fmt: skip
        routing = FleetRouting(keeper, fleet.joined)
        port = admin_port(fleet_admin_app(service, routing, token), options, tls)
        opened.callback(port.close)
        for each in (counts.keep(), manager.keep()):
            opened.callback(asyncio.ensure_future(each).cancel)
        try:
            if await end.within(fleet.start(routing)):
                await port.listen({0: admin})
                say_ready(options, data[0], admin)
                manager.ready()
                await end.asked.wait()
            manager.stopping()
            for listener in (*data, admin):
                listener.close()
            answered = await end.finish(_stop(fleet, port, options.stop_timeout_s))
        finally:
            await fleet.kill("the server ends")
        logger.info("stopped: %s", "every request that was taken is answered" if answered else "at once, as asked")
        return end.exit_code


async def _stop(fleet: Fleet, port: Port, timeout_s: float) -> None:
    await asyncio.gather(fleet.stop(timeout_s + LAST_WRITES_S), end_ports((port,), timeout_s))


def _check(options: ServerOptions) -> bytes:
    """Look at what every worker will need, so that what is wrong is said once; return the admin token.

    Raises:
        BadInput: Something is not there, or not usable.
    """
    if not options.bundles.is_dir():
        raise BadInput(f"bundle store {options.bundles} is not a folder; give the folder that holds the bundles")
    load_public_key(options.public_key)
    if options.feedback_token_file is not None:
        read_token(options.feedback_token_file, "feedback")
    return read_token(options.admin_token_file)


@contextlib.contextmanager
def _listening(options: ServerOptions) -> Iterator[tuple[list[socket.socket], socket.socket]]:
    """Open both ports, where they were not passed in: one socket of the data port for each worker."""
    given = inherited(os.environ)
    with contextlib.ExitStack() as opened:
        inherits, host = DATA in given, options.host
        data = [given[DATA]] if inherits else listen_shared(host, options.port, "--port", options.workers)
        for each in data:
            opened.enter_context(each)
        yield data, opened.enter_context(given.get(ADMIN) or listen(options.host, options.admin_port, "--admin-port"))
