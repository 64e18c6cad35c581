"""What a section of the dossier is made of: sentences, tables, figures and terms, placed by one template for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first column names its row.

    Attributes:
        caption: What it shows.
        columns: Their headings.
        rows: Cells, as many as columns.
        words: Indices of columns that hold words beside the first; the others hold numbers and stand right.
    """

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: tuple[int, ...] = ()
    kind: Literal["table"] = field(default="table", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing.

    Attributes:
        title: What it shows.
        svg: The drawing, an element of the page; from `dossier_svg.svg`.
        note: How to read it.
        wide: Whether it takes the whole width.
    """

    title: str
    svg: str
    note: str = ""
    wide: bool = True
    kind: Literal["figure"] = field(default="figure", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Labels and values.

    Attributes:
        pairs: Label, value.
    """

    pairs: tuple[tuple[str, str], ...]
    kind: Literal["terms"] = field(default="terms", init=False)


Block: TypeAlias = Table | Figure | Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section.

    Attributes:
        id: Its anchor, unique on the page.
        title: Its heading.
        lead: What it comes to, in sentences; "Not measured: ..." where there is nothing to show.
        blocks: What is shown below.
        measured: False where there was nothing to show.
    """

    id: str
    title: str
    lead: tuple[str, ...]
    blocks: tuple[Block, ...] = ()
    measured: bool = True


def not_measured(id_: str, title: str, why: str) -> Section:
    """Return the section of something that was not measured, or came back in a form that cannot be read."""
    return Section(id=id_, title=title, lead=(f"Not measured: {why}",), measured=False)


def figure(title: str, drawn: str | None, note: str = "", *, wide: bool = True) -> tuple[Figure, ...]:
    """Return a figure, or none where nothing was drawn."""
    return () if drawn is None else (Figure(title=title, svg=drawn, note=note, wide=wide),)


def table(
    caption: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], words: tuple[int, ...] = ()
) -> tuple[Table, ...]:
    """Return a table, or none where it has no row."""
    return (Table(caption=caption, columns=columns, rows=tuple(rows), words=words),) if rows else ()
