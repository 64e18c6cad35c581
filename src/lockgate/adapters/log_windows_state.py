"""The summaries on disk, and what they were made of: `<home>/monitoring/<model>/<day>-<digest12>.json`, whole or not.

Beside them `.known.json` says of each day that was read to its end what it was made of. It is written after the day's
summaries, so that a run that was killed between two of them is done again. Nothing but work is lost with it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from lockgate.core.ids import Json, canonical_json, digest_of, to_json
from lockgate.core.monitoring.summary import SCHEMA_VERSION, DaySummary
from lockgate.core.records import read_record
from lockgate.errors import IntegrityError, TransientError
from lockgate.serving.disk import alone, write_synced

logger = logging.getLogger(__name__)

KNOWN: Final = ".known.json"
LOCK: Final = ".lock"
SCRATCH: Final = ".scratch"
WAIT_S: Final = 60.0  # ours: as long as one run may take; the next one by schedule is soon enough
PAUSE_S: Final = 0.2
CHECK: Final = "check"
"""A summary's own sha256 beside its fields: a file that was cut or changed is no summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDay:
    """A day that was read.

    Attributes:
        files: Fingerprint of what it was made of.
        digests: Its bundles.
    """

    files: str
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What runs before have found out.

    Attributes:
        days: By day.
        segments: Days of the rows of a segment, by `name:bytes`.
        newest_key: Of what the labels that are not archived yet were looked up in.
        newest: Fingerprint of these labels, by day of their prediction.
    """

    days: Mapping[str, KnownDay] = field(default_factory=dict)
    segments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    newest_key: str = ""
    newest: Mapping[str, str] = field(default_factory=dict)


class SummaryStore:
    """The summaries of one model; its caller holds `held`."""

    def __init__(self, folder: Path, *, wait_s: float = WAIT_S) -> None:
        """Take the folder; it is made when it is held.

        Args:
            folder: Of the model.
            wait_s: How long `held` waits for another run.
        """
        self._folder, self._wait_s = folder, wait_s

    @property
    def scratch(self) -> Path:
        """A folder for what is not kept; empty at the beginning of a run."""
        return self._folder / SCRATCH

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one who summarises, for the length of a block.

        Raises:
            TransientError: Another one is at it for too long, or the folder cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            end = time.monotonic() + self._wait_s
            while True:
                with alone(self._folder / LOCK) as is_alone:
                    if is_alone:
                        self._clean()
                        self.scratch.mkdir(mode=0o700)  # it will hold inputs of requests
                        try:
                            yield
                        finally:
                            self._clean()
                        return
                if time.monotonic() > end:
                    raise TransientError(
                        f"another run is summarising {self._folder.name} for more than {self._wait_s:.0f} s; "
                        "try again when it is done"
                    )
                time.sleep(PAUSE_S)
        except OSError as broken:
            raise TransientError(
                f"{self._folder} cannot be used now: {broken}; make room or mend its permissions, and run it again"
            ) from broken

    def _clean(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)  # of this run, or of one that was killed

    def read(self) -> dict[tuple[str, str], DaySummary]:
        """Return all summaries by day and bundle; what is damaged is said and left out, to be made again."""
        found: dict[tuple[str, str], DaySummary] = {}
        for path in sorted(self._folder.glob("????-??-??-*.json")):
            try:
                summary = _read(path)
            except (OSError, ValueError, IntegrityError) as broken:
                logger.warning("%s is damaged; it is made again where the log still holds its day: %s", path, broken)
                continue
            found[summary.day, summary.digest] = summary
        return found

    def put(self, summary: DaySummary) -> None:
        """Keep a summary."""
        told = {each.name: to_json(getattr(summary, each.name)) for each in fields(DaySummary)}
        write_synced(self._folder / _name(summary), canonical_json({**told, CHECK: digest_of(told)}))

    def known(self) -> Known:
        """Return what is known; nothing where it is damaged."""
        try:
            return read_record(Known, json.loads((self._folder / KNOWN).read_bytes()))
        except FileNotFoundError:
            return Known()
        except (OSError, ValueError, IntegrityError) as broken:
            logger.warning("%s is damaged; all days are read again: %s", self._folder / KNOWN, broken)
            return Known()

    def put_known(self, known: Known) -> None:
        """Keep what is known."""
        write_synced(self._folder / KNOWN, canonical_json(known))


def _name(summary: DaySummary) -> str:
    return f"{summary.day}-{summary.digest[:12]}.json"


def _read(path: Path) -> DaySummary:
    told: Json = json.loads(path.read_bytes())
    if not isinstance(told, Mapping):
        raise IntegrityError("it holds no object")
    content = {name: value for name, value in told.items() if name != CHECK}
    if told.get(CHECK) != digest_of(content):
        raise IntegrityError("its bytes are not what was written")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise IntegrityError(f"it is of version {content.get('schema_version')}, this program writes {SCHEMA_VERSION}")
    summary = read_record(DaySummary, content)
    if _name(summary) != path.name:
        raise IntegrityError(f"it holds what belongs into {_name(summary)}")
    return summary
