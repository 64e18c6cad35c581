"""Joins labels to the predictions they are about, and writes them as Parquet beside them.

    <state>/archive/<model>.labels/date=<date of the prediction>/<name>.parquet
    <state>/archive/waiting-labels.jsonl          labels without a prediction; looked for again when there are new ones

A label of a row that has none is revision 0. One that says the same as the newest is a duplicate and left out; one
that says something else is the next revision, and both are kept: the highest revision of a row holds. Newest is what
the server was told last, whichever of its processes it was told: what comes to light behind a newer label gets a
revision below all others, -1 and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

from lockgate.serving.disk import temporary
from lockgate.serving.log.archive_journal import parquet_files
from lockgate.serving.log.archive_lookup import LABELS, Found, IdRange, Key, find
from lockgate.serving.log.labels import StoredLabel

SUFFIX: Final = ".labels"
WAITING: Final = "waiting-labels.jsonl"
BATCH_LABELS: Final = 20_000  # looked up together: about 20 MB

_DECODER = msgspec.json.Decoder(StoredLabel)


class _Row(msgspec.Struct, frozen=True):
    """What is known of a row that has labels: the newest one's text, when it came, and the bounds of revisions."""

    text: str
    received: datetime
    highest: int
    lowest: int

    def with_label(self, text: str, received: datetime, revision: int) -> _Row:
        """Return the same after one label more."""
        if revision > self.highest:
            return _Row(text, received, revision, min(self.lowest, revision))
        return _Row(self.text, self.received, self.highest, min(self.lowest, revision))


class Joined(msgspec.Struct):
    """What became of some labels.

    Attributes:
        files: Names the new files shall have; they lie at `temporary(name)`.
        joined: Labels in them.
        late: Of these, those that became known after they were due.
        corrected: Of these, those that contradict an earlier one.
        duplicate: Labels that said nothing new.
        expired: Labels that waited too long for a prediction.
        waiting: Labels that go on waiting.
        broken: Lines that are no labels.
    """

    files: list[Path] = msgspec.field(default_factory=list)
    joined: int = 0
    late: int = 0
    corrected: int = 0
    duplicate: int = 0
    expired: int = 0
    waiting: int = 0
    broken: int = 0


class LabelJoin:
    """One pass over labels: new ones, and those that waited.

    What waited is looked for in new files alone; what is new, in all of them.
    """

    def __init__(
        self, archive: Path, name: str, *, window: Callable[[str], timedelta | None], oldest: datetime | None
    ) -> None:
        """Start a pass.

        Args:
            archive: The archive's folder.
            name: Names the files of this pass, once and for all.
            window: Of a model: what became known longer than this after its prediction is late; None: nothing is.
            oldest: A label that was received before and has no prediction is given up; None: none is.
        """
        self.done: Final = Joined()
        self._archive, self._name, self._window, self._oldest = archive, name, window, oldest
        self._rows: dict[Key, _Row] = {}  # that this pass has looked at
        self._writers: dict[Path, pq.ParquetWriter] = {}

    def take(self, lines: Iterable[bytes], files: Sequence[Path]) -> Iterator[bytes]:
        """Join labels, and return the lines of those that go on waiting.

        Args:
            lines: Labels, oldest first.
            files: Parquet files of predictions to look in.
        """
        index = [IdRange(file) for file in files]
        lines = iter(lines)
        while batch := list(islice(lines, BATCH_LABELS)):
            read = [(line, self._read(line)) for line in batch]
            labels = [(line, label) for line, label in read if label is not None]
            found = find(index, {label.prediction_id for _, label in labels})
            about = [(label, found[label.prediction_id, label.row]) for _, label in labels if _key(label) in found]
            self._write(about)
            for line, label in labels:
                if _key(label) not in found:
                    yield from self._wait(line, label)

    def _read(self, line: bytes) -> StoredLabel | None:
        try:
            return _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.done.broken += 1
            return None

    def _wait(self, line: bytes, label: StoredLabel) -> Iterator[bytes]:
        if self._oldest is not None and label.received < self._oldest:
            self.done.expired += 1
        else:
            self.done.waiting += 1
            yield line

    def _write(self, about: Sequence[tuple[StoredLabel, Found]]) -> None:
        by_folder: dict[Path, list[tuple[StoredLabel, Found]]] = {}
        for label, found in about:
            folder = self._archive / f"{found.model}{SUFFIX}" / f"date={found.time.astimezone(UTC):%Y-%m-%d}"
            by_folder.setdefault(folder, []).append((label, found))
        for folder, labels in by_folder.items():
            there = _labelled(folder, {label.prediction_id for label, _ in labels})
            self._rows |= {key: row for key, row in there.items() if key not in self._rows}
            rows = [row for label, found in labels for row in self._row(label, found)]
            if rows:
                self._writer(folder).write_table(pa.Table.from_pylist(rows, schema=LABELS))

    def _row(self, label: StoredLabel, found: Found) -> Iterator[Mapping[str, Any]]:
        text, key = as_text(label.label), _key(label)
        before = self._rows.get(key)
        if before is None:
            revision, self._rows[key] = 0, _Row(text, label.received, 0, 0)
        elif before.text == text:
            self.done.duplicate += 1
            return
        else:
            revision = before.lowest - 1 if label.received < before.received else before.highest + 1
            self._rows[key] = before.with_label(text, label.received, revision)
        window = self._window(found.model)
        late = window is not None and label.label_time - found.time > window
        self.done.joined += 1
        self.done.late += late
        self.done.corrected += revision != 0
        yield {
            "prediction_id": label.prediction_id,
            "row": label.row,
            "label": text,
            "label_number": None if isinstance(label.label, str) else float(label.label),
            "label_time": label.label_time,
            "received": label.received,
            "prediction_time": found.time,
            "late": late,
            "revision": revision,
        }

    def _writer(self, folder: Path) -> pq.ParquetWriter:
        target = folder / f"{self._name}.parquet"
        writer = self._writers.get(target)
        if writer is None:
            folder.mkdir(parents=True, exist_ok=True)
            writer = self._writers[target] = pq.ParquetWriter(temporary(target), LABELS, compression="zstd")
            self.done.files.append(target)
        return writer

    def close(self) -> None:
        """Finish the files; their names are still hidden."""
        for writer in self._writers.values():
            writer.close()


def _labelled(folder: Path, ids: set[str]) -> dict[Key, _Row]:
    """Return the rows of some predictions that have labels."""
    found: dict[Key, _Row] = {}
    ordered, wanted = sorted(ids), pa.array(ids, pa.string())
    for path in sorted(filter(Path.is_file, folder.glob("*.parquet"))):
        columns = ["prediction_id", "row", "label", "received", "revision"]
        for prediction_id, row, label, received, revision in IdRange(path).rows(ordered, wanted, columns):
            before = found.get((prediction_id, row), _Row(label, received, revision, revision))
            found[prediction_id, row] = before.with_label(label, received, revision)
    return found


def as_text(label: str | bool | float) -> str:
    """Return a label's text, the same for one value however it was written.

    >>> as_text(True), as_text(1.0), as_text("1"), as_text(0.5)
    ('true', '1', '1', '0.5')
    """
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def prediction_files(archive: Path) -> list[Path]:
    """Return every Parquet file of predictions, of all models."""
    folders = sorted(path for path in archive.iterdir() if path.is_dir() and not path.name.endswith(SUFFIX))
    return [file for folder in folders for file in parquet_files(folder)]


def _key(label: StoredLabel) -> Key:
    return label.prediction_id, label.row
