"""The production server with something wrong in it: `python -m lockgate.selftest.bad_server --leak 40 -- OPTIONS`.

    --leak N     N megabytes a second are taken and never given back
    --dies-after N   the process ends after N seconds, without a word

Everything else is the real server's, its options after `--`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

_TICK_S = 0.05
_STARTING_S = 0.5
"""The real server is ready by then; its start is not what is under test."""


def leak(megabytes_a_second: float) -> None:
    """Take memory and keep it, as long as the process lives."""
    kept = []
    while True:
        time.sleep(_TICK_S)
        kept.append(os.urandom(16) * int(megabytes_a_second * 65_536 * _TICK_S))


def die(after_s: float) -> None:
    """End the process."""
    time.sleep(_STARTING_S + after_s)
    os._exit(1)


_FAULTS: dict[str, Callable[[float], None]] = {"--leak": leak, "--dies-after": die}


def main(argv: Sequence[str]) -> int:
    """Serve with a fault; see the module."""
    from lockgate.serving.__main__ import main as serve

    option, amount, _, *rest = argv
    threading.Thread(target=_FAULTS[option], args=(float(amount),), name="fault", daemon=True).start()
    return serve(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
