"""One day of a model's log in DuckDB: which bundles had traffic, and what each one's summary is made of.

day_rows (view)     all rows of the day, a request once even if it lies in a segment and in the archive
homes (table)       by request that fell back, the bundle of the arm that was chosen
truth               the label that holds of each row
traffic, answers    of one bundle: rows that count; rows it answered itself
judged (table)      of one bundle: answered rows with a label
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lockgate.adapters import log_windows_sql as sql

if TYPE_CHECKING:
    import duckdb

FACTS: Final[Mapping[str, tuple[str, str]]] = {
    "logged": ("time", "TIMESTAMPTZ"),
    "pid": ("prediction_id", "VARCHAR"),
    "part": ("row", "INTEGER"),
    "digest": ("digest", "VARCHAR"),
    "arm": ("arm", "VARCHAR"),
    "chosen": ("chosen", "VARCHAR"),
    "kind": ("kind", "VARCHAR"),
    "fell": ("fallback", "BOOLEAN"),
    "has_inputs": ("has_inputs", "BOOLEAN"),
    "flags": ("flags", "VARCHAR[]"),
    "latency": ("latency_us", "BIGINT"),
}
_LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "pid": ("prediction_id", "VARCHAR"),
    "part": ("row", "INTEGER"),
    "label": ("label", "VARCHAR"),
    "number": ("label_number", "DOUBLE"),
    "known": ("label_time", "TIMESTAMPTZ"),
    "revision": ("revision", "BIGINT"),
}
NEWEST_LABELS: Final = "newest_labels"
"""The table of labels that no file of the archive holds yet: pid, part, label, number, known, revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFiles:
    """What a day is read from.

    Attributes:
        archived: Parquet of the archive.
        fresh: Parquet of segments that are not archived yet.
        labels: Parquet of labels.
        has_newest: Whether `NEWEST_LABELS` holds labels of this day.
    """

    archived: Sequence[Path]
    fresh: Sequence[Path]
    labels: Sequence[Path]
    has_newest: bool


