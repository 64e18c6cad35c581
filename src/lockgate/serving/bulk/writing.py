"""Writes a file of answers: Parquet, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.errors import BadInput
from lockgate.serving.disk import sync

if TYPE_CHECKING:
    from pyarrow import Schema  # type: ignore[import-untyped]  # no stubs published
    from pyarrow.parquet import ParquetWriter  # type: ignore[import-untyped]  # no stubs published

_PARTIAL = ".partial"
_OTHER_KINDS = frozenset((".arrow", ".feather", ".csv"))  # that rows are read from


def place_of(path: Path) -> Path:
    """Return the file that answers are written to: `path`, or where it leads when it is a link.

    Raises:
        BadInput: It cannot be such a file; says why.
    """
    try:
        place = path.resolve()
        # links in a circle, of which `resolve` says nothing from Python 3.13 on
        problem = "its links go in a circle; name another file" if place.is_symlink() else _problem_of(place)
    except (OSError, RuntimeError) as broken:  # too long a name, or links in a circle
        problem = f"{getattr(broken, 'strerror', None) or broken}; name another file"
    if problem:
        raise BadInput(f"{path} cannot be written: {problem}")
    return place


def _problem_of(place: Path) -> str | None:
    if place.is_dir():
        return "it is a folder; name a file in it"
    if place.exists() and not place.is_file():
        return "it is no ordinary file, and would be replaced by one; name another"
    if not place.parent.is_dir():
        return f"there is no folder {place.parent}; make it"
    if place.suffix.lower() in _OTHER_KINDS:
        return "answers are Parquet; give it a name that ends in .parquet"
    if len(os.fsencode(_partial_of(place).name)) > os.pathconf(place.parent, "PC_NAME_MAX"):
        return "its name is too long; name another file"
    return None


def _partial_of(path: Path) -> Path:
    """Return the hidden name under which a file is written before it gets its own."""
    return path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")


@contextmanager
def written_whole(path: Path, schema: Schema, facts: Mapping[str, str]) -> Iterator[ParquetWriter]:
    """Write a file beside its place under a hidden name; it gets its own name when all of it is on the disk.

    Whatever goes wrong, and at a kill, what stood there before still does. What a killed run left is removed.

    Args:
        path: Where it goes, from `place_of`.
        schema: Its columns.
        facts: Kept in its metadata.

    Raises:
        BadInput: The folder cannot be written to.
        OSError: The disk did not take it.
    """
    _remove_left_over(path)
    partial = _partial_of(path)
    try:
        with _opened(partial, schema) as writer:
            yield writer
            writer.add_key_value_metadata(dict(facts))
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path, schema: Schema) -> Iterator[ParquetWriter]:
    import pyarrow.parquet as pq
    from pyarrow import types

    # numbers are all different: a dictionary of them would be made and thrown away
    texts = [field.name for field in schema if not types.is_primitive(field.type)]
    try:
        writer = pq.ParquetWriter(path, schema, use_dictionary=texts)
    except PermissionError as refused:
        raise BadInput(f"{path.parent} cannot be written to: {refused.strerror}; name a file elsewhere") from refused
    try:
        yield writer
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one that tells
            writer.close()
        raise
    writer.close()


def _remove_left_over(path: Path) -> None:
    """Remove what runs that were killed had written of this file."""
    name = re.compile(rf"{re.escape(f'.{path.name}')}\.(\d+){re.escape(_PARTIAL)}")
    for each in path.parent.iterdir():
        found = name.fullmatch(each.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            each.unlink(missing_ok=True)
