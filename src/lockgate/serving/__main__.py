"""The server's command line: `python -m lockgate.serving`, and what `lockgate serve` hands its options to."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lockgate.errors import LockgateError
from lockgate.serving.options import Limits, ServerOptions
from lockgate.serving.process import run

logger = logging.getLogger("lockgate.serving")
_OWN_FIELDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """One JSON object a line; `extra` fields stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN_FIELDS}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def parse(argv: Sequence[str]) -> ServerOptions:
    """Read the command line; ends the process with exit code 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="lockgate serve", description="Serve signed bundles.", allow_abbrev=False)
    needed = parser.add_argument_group("needed")
    needed.add_argument("--environment", required=True, help="sandbox, staging or production")
    needed.add_argument("--bundles", required=True, type=Path, help="the bundle store, one folder a digest")
    needed.add_argument("--public-key", required=True, type=Path, help="PEM file that bundles are verified with")
    needed.add_argument("--state", required=True, type=Path, help="holds routing and prediction log; this server's own")
    needed.add_argument("--admin-token-file", required=True, type=Path, help="holds the token of the admin port")
    listening = parser.add_argument_group("listening")
    listening.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    listening.add_argument("--port", type=_port, default=8080, help="data port, 0: any free one; default: %(default)s")
    listening.add_argument("--admin-port", type=_port, default=9080, help="likewise; default: %(default)s")
    limits, defaults = parser.add_argument_group("limits"), Limits()
    for name, what in _LIMITS.items():
        default = getattr(defaults, name)
        option = f"--max-{name.replace('_', '-')}" if isinstance(default, int) else f"--{name.replace('_', '-')}"
        limits.add_argument(
            option, dest=name, type=_at_least_one if isinstance(default, int) else _positive, default=default,
            help=f"{what}; default: %(default)s",
        )  # fmt: skip
    log = parser.add_argument_group("prediction log")
    log.add_argument("--no-log-inputs", action="store_true", help="leave the inputs of requests out of it")
    log.add_argument("--log-segment-bytes", type=_at_least_one, default=64 << 20, help="a file is closed at this size")
    given = vars(parser.parse_args(argv))
    given["limits"] = Limits(**{name: given.pop(name) for name in _LIMITS})
    given["log_inputs"] = not given.pop("no_log_inputs")
    return ServerOptions(**given)


_LIMITS: Final = {
    "body_bytes": "a larger body is refused with 413",
    "rows": "a request with more rows is refused with 413",
    "in_flight": "with this many requests being answered, further ones get 503",
    "read_timeout_s": "a body must arrive in this many seconds, else 408",
}


def main(argv: Sequence[str]) -> int:
    """Serve until told to stop.

    Args:
        argv: The options, without the program's name.

    Returns:
        The exit code: 0 after an orderly stop, 2 when an option is wrong or a port is taken, 1 for anything else.
    """
    options = parse(argv)
    _log_to_stderr()
    try:
        run(options)
    except asyncio.CancelledError:
        return 0  # told to stop while it was still loading
    except LockgateError as error:
        logger.error("%s", error, extra={"event": "refused_to_start"})  # noqa: TRY400 - the message says it all
        return error.exit_code
    return 0


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(plain if sys.stderr.isatty() else JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
