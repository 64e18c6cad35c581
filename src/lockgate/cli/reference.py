"""Writes the reference pages from the code: every key of a spec, every gate with its thresholds, every command.

`make docs` runs it; a test compares the committed pages with what it would write, so they cannot go stale.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from lockgate.core.gates.registry import GATES
from lockgate.core.ids import canonical_json
from lockgate.core.spec import ReleaseSpec

_NOTE = "<!-- Written from the code by `make docs`; change the code, not this page. -->"


def write_pages(folder: Path) -> tuple[Path, ...]:
    """Write every page into a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"spec.md": spec_page(), "gates.md": gates_page()}
    for name, text in pages.items():
        (folder / name).write_text(text)
    return tuple(folder / name for name in pages)


def spec_page() -> str:
    """Return the page of the spec: one section each, one row a key."""
    lines = [_NOTE, "# The spec", "", _first_line(ReleaseSpec), ""]
    lines += ["One YAML file a model in `deployments/`. Unknown keys are refused; every default is safe.", ""]
    hints = get_type_hints(ReleaseSpec, include_extras=True)
    said = _attributes(ReleaseSpec)
    for each in fields(ReleaseSpec):
        kind = _dataclass_in(hints[each.name])
        needed = " (needed)" if _is_needed(each) else ""
        lines += [f"## `{each.name}`{needed}", "", said.get(each.name, ""), ""]
        if kind is not None:
            lines += [*_table(kind), ""]
        elif each.name == "gates":
            lines += ["See [the gates](gates.md): each takes its own thresholds under its name.", ""]
    return "\n".join(lines).rstrip() + "\n"


def gates_page() -> str:
    """Return the page of the gates, in the order a release meets them."""
    lines = [_NOTE, "# The gates", ""]
    lines += [
        "A gate folds its required checks: FAIL > ERROR > INCONCLUSIVE > PASS. Nothing measured never passes.",
        "",
    ]
    for gate in GATES:
        lines += [f"## `{gate.name}`", "", f"{gate.title}. Stage `{gate.stage.value}`.", ""]
        lines += [_first_line(sys.modules[gate.judge.__module__]), ""]
        lines += [*_table(gate.thresholds), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(kind: type[Any]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for cells in _rows(kind):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rows(kind: type[Any], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Yield key, type, default and meaning; a section within a section as keys with a dot."""
    hints, said = get_type_hints(kind, include_extras=True), _attributes(kind)
    for each in fields(kind):
        hint = hints[each.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _rows(hint, f"{prefix}{each.name}.")
        else:
            yield f"`{prefix}{each.name}`", _type(hint), _default(each), said.get(each.name, "")


def _attributes(kind: type[Any]) -> dict[str, str]:
    """Read the `Attributes:` block of a docstring."""
    text = inspect.getdoc(kind) or ""
    block = text.partition("Attributes:")[2]
    said: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        found = re.match(r"    (\w+): (.*)", line)
        if found:
            name = found[1]
            said[name] = found[2].strip()
        elif name and line.strip():
            said[name] += " " + line.strip()
    return said


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _is_needed(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _default(each: Field[Any]) -> str:
    if _is_needed(each):
        return "needed"
    value = each.default if each.default_factory is MISSING else each.default_factory()
    return f"`{canonical_json(value).decode()}`"


def _dataclass_in(hint: object) -> type[Any] | None:
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((found for arg in get_args(hint) if (found := _dataclass_in(arg))), None)


def _type(hint: Any) -> str:  # noqa: ANN401, PLR0911 - driven by annotations; one return a kind
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_type(args[0])} {' '.join(_bound(arg) for arg in args[1:])}".strip()
    if origin in (Union, types.UnionType):
        return " or ".join(_type(arg) for arg in args)
    if origin is Literal:
        return " or ".join(repr(arg) for arg in args)
    if origin is tuple:
        return f"list of {_type(args[0])}"
    if args:
        return "mapping"
    if isinstance(hint, type) and is_dataclass(hint):
        return ", ".join(f.name for f in fields(hint))
    if hint is type(None):
        return "null"
    if members := getattr(hint, "__members__", None):
        return " or ".join(member.value for member in members.values())
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    name = str(getattr(hint, "__name__", hint))
    return names.get(name, "text" if hasattr(hint, "__supertype__") else name)


def _bound(constraint: object) -> str:
    signs = {"Ge": "≥", "Gt": ">", "Le": "≤", "Lt": "<"}
    kind = type(constraint).__name__
    if kind in signs:
        return f"{signs[kind]} {_readable(getattr(constraint, kind.lower()))}"
    return f"at least {constraint.min_length} of them" if hasattr(constraint, "min_length") else ""


def _readable(bound: float) -> str:
    """Return a bound; a great one by its thousands, a very great one by its zeros."""
    if abs(bound) >= 1e12:
        return f"{bound:g}".replace("e+", "e")
    return f"{bound:,}" if abs(bound) >= 10_000 else str(bound)


if __name__ == "__main__":
    for page in write_pages(Path("docs/reference")):
        sys.stdout.write(f"wrote {page}\n")
