"""The servers of one run: started once, asked again and again, ended together."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import closed_loop
from benchmarks.serving.environments import Missing
from benchmarks.serving.machine import say
from benchmarks.serving.model import Model
from benchmarks.serving.processes import Running, Unusable
from benchmarks.serving.subject import Subject
from benchmarks.serving.wrk import Wrong


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long everything is measured.

    Attributes:
        rounds: Turns of each server under the closed loop.
        turn_s: Length of one.
        rows_rounds: Turns of a thousand rows.
        open_rounds: Turns of the open loop.
        open_s: Length of one.
        starts: How often a start is measured.
    """

    rounds: int = 7
    turn_s: float = 4.0
    rows_rounds: int = 5
    open_rounds: int = 3
    open_s: float = 20.0
    starts: int = 7


QUICK = Lengths(rounds=1, turn_s=1.0, rows_rounds=1, open_rounds=1, open_s=2.0, starts=2)


@dataclass
class Session:
    """The servers that run, and what was found."""

    model: Model
    lengths: Lengths
    folder: Path
    stack: contextlib.ExitStack
    running: dict[str, Running] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def start(self, subject: Subject) -> Running | None:
        """Start a subject's server, unless another subject's is the same; None where it cannot be had."""
        if subject.shared in self.running:
            return self.running[subject.shared]
        folder = self.folder / subject.shared
        folder.mkdir()
        try:
            running = self.stack.enter_context(subject.start(self.model, folder))
            closed_loop.check_many(subject, self.model, running.port)
        except (Missing, Unusable, Wrong, OSError, subprocess.SubprocessError) as why:
            say(f"{subject.name} is missing: {why}")
            self.missing[subject.name] = str(why)
            return None
        self.running[subject.shared], self.folders[subject.shared] = running, folder
        return running
