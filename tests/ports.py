"""Ports that nobody has and nobody gets by chance before a test's own process listens on them."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, closing

_FIRST, _LAST = 15_000, 29_999
"""Below what Linux, macOS and Windows give to those who ask for any port: a port that was only free a moment ago, and
of that range, may be the near end of somebody's connection when it is wanted."""
_DRAWS = random.SystemRandom()  # two runs of the tests side by side do not draw the same


def free_ports(count: int) -> list[int]:
    """Return so many different ports, free now."""
    with ExitStack() as held:
        found: list[int] = []
        for port in _DRAWS.sample(range(_FIRST, _LAST + 1), 50 * count):
            probe = held.enter_context(closing(socket.socket()))
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody's
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError(f"no {count} free ports between {_FIRST} and {_LAST}")


def free_port() -> int:
    """Return one port, free now."""
    return free_ports(1)[0]
