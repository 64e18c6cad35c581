"""What one server of the comparison is: how it is started, asked and read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.forms import Call
from benchmarks.serving.model import Model
from benchmarks.serving.processes import Running

Start = Callable[[Model, Path], contextlib.AbstractContextManager[Running]]
Make = Callable[[Model, Sequence[int]], Call]
Read = Callable[[bytes, Mapping[str, str]], list[float] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One server in one role.

    Attributes:
        name: Short, for the command line and the JSON.
        start: Runs it for the length of a block.
        make: Makes a request for some rows.
        read: Reads the probabilities of an answer; None where it gives none (the echo server).
        packages: What of its environment is worth naming with its version.
        environment: Whose pins; None: our own.
        server: Subjects of one server are asked of one and the same process; its own name where it is not said.
    """

    name: str
    start: Start
    make: Make
    read: Read
    packages: tuple[str, ...] = ()
    environment: str | None = None
    server: str = ""

    @property
    def shared(self) -> str:
        """The key of its running server."""
        return self.server or self.name
