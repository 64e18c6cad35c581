"""What rows must look like before the table takes them: the columns the spec names, their types, their keys.

Every way to be wrong is a `BadInput` whose message becomes the quarantine's reason. What is left is brought to one
form: numbers float64, strings string, the time in UTC microseconds, class labels as text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.compute as pc  # type: ignore[import-untyped]  # no stubs published

from lockgate.core.contract import TaskKind
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput

TIME_TYPE = pa.timestamp("us", tz="UTC")
_WITH_ZONE = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$")


def conform(rows: pa.Table, spec: ReleaseSpec, known: pa.Schema | None) -> tuple[pa.Table, tuple[str, ...]]:
    """Check rows and bring them to the table's form.

    Args:
        rows: What landed, after `data.prepare`.
        spec: Names the columns.
        known: The table's columns; None when there is no table yet.

    Returns:
        The rows, the table's columns first and in its order; and the names of columns that the table does not hold
        and the spec does not use: they are not stored.

    Raises:
        BadInput: The rows may not enter; the message says every column that is wrong.
    """
    required = required_columns(spec)
    missing = [name for name in required if name not in rows.column_names]
    if missing:
        raise BadInput(
            f"columns missing: {', '.join(missing)}; there are {', '.join(rows.column_names[:60])}", missing=missing
        )
    rows = _typed(rows.replace_schema_metadata(None), spec)
    _refuse_empty_cells(rows, (*spec.data.key, spec.data.time))
    if known is not None:
        rows = _like(rows, known)
    stored = [n for n in rows.column_names if known is None or n in known.names or n in required]
    order = [n for n in (known.names if known is not None else ()) if n in stored]
    order += [n for n in stored if n not in order]
    added = tuple(n for n in rows.column_names if n not in stored)
    return _without_duplicates(rows.select(order), spec), added


def required_columns(spec: ReleaseSpec) -> tuple[str, ...]:
    """Return every column the spec needs of landed rows, each once."""
    named = [*spec.data.key, spec.data.time, spec.data.label, *spec.data.features]
    named += [s.column for s in spec.slices] + [s.across.column for s in spec.slices if s.across]
    named += list(spec.sensitive)
    named += [spec.split.group] if spec.split.group else []
    named += [spec.split.block] if spec.split.block != "day" else []
    return tuple(dict.fromkeys(named))


def _typed(rows: pa.Table, spec: ReleaseSpec) -> pa.Table:
    """Give every column its type; collect all that cannot have it."""
    columns, wrong = {}, []
    for name in rows.column_names:
        column = _plain(rows[name].combine_chunks())
        try:
            columns[name] = _typed_column(name, column, spec)
        except BadInput as refused:
            wrong.append(f"{name} {refused.message}")
    if wrong:
        raise BadInput(f"columns of the wrong form: {'; '.join(wrong)}", mistyped=wrong)
    return pa.table(columns)


def _typed_column(name: str, column: pa.Array, spec: ReleaseSpec) -> pa.Array:
    if name == spec.data.time:
        return _times(column)
    if name == spec.data.label:
        return _numbers(column, finite=True) if spec.task.kind is TaskKind.REGRESSION else _classes(column, spec)
    if name in spec.data.numeric:
        return _numbers(column)
    if name in spec.data.categorical:
        return _strings(column)
    return pc.cast(column, pa.string()) if pa.types.is_null(column.type) else column


def _plain(column: pa.Array) -> pa.Array:
    """Undo encodings that differ from one writer to the next and that the table does not know."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_unsigned_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    return column


def _numbers(column: pa.Array, *, finite: bool = False) -> pa.Array:
    kind = column.type
    if not _is_number(kind) and not pa.types.is_boolean(kind) and not pa.types.is_null(kind):
        raise BadInput(f"is {kind}, must be numeric")
    numbers = column.cast(pa.float64(), safe=False)
    numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    if finite and pc.any(pc.is_inf(numbers)).as_py():
        raise BadInput("holds infinite values")
    return numbers


