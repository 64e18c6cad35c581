"""The server's command line: `python -m lockgate.serving`, and what `lockgate serve` hands its options to."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lockgate.errors import LockgateError
from lockgate.serving import command_line as read
from lockgate.serving.fleet.process import run
from lockgate.serving.fleet.process_log import log_to_stderr
from lockgate.serving.options import Limits, ServerOptions

logger = logging.getLogger("lockgate.serving")
ENVIRONMENTS: Final = ("sandbox", "staging", "production")


def parse(argv: Sequence[str]) -> ServerOptions:
    """Read the command line.

    Raises:
        BadInput: It is wrong; what is, and what is allowed.
    """
    parser = read.Parser("lockgate serve", "Serve signed bundles.", listed_by="lockgate serve -- --help")
    _add_needed(parser.add_argument_group("needed"))
    tokens = parser.add_argument_group("tokens")
    tokens.add_argument(
        "--feedback-token-file", type=Path, metavar="FILE",
        help="holds a token for /feedback alone; default: the admin's will do",
    )  # fmt: skip
    _add_listening(parser.add_argument_group("listening"))
    _add_limits(parser.add_argument_group("limits, of each worker"))
    _add_processes(parser.add_argument_group("processes"))
    _add_log(parser.add_argument_group("logs and checks"))
    given = parser.read(argv)
    if (given["tls_cert"] is None) != (given["tls_key"] is None):
        parser.error("--tls-cert and --tls-key go together: give both, or none for plain HTTP")
    if given["specs"] is not None and not given["specs"].is_dir():
        parser.error(f"--specs: {given['specs']} is not a folder; give the one that holds <model>.yaml, or none")
    if given["port"] == given["admin_port"] != 0:
        parser.error(f"--port and --admin-port are both {given['port']}: give two, the admin port is nobody else's")
    given["limits"] = Limits(**{name: given.pop(name) for name in _LIMITS})
    given["log_inputs"] = not given.pop("no_log_inputs")
    given["access_log"] = given["access_log"] == "on"
    return ServerOptions(**given)


def _add_needed(needed: argparse._ArgumentGroup) -> None:
    needed.add_argument("--environment", required=True, choices=ENVIRONMENTS, help="what this server is")
    for name, metavar, what in (
        ("--bundles", "DIR", "the bundle store, one folder a digest"),
        ("--public-key", "FILE", "PEM file that bundles are verified with"),
        ("--state", "DIR", "holds routing and prediction log; this server's own"),
        ("--admin-token-file", "FILE", "holds the token of the admin port"),
    ):
        needed.add_argument(name, required=True, type=Path, metavar=metavar, help=what)


def _add_listening(listening: argparse._ArgumentGroup) -> None:
    add = listening.add_argument
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="default: %(default)s, this machine alone")
    add("--port", metavar="N", type=read.port, default=8080, help="data port, 0: any free one; default: %(default)s")
    add("--admin-port", metavar="N", type=read.port, default=9080, help="likewise; default: %(default)s")
    add("--tls-cert", metavar="FILE", type=Path, help="PEM certificate chain of both ports; default: plain HTTP")
    add("--tls-key", metavar="FILE", type=Path, help="PEM private key of it, without a pass phrase")


def _add_limits(limits: argparse._ArgumentGroup) -> None:
    defaults = Limits()
    for name, what in _LIMITS.items():
        default = getattr(defaults, name)
        option = f"--max-{name.replace('_', '-')}" if isinstance(default, int) else f"--{name.replace('_', '-')}"
        limits.add_argument(
            option, dest=name, type=read.at_least_one if isinstance(default, int) else read.positive, default=default,
            metavar="N" if isinstance(default, int) else "SECONDS", help=f"{what}; default: %(default)s",
        )  # fmt: skip


_LIMITS: Final = {
    "body_bytes": "a larger body is refused with 413",
    "rows": "a request with more rows is refused with 413",
    "in_flight": "with this many requests being answered, further ones get 503",
    "connections": "with this many connections open, further ones get 503 and are closed",
    "header_timeout_s": "a request's headers must arrive in this many seconds, or the connection is closed",
    "read_timeout_s": "a body must arrive in this many seconds, else 408",
    "request_timeout_s": "a model may work this many seconds on a request, where its routing says nothing else",
}


def _add_processes(processes: argparse._ArgumentGroup) -> None:
    processes.add_argument(
        "--workers", type=read.workers, default=1, metavar="N",
        help="processes that answer on the data port; default: %(default)s",
    )  # fmt: skip
    processes.add_argument(
        "--hang-s", type=read.positive, default=10.0, metavar="SECONDS",
        help="a worker silent for so long is restarted; default: %(default)s",
    )  # fmt: skip
    processes.add_argument(
        "--max-memory-mb", type=read.megabytes, default=0, metavar="N",
        help="above it a process is not ready, answers what it took and ends with code 1; default: 0, any",
    )  # fmt: skip
    processes.add_argument(
        "--stop-timeout-s", type=read.positive, default=10.0, metavar="SECONDS",
        help="on SIGTERM, requests being answered get this long; default: %(default)s",
    )  # fmt: skip


def _add_log(log: argparse._ArgumentGroup) -> None:
    log.add_argument("--no-log-inputs", action="store_true", help="leave the inputs of requests out of the log")
    log.add_argument(
        "--log-segment-bytes", type=read.at_least_one, default=64 << 20, metavar="N",
        help="a file of the prediction log is closed at this size; default: %(default)s",
    )  # fmt: skip
    log.add_argument(
        "--keep-log-days", type=read.whole_days, default=90, metavar="N",
        help="older days of it are deleted; default: %(default)s; 0: none",
    )  # fmt: skip
    log.add_argument(
        "--max-log-bytes", type=read.size_bytes, default=10 << 30, metavar="N",
        help="the oldest part is deleted above this size; default: %(default)s; 0: never",
    )  # fmt: skip
    log.add_argument(
        "--specs", type=Path, metavar="DIR",
        help="holds <model>.yaml: a label that comes later than its data.label_delay_s counts as late; default: none",
    )  # fmt: skip
    log.add_argument(
        "--label-window-days", type=read.days, metavar="N",
        help="a label of any model that comes later after its prediction counts as late; 0: never; default: as the "
        "specs say",
    )  # fmt: skip
    log.add_argument("--access-log", choices=("off", "on"), default="off", help="a line an answer; default: off")
    log.add_argument(
        "--self-probe-s", type=read.not_negative, default=10.0, metavar="SECONDS",
        help="each model answers a golden request so often; default: %(default)s; 0: never",
    )  # fmt: skip
    log.add_argument(
        "--keep-warm-s", type=read.zero_or_interval, default=0.004, metavar="SECONDS",
        help="a model that is asked now and then runs so often in between, to stay in caches: up to half the "
        "latency at 100 requests a second for 3 %% of a core; default: %(default)s; 0: never",
    )  # fmt: skip


def serve(argv: Sequence[str]) -> int:
    """Serve until told to stop, see `main`; what keeps it from serving is for the caller to say.

    Raises:
        LockgateError: An option is wrong, or the server cannot be started with them.
    """
    log_to_stderr()
    return run(parse(argv))


def main(argv: Sequence[str]) -> int:
    """Serve until told to stop.

    Args:
        argv: The options, without the program's name.

    Returns:
        The exit code: 0 after an orderly stop, 2 when an option is wrong or a port is taken, 1 for anything else, such
            as too much memory in use.
    """
    try:
        return serve(argv)
    except LockgateError as error:
        logger.error("%s", error, extra={"event": "refused_to_start"})  # noqa: TRY400 - the message says it all
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
