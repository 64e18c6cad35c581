"""The server's command line: `python -m lockgate.serving`, and what `lockgate serve` hands its options to."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from lockgate.errors import LockgateError
from lockgate.serving.fleet.process import run
from lockgate.serving.fleet.process_log import log_to_stderr
from lockgate.serving.options import Limits, ServerOptions

logger = logging.getLogger("lockgate.serving")
MOST_WORKERS: Final = 128  # ours: more than the cores of any machine this was thought for; a typing error stops here


def parse(argv: Sequence[str]) -> ServerOptions:
    """Read the command line; ends the process with exit code 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="lockgate serve", description="Serve signed bundles.", allow_abbrev=False)
    needed = parser.add_argument_group("needed")
    needed.add_argument("--environment", required=True, help="sandbox, staging or production")
    needed.add_argument("--bundles", required=True, type=Path, help="the bundle store, one folder a digest")
    needed.add_argument("--public-key", required=True, type=Path, help="PEM file that bundles are verified with")
    needed.add_argument("--state", required=True, type=Path, help="holds routing and prediction log; this server's own")
    needed.add_argument("--admin-token-file", required=True, type=Path, help="holds the token of the admin port")
    tokens = parser.add_argument_group("tokens")
    tokens.add_argument(
        "--feedback-token-file", type=Path, help="holds a token for /feedback alone; default: the admin's will do"
    )
    _add_listening(parser.add_argument_group("listening"))
    _add_limits(parser.add_argument_group("limits, of each worker"))
    _add_processes(parser.add_argument_group("processes"))
    _add_log(parser.add_argument_group("logs and checks"))
    given = vars(parser.parse_args(argv))
    if (given["tls_cert"] is None) != (given["tls_key"] is None):
        parser.error("--tls-cert and --tls-key go together: give both, or none for plain HTTP")
    given["limits"] = Limits(**{name: given.pop(name) for name in _LIMITS})
    given["log_inputs"] = not given.pop("no_log_inputs")
    given["access_log"] = given["access_log"] == "on"
    return ServerOptions(**given)


def _add_listening(listening: argparse._ArgumentGroup) -> None:
    listening.add_argument("--host", default="127.0.0.1", help="default: %(default)s, this machine alone")
    listening.add_argument("--port", type=_port, default=8080, help="data port, 0: any free one; default: %(default)s")
    listening.add_argument("--admin-port", type=_port, default=9080, help="likewise; default: %(default)s")
    listening.add_argument("--tls-cert", type=Path, help="PEM certificate chain of both ports; default: plain HTTP")
    listening.add_argument("--tls-key", type=Path, help="PEM private key of it, without a pass phrase")


def _add_limits(limits: argparse._ArgumentGroup) -> None:
    defaults = Limits()
    for name, what in _LIMITS.items():
        default = getattr(defaults, name)
        option = f"--max-{name.replace('_', '-')}" if isinstance(default, int) else f"--{name.replace('_', '-')}"
        limits.add_argument(
            option, dest=name, type=_at_least_one if isinstance(default, int) else _positive, default=default,
            help=f"{what}; default: %(default)s",
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
        "--workers", type=_workers, default=1, help="processes that answer on the data port; default: %(default)s"
    )
    processes.add_argument(
        "--hang-s", type=_positive, default=10.0, help="a worker silent for so long is restarted; default: %(default)s"
    )
    processes.add_argument(
        "--max-memory-mb", type=_whole, default=0,
        help="above it a process is not ready, answers what it took and ends with code 1; default: 0, any",
    )  # fmt: skip
    processes.add_argument(
        "--stop-timeout-s", type=_positive, default=10.0,
        help="on SIGTERM, requests being answered get this long; default: %(default)s",
    )  # fmt: skip


def _add_log(log: argparse._ArgumentGroup) -> None:
    log.add_argument("--no-log-inputs", action="store_true", help="leave the inputs of requests out of the log")
    log.add_argument("--log-segment-bytes", type=_at_least_one, default=64 << 20, help="a file is closed at this size")
    log.add_argument("--keep-log-days", type=_whole, default=90, help="older days are deleted; default: 90; 0: none")
    log.add_argument(
        "--max-log-bytes", type=_whole, default=10 << 30,
        help="the oldest part is deleted above this size; default: %(default)s; 0: never",
    )  # fmt: skip
    log.add_argument(
        "--label-window-days", type=_not_negative, default=0.0,
        help="a label that comes later after its prediction counts as late; default: %(default)s, never",
    )  # fmt: skip
    log.add_argument("--access-log", choices=("off", "on"), default="off", help="a line an answer; default: off")
    log.add_argument(
        "--self-probe-s", type=_not_negative, default=10.0,
        help="each model answers a golden request so often; default: %(default)s; 0: never",
    )  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Serve until told to stop.

    Args:
        argv: The options, without the program's name.

    Returns:
        The exit code: 0 after an orderly stop, 2 when an option is wrong or a port is taken, 1 for anything else, such
            as too much memory in use.
    """
    options = parse(argv)
    log_to_stderr()
    try:
        return run(options)
    except LockgateError as error:
        logger.error("%s", error, extra={"event": "refused_to_start"})  # noqa: TRY400 - the message says it all
        return error.exit_code


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0")
    return int(text)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1 to {MOST_WORKERS}")
    return int(text)


def _not_negative(text: str) -> float:
    return _number(text, "a number from 0", lambda value: value >= 0)


def _positive(text: str) -> float:
    return _number(text, "a number above 0", lambda value: value > 0)


def _number(text: str, wanted: str, fits: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and fits(value)):
        raise argparse.ArgumentTypeError(f"{text!r} must be {wanted}")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