class Day:
    """One day; its tables replace those of the day before."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, files: DayFiles) -> None:
        """Look at the files' columns, and settle which bundle each request belongs to.

        Raises:
            duckdb.Error: The files cannot be read, or have left meanwhile.
            OSError: Likewise.
        """
        self._connection, self._files = connection, files
        self._archived, self._fresh = alike(files.archived), alike(files.fresh)
        self.columns = frozenset(name for group in (*self._archived, *self._fresh) for name in group)
        if self._archived and self._fresh:
            ids = self._union(self._fresh, {"pid": FACTS["pid"], "kind": FACTS["kind"]})
            self.run(f"CREATE OR REPLACE TEMP TABLE fresh_ids AS SELECT DISTINCT pid FROM ({ids}) WHERE {sql.SEEN}")
        self._is_empty = not self._archived and not self._fresh
        self._has_homes = not self._is_empty and self._find_homes()
        self.has_labels = not self._is_empty and self._find_truth()

    def run(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        return self._connection.execute(query).fetchall()

    def digests(self) -> tuple[str, ...]:
        """Return the bundles that had traffic."""
        if self._is_empty:
            return ()
        found = self.run(f"SELECT DISTINCT digest FROM ({self._at_home(FACTS)}) ORDER BY digest")
        return tuple(str(digest) for (digest,) in found)

    def rows_of(self, digest: str, wanted: Mapping[str, tuple[str, str]]) -> str:
        """Return the query for a bundle's traffic, with these columns beside the log's own facts."""
        return f"SELECT * FROM ({self._at_home({**FACTS, **wanted})}) WHERE digest = {sql.text(digest)}"

    def _rows(self, wanted: Mapping[str, tuple[str, str]]) -> str:
        parts = [self._union(self._fresh, wanted)] if self._fresh else []
        if self._archived:
            archived = self._union(self._archived, wanted)
            if self._fresh:
                archived = f"SELECT * FROM ({archived}) AS a WHERE a.pid NOT IN (SELECT pid FROM fresh_ids)"
            parts.append(archived)
        return f"SELECT * FROM ({' UNION ALL '.join(parts)}) WHERE {sql.SEEN}"

    def _at_home(self, wanted: Mapping[str, tuple[str, str]]) -> str:
        """Return the query for all traffic, with the bundle that each row belongs to as its `digest`."""
        rows = self._rows(wanted)
        if not self._has_homes:
            return rows
        home = "r.* REPLACE (coalesce(h.home, r.digest) AS digest)"
        return f"SELECT {home} FROM ({rows}) AS r LEFT JOIN homes AS h ON r.pid = h.pid"

    @staticmethod
    def _union(groups: Mapping[tuple[str, ...], Sequence[Path]], wanted: Mapping[str, tuple[str, str]]) -> str:
        return " UNION ALL ".join(sql.source(paths, columns, wanted) for columns, paths in groups.items())

    def _find_homes(self) -> bool:
        """Settle whose requests those are that fell back: of the bundle that the chosen arm had then.

        An arm has one bundle at a time; a minute is told by its last row. The arm's own rows before say which, else
        the first after; an arm without any that day leaves them with the bundle that answered.
        """
        rows = self._rows(FACTS)
        if not self.run(f"SELECT 1 FROM ({rows}) WHERE fell AND chosen IS NOT NULL LIMIT 1"):
            return False
        minute = "epoch_us(logged) // 60000000"
        self.run(
            "CREATE OR REPLACE TEMP TABLE arms AS "
            f"SELECT arm, {minute} AS minute, arg_max(digest, logged) AS home FROM ({rows}) WHERE NOT fell GROUP BY ALL"
        )
        self.run(
            "CREATE OR REPLACE TEMP TABLE homes AS SELECT f.pid, coalesce(before.home, first.home) AS home FROM "
            f"(SELECT DISTINCT pid, chosen, {minute} AS minute FROM ({rows}) WHERE fell AND chosen IS NOT NULL) AS f "
            "ASOF LEFT JOIN arms AS before ON f.chosen = before.arm AND f.minute >= before.minute "
            "LEFT JOIN (SELECT arm, arg_min(home, minute) AS home FROM arms GROUP BY arm) AS first "
            "ON f.chosen = first.arm"
        )
        return True

    def _find_truth(self) -> bool:
        """Settle which label of each row holds: the highest revision, those not archived yet after all others."""
        files = self._files
        told = [self._union(alike(files.labels), _LABELS)] if files.labels else []
        if files.has_newest:
            told.append(f"SELECT {', '.join(_LABELS)} FROM {NEWEST_LABELS}")
        if not told:
            return False
        union = " UNION ALL ".join(told)
        self.run("DROP VIEW IF EXISTS truth")
        self.run("DROP TABLE IF EXISTS truth_kept")
        if not files.has_newest and self.run(f"SELECT max(abs(revision)) FROM ({union})")[0][0] in (0, None):
            self.run(f"CREATE TEMP VIEW truth AS {union}")  # each row has one: there is nothing to sort out
            return True
        self.run(
            "CREATE TEMP TABLE truth_kept AS SELECT pid, part, arg_max(struct_pack(label, number, known), revision) AS "
            f"held FROM ({union}) GROUP BY pid, part"
        )
        self.run("CREATE TEMP VIEW truth AS SELECT pid, part, held.label, held.number, held.known FROM truth_kept")
        return True


def alike(paths: Sequence[Path]) -> dict[tuple[str, ...], list[Path]]:
    """Return files by their columns, in the files' order; one that somebody broke is said and left out."""
    from lockgate.serving.log.archive_tables import metadata_of

    groups: dict[tuple[str, ...], list[Path]] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(path)  # it was replaced meanwhile
        metadata = metadata_of(path)
        if metadata is not None and metadata.num_rows:
            groups.setdefault(tuple(metadata.schema.to_arrow_schema().names), []).append(path)
    return groups
