"""Reading a table's rows: a file that its log names and that is gone, or no Parquet any more, is told by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
from pyarrow.dataset import Dataset  # type: ignore[import-untyped]  # no stubs published

from lockgate.errors import IntegrityError


@contextmanager
def whole_files(rows: Dataset) -> Iterator[None]:
    """Turn what a broken file does to a reader into an error that a person can act on.

    Args:
        rows: What is read within; after a failure each of its files is read again, to find the broken one.

    Raises:
        IntegrityError: A file is missing, cannot be read, or is no whole Parquet file.
    """
    try:
        yield
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError) as broken:
        file, why = _broken_file(rows) or ("a file", broken)
        words = " ".join(str(why).split())
        raise IntegrityError(
            f"{file} of the table cannot be read: {words}. It is missing, unreadable, or no whole Parquet file; put it "
            "back from a copy (the landed files lie in landed-done/), or restore the table",
            file=file,
        ) from broken


def _broken_file(rows: Dataset) -> tuple[str, Exception] | None:
    """Return the first file that cannot be read to its end, and why; None where each can be, by now."""
    for fragment in rows.get_fragments():
        try:
            for _ in fragment.to_batches():
                pass
        except (pa.ArrowException, OSError) as broken:
            return str(getattr(fragment, "path", "a file")), broken
    return None
