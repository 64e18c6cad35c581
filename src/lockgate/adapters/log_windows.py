"""From production's log and labels to one summary a day and bundle, incrementally, with DuckDB.

    files of the log (`log_windows_files`) -> days that changed -> their rows (`log_windows_day`)
      -> summaries (`log_windows_bundle`, `log_windows_labels`) -> `<home>/monitoring/<model>/` (`log_windows_state`)

A day is read again when its files, its labels or what is asked of them has changed, and only then. A day whose rows
retention has deleted keeps its summary. A run may be killed at any instant and begun again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from lockgate.adapters.log_windows_bundle import BundleDay, Counted
from lockgate.adapters.log_windows_day import Day, DayFiles
from lockgate.adapters.log_windows_files import LogFiles, look, named, segment_rows
from lockgate.adapters.log_windows_newest import days_of_newest, load_newest
from lockgate.adapters.log_windows_state import Known, KnownDay, SummaryStore
from lockgate.config import Settings
from lockgate.core.contract import ModelContract
from lockgate.core.ids import Digest, ModelName, digest_of
from lockgate.core.monitoring.summary import SCHEMA_VERSION, DaySummary
from lockgate.core.monitoring.summary_bins import FrozenBins, frozen_bins
from lockgate.core.records import read_record
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import IntegrityError, TransientError
from lockgate.spec_file import read_spec

if TYPE_CHECKING:
    import duckdb

logger = logging.getLogger(__name__)

MEMORY: Final = "1500MB"  # of DuckDB's buffers: with Python and Parquet's own beside it stays below 2 GiB
THREADS: Final = 2
TRIES: Final = 9
"""How often a reading is begun again because the archive has replaced its files. Ours: it does so once a minute."""
AGAIN_S: Final = 0.2  # before the second try, and so much longer before each later one: a pass takes seconds


def summarise(
    settings: Settings, model: ModelName, *, since: date | None = None, spec: ReleaseSpec | None = None
) -> list[DaySummary]:
    """Bring the summaries of a model's production traffic up to date, and return them by day and bundle.

    Args:
        settings: Where everything lies.
        model: Whose.
        since: The first day (UTC); None: all.
        spec: The model's; None: the one of the checkout.

    Raises:
        TransientError: The logs cannot be read now, or another run is at it.
        IntegrityError: A bundle's reference profile, or a file of the archive, is damaged.
        ConfigError: The model has no spec, or one that is wrong.
    """
    spec = read_spec(settings.spec_file(model)) if spec is None else spec
    store = SummaryStore(settings.home / "monitoring" / model)
    with store.held():
        return _whole(settings, spec, model, store, since)


def _whole(
    settings: Settings, spec: ReleaseSpec, model: ModelName, store: SummaryStore, since: date | None
) -> list[DaySummary]:
    import duckdb

    for left in reversed(range(TRIES)):
        try:
            run = _Run(settings, spec, model, store)
            with run:
                return run.summaries("" if since is None else since.isoformat())
        except (FileNotFoundError, duckdb.IOException) as replaced:
            if not left:
                raise TransientError(
                    f"the logs of {model} cannot be read now ({replaced}); see that {settings.serving('production')} "
                    "can be read and that there is room on the disk, and run it again"
                ) from replaced
            time.sleep(AGAIN_S * (TRIES - left))
        except duckdb.OutOfMemoryException as full:
            raise TransientError(
                f"a day of {model} needs more than {MEMORY} and the disk under {store.scratch} has no room for the "
                f"rest: {full}; make room there, and run it again"
            ) from full
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
            raise  # a query of ours is wrong, not what it reads
        except duckdb.Error as broken:
            raise IntegrityError(
                f"{run.reading} of the archive of {model} holds a file that cannot be read ({broken}); move that file "
                f"out of {settings.serving('production') / 'archive'} and run it again: its rows are then missing"
            ) from broken
    raise AssertionError


class _Run:
    """One reading of a model's logs."""

    def __init__(self, settings: Settings, spec: ReleaseSpec, model: ModelName, store: SummaryStore) -> None:
        self._settings, self._spec, self._model, self._store = settings, spec, model, store
        self._files: LogFiles = look(settings.serving("production"), model)
        self._known, self._fresh = store.known(), dict[Path, Mapping[str, list[Path]]]()
        self._kept = store.read()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._newest_key = ""
        self.reading = "a day"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def summaries(self, since: str) -> list[DaySummary]:
        """Return all summaries from a day on; those that are not up to date are made and kept."""
        segments = {path: self._days_of(path, size) for path, size in self._files.segments.items()}
        newest = self._newest(segments)
        days = {*self._files.rows, *self._files.labels, *(day for found in segments.values() for day in found)}
        known = dict(self._known.days)
        for day in sorted(each for each in days if each >= since):
            here = {path for path, found in segments.items() if day in found}
            files = self._fingerprint(day, here, newest.get(day))
            if self._is_done(day, files):
                continue
            digests = self._read(day, here, files, day in newest)
            known[day] = KnownDay(files=files, digests=digests)
            self._remember(known, segments, newest)
        self._remember(known, segments, newest)
        return [self._kept[key] for key in sorted(self._kept) if key[0] >= since]

    def _is_done(self, day: str, files: str) -> bool:
        known = self._known.days.get(day)
        return known is not None and known.files == files and all((day, each) in self._kept for each in known.digests)

    def _fingerprint(self, day: str, segments: Iterable[Path], newest: str | None) -> str:
        files = self._files
        return digest_of(
            {
                "schema_version": SCHEMA_VERSION,
                "rows": named(files.rows.get(day, {})),
                "labels": named(files.labels.get(day, {})),
                "segments": named({path: files.segments[path] for path in segments}),
                "newest": newest,
                "slices": self._spec.slices,
                "slow_ms": self._spec.monitoring.slo.latency_ms,
            }
        )

    def _read(self, day: str, segments: Iterable[Path], files: str, has_newest: bool) -> tuple[str, ...]:
        """Make a day's summaries, keep them, and return their bundles."""
        self.reading = f"date={day}"
        fresh = [path for segment in sorted(segments) for path in self._rows_of(segment).get(day, ())]
        rows, labels = self._files.rows.get(day, {}), self._files.labels.get(day, {})
        there = Day(self._duckdb(), DayFiles(archived=[*rows], fresh=fresh, labels=[*labels], has_newest=has_newest))
        made = []
        for digest in map(Digest, there.digests()):
            contract, bins = self._bundle(digest)
            how = Counted(
                model=self._model,
                digest=digest,
                day=day,
                files=files,
                contract=contract,
                bins=bins,
                slices=self._spec.slices,
                slow_us=1000.0 * self._spec.monitoring.slo.latency_ms,
            )
            made.append(BundleDay(there, how).summary())
        return self._keep(day, files, made)

    def _keep(self, day: str, files: str, made: Sequence[DaySummary]) -> tuple[str, ...]:
        """Keep a day's summaries, the ones from before where the log has lost rows of them since."""
        before = [self._kept[key] for key in sorted(self._kept) if key[0] == day]
        if _size(made) < _size(before):
            rows = _size(before)[0]
            logger.info("%s of %s: the log has lost rows; the summaries of all %d are kept", day, self._model, rows)
            made = [replace(each, files=files) for each in before]
        for each in made:
            self._kept[day, each.digest] = each
            self._store.put(each)
        return tuple(each.digest for each in made)

    def _bundle(self, digest: Digest) -> tuple[ModelContract | None, FrozenBins | None]:
        folder = self._settings.bundles / digest
        try:
            told = [json.loads((folder / name).read_bytes()) for name in ("contract.json", "reference_profile.json")]
        except FileNotFoundError:
            logger.warning("bundle %s is not in %s: its requests alone are counted", digest, folder.parent)
            return None, None
        except ValueError as broken:
            raise IntegrityError(f"{folder} is damaged ({broken}); restore it, `lockgate verify` says what") from broken
        contract = read_record(ModelContract, told[0])
        return contract, frozen_bins(contract, told[1])

    # -- what is not archived yet ------------------------------------------------------------------------------------

    def _days_of(self, segment: Path, size: int) -> tuple[str, ...]:
        known = self._known.segments.get(f"{segment.name}:{size}")
        return tuple(self._rows_of(segment)) if known is None else known

    def _rows_of(self, segment: Path) -> Mapping[str, list[Path]]:
        if segment not in self._fresh:
            self._fresh[segment] = segment_rows(segment, self._store.scratch / "segments")
        return self._fresh[segment]

    def _newest(self, segments: Iterable[Path]) -> Mapping[str, str]:
        """Return the fingerprint of labels that are not archived yet, by day; they are then in DuckDB's table."""
        files = self._files
        if not any(files.newest_labels.values()):
            return {}
        everything = {path: size for day in files.rows.values() for path, size in day.items()}
        self._newest_key = digest_of([named(each) for each in (files.newest_labels, everything, files.segments)])
        load_newest(self._duckdb(), files.newest_labels)
        if self._newest_key == self._known.newest_key:
            return self._known.newest
        fresh = [path for each in segments for found in self._rows_of(each).values() for path in found]
        return days_of_newest(self._duckdb(), [*everything, *fresh])

    def _remember(
        self, days: Mapping[str, KnownDay], segments: Mapping[Path, tuple[str, ...]], newest: Mapping[str, str]
    ) -> None:
        known = Known(
            days=dict(days),
            segments={f"{path.name}:{self._files.segments[path]}": found for path, found in segments.items()},
            newest_key=self._newest_key,
            newest=newest,
        )
        if known != self._known:
            self._store.put_known(known)
            self._known = known

    def _duckdb(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = connected(self._store.scratch)
        return self._connection


def _size(day: Sequence[DaySummary]) -> tuple[int, int]:
    """Return rows and labelled rows of all bundles: what of a day's log only retention makes less."""
    return sum(each.rows for each in day), sum(each.labels.n + each.unusable_labels for each in day)


def connected(scratch: Path) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB in memory that keeps to its bounds, fetches nothing from anywhere and spills into a folder."""
    import duckdb

    scratch.mkdir(parents=True, exist_ok=True)
    return duckdb.connect(
        config={
            "memory_limit": MEMORY,
            "threads": THREADS,
            "temp_directory": str(scratch / "duckdb"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": False,
        }
    )
