"""Keeps the archive small: few files a date, and no more days and bytes than are wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

from lockgate.serving.disk import temporary
from lockgate.serving.log.archive_journal import parquet_files
from lockgate.serving.log.archive_tables import metadata_of
from lockgate.serving.log.segments import segment_files, taken

MERGED_FILES: Final = 16  # this many small files become one
SMALL_BYTES: Final = 32 << 20
MERGED_BYTES: Final = 512 << 20
GROUP_ROWS: Final = 50_000  # of one row group; about 30 MB
FEEDBACK_BYTES: Final = 64 << 20  # ours: some 300,000 words with a short comment; read whole by whoever shows them


class Merge(msgspec.Struct, frozen=True):
    """Small files that became one.

    Attributes:
        target: The name it shall have; it lies at `temporary(target)`.
        sources: The files it replaces.
    """

    target: Path
    sources: Sequence[Path]


def merge(folder: Path) -> Iterator[Merge]:
    """Put the small files of a partition together, those with the same columns, under a hidden name.

    Raises:
        OSError: The disk does not take it.
    """
    small = [
        path for path in sorted(filter(Path.is_file, folder.glob("*.parquet"))) if path.stat().st_size < SMALL_BYTES
    ]
    if len(small) < MERGED_FILES:
        return
    alike: dict[bytes, list[Path]] = {}
    for path in small:
        metadata = metadata_of(path)
        if metadata is not None:
            alike.setdefault(metadata.schema.to_arrow_schema().serialize().to_pybytes(), []).append(path)
    for number, sources in enumerate(alike.values()):
        chosen, size = [], 0
        for path in sources:
            size += path.stat().st_size
            if size > MERGED_BYTES:
                break
            chosen.append(path)
        if len(chosen) >= MERGED_FILES:
            target = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-merged-{number}.parquet"
            _write_together(chosen, target)
            yield Merge(target, chosen)


def _write_together(sources: Sequence[Path], target: Path) -> None:
    """Write the rows of some files as one, in larger groups; the rows of a request stay in one group."""
    schema = pq.read_schema(sources[0])
    with pq.ParquetWriter(temporary(target), schema, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        rows = 0
        for path in sources:
            with pq.ParquetFile(path) as file:
                for index in range(file.num_row_groups):
                    waiting.append(file.read_row_group(index, use_threads=False))
                    rows += len(waiting[-1])
                    if rows >= GROUP_ROWS:
                        writer.write_table(pa.concat_tables(waiting), row_group_size=rows)
                        waiting, rows = [], 0
        if rows:
            writer.write_table(pa.concat_tables(waiting), row_group_size=rows)


class Old(msgspec.Struct, frozen=True):
    """Files that are to go.

    Attributes:
        files: The files, oldest first.
        rows: Rows in them.
        bytes: Their size.
    """

    files: Sequence[Path]
    rows: int
    bytes: int


def outlived(archive: Path, *, oldest: date | None, max_bytes: int | None) -> Old:
    """Return the files that are too old, and the oldest of the rest as long as all together are too large.

    Args:
        archive: The archive's folder.
        oldest: The first date that is kept; None: any.
        max_bytes: The size that is kept; None: any.
    """
    files = sorted(
        ((_date_of(path), path) for folder in archive.iterdir() if folder.is_dir() for path in parquet_files(folder)),
        key=lambda each: (each[0], each[1].name),
    )
    sizes = {path: path.stat().st_size for _, path in files}
    left = sum(sizes.values())
    gone = []
    for day, path in files:
        if (oldest is not None and day < oldest.isoformat()) or (max_bytes is not None and left > max_bytes):
            gone.append(path)
            left -= sizes[path]
    rows = sum(metadata.num_rows for metadata in map(metadata_of, gone) if metadata is not None)
    return Old(gone, rows, sum(sizes[path] for path in gone))


def remove_feedback(folder: Path, *, oldest: date | None, max_bytes: int | None) -> int:
    """Remove segments of feedback that are too old, and the oldest of the rest while all together are too large.

    One that is being written stays.

    Args:
        folder: Holds the segments.
        oldest: The first date that is kept; None: any.
        max_bytes: The size that is kept, never more than `FEEDBACK_BYTES`; None: any.

    Returns:
        How many are gone.
    """
    there = segment_files(folder)
    sizes = [path.stat().st_size for path in there]
    left, gone = sum(sizes), 0
    for path, size in zip(there, sizes, strict=True):
        old = oldest is not None and path.name[:8] < f"{oldest:%Y%m%d}"
        if not old and (max_bytes is None or left <= min(max_bytes, FEEDBACK_BYTES)):
            continue
        with taken(path) as got:
            if got:
                path.unlink()
                left -= size
                gone += 1
    return gone


def size_of(archive: Path) -> int:
    """Return the bytes of the archive's Parquet files."""
    return sum(path.stat().st_size for folder in archive.iterdir() if folder.is_dir() for path in parquet_files(folder))


def remove_empty(archive: Path) -> None:
    """Remove partitions that hold nothing any more."""
    for folder in archive.glob("*/date=*"):
        with contextlib.suppress(OSError):  # it holds something
            folder.rmdir()


def _date_of(path: Path) -> str:
    return path.parent.name.removeprefix("date=")
