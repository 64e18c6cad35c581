"""Simulated traffic in the background of a demo: a process of its own, ended with whoever started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from lockgate.adapters.processes import MARK
from lockgate.adapters.tether import tethered
from lockgate.config import Settings
from lockgate.core.ids import Json, ModelName

QUIET_RPS = 20.0
"""While gates measure: enough for them to see real requests, too little to disturb the load test on two cores. The
rollout plans on the mean of this and `ROLLOUT_RPS`; with less it would announce itself slower than it will be."""
ROLLOUT_RPS = 140.0
ENTITIES = 20_000
"""Ours: so many clients that some 2,000 of them show up in each half minute at `ROLLOUT_RPS`."""
_LONGEST_S = 3600.0  # whatever else fails, it ends
_GRACE_S = 15.0


class LiveTraffic:
    """Runs `lockgate simulate` in the background, one at a time.

    On Linux it dies with this process even when that is killed; elsewhere `lockgate down` ends what is left.
    """

    def __init__(self, settings: Settings, model: ModelName) -> None:
        """Take whom to ask; nothing is started yet."""
        self._settings, self._model = settings, model
        self._process: subprocess.Popen[bytes] | None = None
        self._seed = 0

    def __enter__(self) -> Self:
        """Return itself; what runs at the end of the block is ended."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what runs."""
        self.end()

    @property
    def log(self) -> Path:
        """What the process says."""
        return self._settings.logs / "simulate.log"

    @property
    def problem(self) -> str | None:
        """Why there is no traffic although there should be: its last words; None where there is."""
        if self._process is None or self._process.poll() is None:
            return None
        told = self._told()
        words = str(told.get("message") or "") or self.log.read_text(errors="replace").strip()[-300:]
        return f"{words} (exit code {self._process.returncode}, {self.log})"

    def ask(self, rate_rps: float) -> None:
        """Ask production at this rate from now on, about the next batch to be landed; what was asked before ends."""
        self.end()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._seed += 1  # others ask now, not the same clients in the same order once more
        options = ["--rate", f"{rate_rps:g}", "--entities", f"{ENTITIES}", "--seed", f"{self._seed}"]
        options += ["--duration", f"{_LONGEST_S:g}", "--json"]
        command = [sys.executable, "-m", "lockgate.cli", "simulate", self._model, *options]
        with self.log.open("wb") as log, self._summary.open("wb") as summary:
            self._process = subprocess.Popen(
                tethered(command),
                cwd=self._settings.project,
                env={**os.environ, MARK: str(self._settings.home / "stack")},
                stdin=subprocess.DEVNULL,
                stdout=summary,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends this
            )

    def end(self) -> Mapping[str, Json]:
        """End what runs, and return its summary; empty where there is none."""
        process, self._process = self._process, None
        if process is None:
            return {}
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return self._told()

    def _told(self) -> Mapping[str, Json]:
        with contextlib.suppress(OSError, ValueError):
            told = json.loads(self._summary.read_text())
            return told if isinstance(told, dict) else {}
        return {}

    @property
    def _summary(self) -> Path:
        return self._settings.logs / "simulate.json"


def summary_words(told: Mapping[str, Json]) -> str:
    """Say in one line what clients saw of some traffic; empty where nobody told.

    >>> summary_words({"due": 9, "unsent": 0, "answered": 9, "errors": 0, "arms": {"champion": 9}, "p95_ms": 2.1})
    '9 requests, 9 answered (champion 9), 0 errors, p95 2.1 ms'
    """
    arms = told.get("arms")
    if not isinstance(arms, Mapping):
        return ""
    by = ", ".join(f"{arm} {n:,}" for arm, n in arms.items())
    asked = f"{told.get('due'):,} requests" + (f" ({told['unsent']:,} not sent in time)" if told.get("unsent") else "")
    p95 = f", p95 {told['p95_ms']:.1f} ms" if told.get("p95_ms") is not None else ""
    return f"{asked}, {told.get('answered'):,} answered ({by}), {told.get('errors'):,} errors{p95}"
