"""What every command has in common: where it writes, and what its end means to a shell.

    stdout   the result: tables for people, or with --json one versioned object
    stderr   everything else: progress, hints, errors
    exit     0 ok, 1 internal, 2 bad input, 3 blocked, 4 rejected, 5 expired or superseded, 6 inconclusive,
             7 something needed is not running

`command` is the one seam where an error becomes a message and an exit code.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from lockgate.core.ids import Json
from lockgate.core.ledger import Outcome
from lockgate.errors import LockgateError

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1
INTERRUPTED = 130

OUTCOME_EXIT = {
    Outcome.PROMOTED: 0,
    Outcome.FAILED: 1,
    Outcome.BLOCKED: 3,
    Outcome.ROLLED_BACK: 3,
    Outcome.REJECTED: 4,
    Outcome.EXPIRED: 5,
    Outcome.SUPERSEDED: 5,
    Outcome.INCONCLUSIVE: 6,
}


class Surface:
    """Where one command writes.

    Attributes:
        name: The command's name.
        as_json: Whether the result is one JSON object.
    """

    def __init__(self, name: str, *, as_json: bool = False) -> None:
        self.name = name
        self.as_json = as_json

    @functools.cached_property
    def err(self) -> Console:
        """Where progress and hints go."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, soft_wrap=True)

    @functools.cached_property
    def out(self) -> Console:
        """Where the result goes."""
        from rich.console import Console

        # Where nobody sees it, lines are as long as they need: a table cut to 80 columns is of no use in a file.
        return Console(highlight=False, width=None if sys.stdout.isatty() else 200)

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def say(self, text: str, style: str = "") -> None:
        """Write one line for a person, beside the result."""
        self.err.print(text, style=style or None, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Write a table for a person; nothing with --json, and nothing for no rows."""
        lines = [tuple("" if cell is None else str(cell) for cell in row) for row in rows]
        if self.as_json or not lines:
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for number, column in enumerate(columns):
            table.add_column(column, overflow="fold", no_wrap=number < 2)  # names stay whole
        for line in lines:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in line))
        self.out.print(table)

    def text(self, words: str, style: str = "") -> None:
        """Write part of the result in words; nothing with --json."""
        if not self.as_json:
            self.out.print(words, style=style or None, markup=False)

    def result(self, content: Mapping[str, Json]) -> None:
        """Write the result's object; nothing without --json."""
        if self.as_json:
            print(json.dumps({"schema": f"lockgate.{self.name}/{SCHEMA_VERSION}", **content}))  # noqa: T201 - stdout


_STYLES = {
    **dict.fromkeys(("PASS", "ready", "up", "promoted", "verified", "yes"), "green"),
    **dict.fromkeys(("FAIL", "ERROR", "failing", "down", "failed", "differs", "blocked"), "bold red"),
    **dict.fromkeys(("INCONCLUSIVE", "restarting", "starting", "waiting", "stopped", "not running"), "yellow"),
}


JsonFlag = Annotated[bool, typer.Option("--json", help="One versioned JSON object on stdout; all else on stderr.")]
DebugFlag = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def command(name: str, body: Callable[..., int | None]) -> Callable[..., None]:
    """Give a command --json and --debug, its surface, and its exit code.

    Args:
        name: The command's name; also in the schema of its JSON.
        body: What it does: takes the surface, then what Typer reads from its signature; returns its exit code, None
            for 0.
    """

    @functools.wraps(body)
    def run(*args: Any, as_json: bool = False, debug: bool = False, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        surface = Surface(name, as_json=as_json)
        raise typer.Exit(_exit_code(surface, lambda: body(surface, *args, **kwargs), debug=debug))

    hints = get_type_hints(body, include_extras=True)
    kept = [each.replace(annotation=hints[each.name]) for each in list(inspect.signature(body).parameters.values())[1:]]
    flags = [
        inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonFlag),
        inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DebugFlag),
    ]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in kept] + flags
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _exit_code(surface: Surface, act: Callable[[], int | None], *, debug: bool) -> int:
    try:
        return act() or 0
    except LockgateError as error:
        if debug:
            surface.err.print_exception()
        _tell(surface, type(error).__name__, error.message, error.exit_code, error.data)
        return error.exit_code
    except KeyboardInterrupt:
        surface.say("interrupted; what runs in the background goes on", "yellow")
        return INTERRUPTED
    except Exception as broken:  # noqa: BLE001 - the last seam: a person gets a sentence, --debug the traceback
        if debug:
            surface.err.print_exception()
        words = f"{type(broken).__name__}: {broken}. This is a defect of Lockgate; --debug shows where"
        _tell(surface, "internal", words, 1, {})
        return 1


def _tell(surface: Surface, kind: str, message: str, code: int, data: Mapping[str, object]) -> None:
    if surface.as_json:
        failed = {"schema": f"lockgate.error/{SCHEMA_VERSION}", "command": surface.name, "error": kind}
        print(json.dumps({**failed, "message": message, "exit_code": code, "data": dict(data)}, default=str))  # noqa: T201
    else:
        surface.say(f"lockgate {surface.name}: {message}", "red")
