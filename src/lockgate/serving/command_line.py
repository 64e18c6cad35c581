"""What the server's programs share in reading their options: one line for what is wrong, and the same bounds."""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from lockgate.errors import BadInput

MOST_PORT: Final = 65_535
MOST_WORKERS: Final = 128  # ours: more than the cores of any machine this was thought for; a typing error stops here
MOST_DAYS: Final = 36_500  # ours: a century; beyond some ten thousand years a date has no name any more
MOST_BYTES: Final = 2**60  # ours: more than any disk
MOST_INTERVAL_S: Final = 86_400  # ours: a day
_SHOWN: Final = 40  # characters of a wrong value


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and leaves how to end to its caller."""

    def __init__(self, prog: str, description: str, *, listed_by: str) -> None:
        """Take the program's name, what it does, and the command that lists its options."""
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self._listed_by = listed_by

    def error(self, message: str) -> NoReturn:
        """Raise what `argparse` would print under its whole usage, and end with."""
        raise BadInput(f"{message.removeprefix('argument ')}; '{self._listed_by}' lists every option")

    def read(self, argv: Sequence[str]) -> dict[str, Any]:
        """Return what is given by name; raises `BadInput` for what there is not."""
        given, unknown = self.parse_known_args(argv)
        if unknown:
            close = difflib.get_close_matches(unknown[0], self._option_string_actions, n=1)
            self.error(f"there is no option {unknown[0]!r}{f', did you mean {close[0]}?' if close else ''}")
        return vars(given)


def port(text: str) -> int:
    """Read a port, 0 for any."""
    if not (text.isdecimal() and len(text) <= _SHOWN and int(text) <= MOST_PORT):
        raise argparse.ArgumentTypeError(f"{_shown(text)} is no port: 0 to {MOST_PORT}")
    return int(text)


def at_least_one(text: str) -> int:
    """Read how much of something there may be, at least one."""
    return _whole(text, 1, MOST_BYTES)


def workers(text: str) -> int:
    """Read how many processes there shall be."""
    return _whole(text, 1, MOST_WORKERS)


def whole_days(text: str) -> int:
    """Read for how many days something is kept, 0 for ever."""
    return _whole(text, 0, MOST_DAYS)


def size_bytes(text: str) -> int:
    """Read the size that something may have, 0 for any."""
    return _whole(text, 0, MOST_BYTES)


def not_negative(text: str) -> float:
    """Read a number from 0."""
    return _number(text, "a number from 0", lambda value: value >= 0)


def positive(text: str) -> float:
    """Read a number above 0."""
    return _number(text, "a number above 0", lambda value: value > 0)


def zero_or_interval(text: str) -> float:
    """Read how often something is done, in seconds, 0 for never."""
    return _number(text, "0, or a number from 0.001", lambda value: value == 0 or value >= 0.001)


def days(text: str) -> float:
    """Read a time in days."""
    return _number(text, f"a number from 0 to {MOST_DAYS}", lambda value: 0 <= value <= MOST_DAYS)


def interval_s(text: str) -> float:
    """Read a time between two runs, in seconds."""
    wanted = f"a number above 0 and at most {MOST_INTERVAL_S}"
    return _number(text, wanted, lambda value: 0 < value <= MOST_INTERVAL_S)


def megabytes(text: str) -> int:
    """Read how much memory may be in use (1e6 bytes), 0 for any."""
    return _whole(text, 0, MOST_BYTES // 1_000_000)


def _whole(text: str, least: int, most: int) -> int:
    value = int(text) if text.isdecimal() and len(text) <= _SHOWN else -1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{_shown(text)} must be a whole number from {least} to {most}")
    return value


def _number(text: str, wanted: str, fits: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and fits(value)):
        raise argparse.ArgumentTypeError(f"{_shown(text)} must be {wanted}")
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
