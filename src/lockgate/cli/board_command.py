"""`lockgate board`: everything on one page, served to this machine or written as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import Json, to_json
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.adapters.board_server import Made
    from lockgate.core.board import BoardContent
    from lockgate.line.board import BoardReader

Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65_535, help="Serve there; 0: any that is free. Else the stack's.")
]
Once = Annotated[bool, typer.Option("--once", help="Say it here once, and end.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE.html", help="Write the page, and end.")]

_STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "unknown": ""}


def board(surface: Surface, port: Port = None, once: Once = False, output: Output = None) -> None:
    """Serve one page on this machine: every model, what serves, what is under way, what is wrong and what to do.

    It works with the stack down, and says so. With --output it writes the page as a file that needs nothing else, with
    --once it says it here, with --json it gives the content to a program.

    Example: lockgate board --output board.html
    """
    from lockgate.bootstrap import Services
    from lockgate.line.board import BoardReader

    settings = load_settings()
    reader = BoardReader(Services(settings))
    if output is not None:
        _write(surface, reader.read(), output)
    elif once or surface.as_json:
        _say(surface, reader.read())
    else:
        _serve(surface, reader, settings.host, settings.ports["board"] if port is None else port)


def _write(surface: Surface, content: BoardContent, output: Path) -> None:
    from lockgate.adapters.board_page import board_html
    from lockgate.adapters.durable_files import write_whole

    page = board_html(content, live=False)
    try:
        write_whole(output.absolute(), page)
    except OSError as wrong:
        raise BadInput(f"{output} cannot be written: {wrong.strerror}; name a file in a folder of yours") from wrong
    surface.text(f"wrote {output}, {len(page.encode()) / 1000:.0f} kB")
    surface.result({**_content(content), "output": str(output)})


def _say(surface: Surface, content: BoardContent) -> None:
    from lockgate.adapters.board_view import ago, headline, needs

    surface.text(headline(content), _STYLES[content.light.value])
    surface.table(
        "To do",
        ("model", "what", "says", "next"),
        [(need.model, need.name, need.says, need.next) for need in needs(content)],
    )
    surface.table(
        "Models",
        ("model", "light", "production serves", "since", "under way"),
        [
            (
                model.model,
                model.light.value,
                "nothing yet" if model.production is None else model.production.release or model.production.bundle[:12],
                "" if model.production is None else ago(model.production.since, content.at),
                "" if model.under_way is None else f"{model.under_way.release} {model.under_way.says}",
            )
            for model in content.models
        ],
    )
    surface.result(_content(content))


def _serve(surface: Surface, reader: BoardReader, host: str, port: int) -> None:
    from lockgate.adapters.board_page import policy
    from lockgate.adapters.board_server import BoardServer, Kept

    try:
        server = BoardServer(host, port, Kept(lambda: _made(reader)), policy(live=True))
    except OSError as taken:
        raise BadInput(
            f"port {port} of {host} cannot be listened on: {taken.strerror}; is a board there already? "
            "Else give another: lockgate board --port 0"
        ) from taken
    with server:
        surface.say(f"http://{host}:{server.server_port}/ (Ctrl-C ends it)", "green")
        server.serve_forever()


def _made(reader: BoardReader) -> Made:
    from lockgate.adapters.board_page import board_html
    from lockgate.adapters.board_server import Made

    content = reader.read()
    return Made(page=board_html(content, live=True).encode(), content=json.dumps(_content(content)).encode())


def _content(content: BoardContent) -> dict[str, Json]:
    from lockgate.adapters.board_view import headline, needs

    told = to_json(content)
    return {
        "headline": headline(content),
        "light": content.light.value,
        "needs": to_json(needs(content)),
        **(told if isinstance(told, dict) else {}),
    }
