"""Labels that the archive has not joined yet, and the days of the predictions they are about."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lockgate.adapters import log_windows_sql as sql
from lockgate.adapters.log_windows_day import FACTS, NEWEST_LABELS, alike
from lockgate.core.ids import digest_of

if TYPE_CHECKING:
    import duckdb

logger = logging.getLogger(__name__)

AT_MOST: Final = 500_000  # ours: about 100 MB; the archive joins what is beyond within minutes
AFTER_ARCHIVED: Final = 1 << 40  # a revision that no archived label has
_DAY_US: Final = 86_400_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def load_newest(connection: duckdb.DuckDBPyConnection, files: Iterable[Path]) -> None:
    """Put labels of files of JSON lines into the table `NEWEST_LABELS`, of a row the one that came last alone.

    Half a line at the end is left out, and so is what is no label: the archive counts it.

    Raises:
        FileNotFoundError: A file was archived meanwhile.
    """
    import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published

    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for row in _labels(files):
        if len(rows) >= AT_MOST:
            logger.warning("more than %d labels wait for the archive; the others are seen when it has run", AT_MOST)
            break
        key = row["pid"], row["part"]
        if key not in rows or row["received"] >= rows[key]["received"]:
            rows[key] = row
    schema = pa.schema({
        "pid": pa.string(),
        "part": pa.int32(),
        "label": pa.string(),
        "number": pa.float64(),
        "known": pa.timestamp("us", "UTC"),
        "revision": pa.int64(),
    })  # fmt: skip
    connection.register("newest_rows", pa.Table.from_pylist([*rows.values()], schema=schema))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {NEWEST_LABELS} AS SELECT * FROM newest_rows")
    connection.unregister("newest_rows")


def days_of_newest(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> dict[str, str]:
    """Return a fingerprint of the labels of `NEWEST_LABELS`, by day of the row they are about.

    Args:
        connection: Holds the table.
        paths: Parquet of all rows they may be about.

    Raises:
        duckdb.Error: The files cannot be read, or have left meanwhile.
    """
    wanted = {name: FACTS[name] for name in ("pid", "part", "logged", "kind")}
    groups = alike(paths)
    if not groups:
        return {}
    rows = " UNION ALL ".join(sql.source(each, columns, wanted) for columns, each in groups.items())
    found = connection.execute(
        f"SELECT DISTINCT epoch_us(r.logged) // {_DAY_US}, n.pid, n.part, n.label, n.number, epoch_us(n.known) "
        f"FROM {NEWEST_LABELS} AS n JOIN (SELECT * FROM ({rows}) WHERE {sql.SEEN}) AS r "
        "ON n.pid = r.pid AND n.part = r.part ORDER BY ALL"
    ).fetchall()
    by_day: dict[int, list[Any]] = {}
    for day, *label in found:
        by_day.setdefault(day, []).append(label)
    return {(_EPOCH + timedelta(days=day)).date().isoformat(): digest_of(labels) for day, labels in by_day.items()}


def _labels(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    import msgspec

    from lockgate.serving.log.archive_labels import as_text
    from lockgate.serving.log.labels import StoredLabel

    decoder = msgspec.json.Decoder(StoredLabel)
    for path in files:
        with path.open("rb") as file:
            for place, line in enumerate(file):
                try:
                    told = decoder.decode(line) if line.endswith(b"\n") else None
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
                if told is not None:
                    yield {
                        "pid": told.prediction_id,
                        "part": told.row,
                        "label": as_text(told.label),
                        "number": None if isinstance(told.label, str) else float(told.label),
                        "known": told.label_time,
                        "revision": AFTER_ARCHIVED + place,
                        "received": told.received,
                    }