def _strings(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type):
        return column
    if column.null_count == len(column) or (pa.types.is_floating(column.type) and pc.all(pc.is_nan(column)).as_py()):
        return pa.nulls(len(column), pa.string())  # a writer cannot tell the type of nothing
    raise BadInput(f"is {column.type}, must be text")


def _times(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            raise BadInput("has times without a zone; write them aware, best in UTC")
        return column.cast(TIME_TYPE)
    if not pa.types.is_string(column.type):
        raise BadInput(f"is {column.type}, must be a time with a zone")
    texts = column.to_pandas()
    naive = texts[texts.notna() & ~texts.fillna("").str.contains(_WITH_ZONE)]
    if len(naive):
        raise BadInput(f"has times without a zone, e.g. {naive.iloc[0]!r}; write them like 2013-01-01T10:00:00Z")
    try:
        parsed = pd.to_datetime(texts, format="ISO8601", utc=True)
    except ValueError as broken:
        raise BadInput(f"has texts that are no ISO 8601 times: {broken}") from broken
    return pa.array(parsed.dt.tz_convert(None).to_numpy(dtype="datetime64[us]")).cast(TIME_TYPE)


def _classes(column: pa.Array, spec: ReleaseSpec) -> pa.Array:
    """Write labels as the spec's classes are written: 1 and 1.0 as "1", true as "true"."""
    kind = column.type
    if pa.types.is_floating(kind):
        numbers = _numbers(column)
        whole = pc.all(pc.equal(numbers, pc.round(numbers))).as_py()
        column = numbers.cast(pa.int64()) if whole is not False else numbers
    texts = column.cast(pa.string())
    strange = [t for t in pc.unique(texts).to_pylist() if t is not None and t not in spec.task.classes]
    if strange:
        raise BadInput(f"holds {strange[:5]}, which are none of the classes {list(spec.task.classes)}")
    return texts


def _refuse_empty_cells(rows: pa.Table, names: Sequence[str]) -> None:
    empty = {name: rows[name].null_count for name in names if rows[name].null_count}
    if empty:
        told = ", ".join(f"{name} ({count} rows)" for name, count in empty.items())
        raise BadInput(f"values missing where every row needs one: {told}", empty=empty)


def _like(rows: pa.Table, known: pa.Schema) -> pa.Table:
    """Give the columns the table's types, where that loses nothing."""
    lost = [name for name in known.names if name not in rows.column_names]
    if lost:
        raise BadInput(f"columns lost since the last batch: {', '.join(lost)}", lost=lost)
    changed = []
    for name in known.names:
        index, was, now = rows.column_names.index(name), known.field(name).type, rows[name].type
        if was == now:
            continue
        try:
            if not (_is_number(was) and _is_number(now)) and rows[name].null_count != len(rows):
                raise pa.ArrowInvalid("another kind")  # noqa: TRY301 - the same answer as a cast that fails
            rows = rows.set_column(index, name, rows[name].cast(was))
        except pa.ArrowInvalid:
            changed.append(f"{name} was {was}, is {now}")
    if changed:
        raise BadInput(f"columns changed their type since the last batch: {'; '.join(changed)}", changed=changed)
    return rows


def _without_duplicates(rows: pa.Table, spec: ReleaseSpec) -> pa.Table:
    keys = rows.select(list(spec.data.key)).to_pandas()
    repeated = keys.duplicated(keep="last").to_numpy()
    if not repeated.any():
        return rows
    if spec.data.duplicates != "keep_last":
        example = ", ".join(str(v) for v in keys[repeated].iloc[0])
        raise BadInput(
            f"{int(repeated.sum())} rows repeat a key ({', '.join(spec.data.key)}) of the same file, e.g. {example}; "
            "mend the file, or set data.duplicates: keep_last",
            duplicates=int(repeated.sum()),
        )
    return rows.filter(pa.array(~repeated))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
