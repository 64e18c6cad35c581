"""The commands, in the order a person meets them."""

from __future__ import annotations

from collections.abc import Callable

import typer

from lockgate.cli import (
    data_commands,
    demo,
    figure_commands,
    parity_command,
    record_commands,
    release_commands,
    reproduce_command,
    score_command,
    selftest_command,
    serve_command,
    stack_commands,
)
from lockgate.cli.surface import command

app = typer.Typer(
    name="lockgate",
    help="Takes a model from new data to production through a series of gates.\n\n"
    "Start with: lockgate demo. See what serves: lockgate status. Undo: lockgate rollback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: dict[str, dict[str, Callable[..., int | None]]] = {
    "Stack": {
        "demo": demo.demo,
        "up": stack_commands.up,
        "down": stack_commands.down,
        "status": stack_commands.status,
    },
    "Releases": {
        "land": data_commands.land,
        "sample": data_commands.sample,
        "release": release_commands.release,
        "approve": release_commands.approve,
        "reject": release_commands.reject,
        "rollback": release_commands.rollback,
    },
    "Record": {
        "history": record_commands.history,
        "explain": record_commands.explain,
        "verify": record_commands.verify,
        "reproduce": reproduce_command.reproduce,
        "diff": figure_commands.diff,
        "at": record_commands.at,
        "parity": parity_command.parity,
        "maturity": figure_commands.maturity,
        "delivery": figure_commands.delivery,
    },
    "Programs": {
        "serve": serve_command.serve,
        "score": score_command.score,
        "watch": data_commands.watch,
        "selftest": selftest_command.selftest,
    },
}

_PASSES_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

for _panel, _commands in COMMANDS.items():
    for _name, _body in _commands.items():
        app.command(_name, rich_help_panel=_panel, context_settings=_PASSES_ON if _name == "serve" else None)(
            command(_name, _body)
        )
