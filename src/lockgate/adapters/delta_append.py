"""Adding files to a Delta table, several in one commit: what the table holds is read once, not once a file.

A commit costs the reading of every key and every file of the table. A landing folder of thousands of small files
would pay that thousands of times, each more than the one before; in groups it is paid once a group.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published

from lockgate.adapters.durable_files import room_for
from lockgate.adapters.table_reading import whole_files
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, TransientError
from lockgate.ports import Batch

if TYPE_CHECKING:
    from deltalake import DeltaTable

BATCH = "_lockgate_batch"
"""Technical column of the table: the ordinal of the batch that brought the row, from 1."""
MOST_FILES = 500
"""Files in one commit. Ours: the commit's own record names each, and a crash repeats at most so many."""
MOST_S = 60.0
"""How long files are gathered for one commit. Ours: each may need a process of its own that prepares its rows."""
MOST_ROWS = 1_000_000
"""Rows in one commit. Ours: they are held in memory; a file of more is a commit of its own."""


class Appending:
    """One table while a group of files is added to it; its caller holds the table's lock.

    Args:
        path: Where the table lies; it may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._table = open_table(path)
        self._added: list[tuple[Batch, pa.Table]] = []
        self._kept_keys: dict[tuple[str, ...], pd.MultiIndex] = {}
        self._new_keys: set[Any] = set()
        self.columns: pa.Schema | None = None if self._table is None else _columns_of(self._table)
        self._widened = False
        self._began = time.monotonic()

    @property
    def full(self) -> bool:
        """Whether what was added should be written before more is."""
        rows = sum(added.num_rows for _, added in self._added)
        late = time.monotonic() - self._began >= MOST_S
        return self._widened or late or len(self._added) >= MOST_FILES or rows >= MOST_ROWS

    def holds(self, batch: Batch) -> bool:
        """Tell whether the table, or this group, has that content."""
        if any(added.sha256 == batch.sha256 for added, _ in self._added):
            return True
        return self._table is not None and self._table.transaction_version(batch.sha256) is not None

    def version_of(self, batch: Batch) -> int | None:
        """Return the version that first held a batch, while the table's history reaches back to it."""
        commits: Sequence[Mapping[str, Any]] = [] if self._table is None else self._table.history()
        found = (c for c in commits if batch.sha256 in str(c.get("lockgate.sha256", "")).split(","))
        return next((int(c["version"]) for c in found), None)

    def add(self, batch: Batch, rows: pa.Table, spec: ReleaseSpec) -> None:
        """Add a file's rows, in the table's form; nothing is written yet.

        Raises:
            BadInput: It repeats a key of the table or of this group.
        """
        keys = pd.MultiIndex.from_frame(rows.select(list(spec.data.key)).to_pandas())
        self._refuse_repeats(keys, spec)
        self._new_keys.update(keys.tolist())
        self._widened = self.columns is not None and rows.schema.names != self.columns.names
        self.columns = self.columns or rows.schema
        self._added.append((batch, rows))

    def _refuse_repeats(self, keys: pd.MultiIndex, spec: ReleaseSpec) -> None:
        old = self._old_keys(tuple(spec.data.key))
        repeated = 0 if old is None else int((old.get_indexer(keys) >= 0).sum())
        repeated += sum(key in self._new_keys for key in keys) if self._new_keys else 0
        if repeated:
            raise BadInput(
                f"{repeated} of its {len(keys)} rows have a key ({', '.join(spec.data.key)}) that the table already "
                "holds; rows are ingested once: land only new ones",
                repeated=repeated,
            )

    def _old_keys(self, names: tuple[str, ...]) -> pd.MultiIndex | None:
        if self._table is None:
            return None
        if names not in self._kept_keys:
            frame = _columns_read(self._table, names).to_pandas()
            self._kept_keys[names] = pd.MultiIndex.from_frame(frame).unique()
        return self._kept_keys[names]

    def write(self) -> int | None:
        """Write what was added in one commit, and return its version; None when nothing was."""
        from deltalake import CommitProperties, Transaction, write_deltalake

        if not self._added:
            return None
        first = self._last_ordinal() + 1
        marked = [
            rows.append_column(BATCH, pa.array([first + at] * rows.num_rows, pa.int64()))
            for at, (_, rows) in enumerate(self._added)
        ]
        batches = [batch for batch, _ in self._added]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with room_for(f"the rows of {batches[0].name}", self._path), answering(self._path):
            write_deltalake(
                self._path,
                pa.concat_tables(marked, promote_options="default"),
                mode="append",
                schema_mode="merge",
                commit_properties=CommitProperties(
                    custom_metadata={
                        "lockgate.sha256": ",".join(batch.sha256 for batch in batches),
                        "lockgate.batch": batches[0].name if len(batches) == 1 else f"{len(batches)} files",
                    },
                    app_transactions=[Transaction(batch.sha256, first + at) for at, batch in enumerate(batches)],
                ),
            )
        table = open_table(self._path)
        if table is None:
            raise TransientError(f"the table at {self._path} is not there after a commit to it; what else writes it?")
        return table.version()

    def _last_ordinal(self) -> int:
        if self._table is None:
            return 0
        ordinals = _columns_read(self._table, (BATCH,))[BATCH].to_numpy()
        return int(ordinals.max()) if len(ordinals) else 0


def _columns_read(table: DeltaTable, names: Sequence[str]) -> pa.Table:
    rows = table.to_pyarrow_dataset()
    with whole_files(rows):
        return rows.to_table(columns=list(names))


def open_table(path: Path) -> DeltaTable | None:
    """Return the table in a folder; None when there is none.

    Raises:
        TransientError: It did not answer.
    """
    from deltalake import DeltaTable

    with answering(path):
        return DeltaTable(path) if DeltaTable.is_deltatable(str(path)) else None


@contextmanager
def answering(path: Path) -> Iterator[None]:
    """Turn the store's own failures into the error that tasks retry."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except DeltaError as error:
        raise TransientError(f"the table at {path} did not take or give its rows: {error}") from error


def _columns_of(table: DeltaTable) -> pa.Schema:
    """Return the table's columns without the technical one, in the types this store writes."""
    fields = [field for field in pa.schema(table.schema().to_arrow()) if field.name != BATCH]
    return pa.schema([(f.name, pa.string() if pa.types.is_string_view(f.type) else f.type) for f in fields])
