"""The commands, in the order a person meets them."""

from __future__ import annotations

from collections.abc import Callable

import typer

from lockgate.cli import (
    alert_commands,
    approver_commands,
    board_command,
    counterfactual_command,
    data_commands,
    decide_command,
    demo,
    drill_command,
    feedback_command,
    figure_commands,
    monitor_command,
    override_command,
    parity_command,
    record_commands,
    release_commands,
    replay_command,
    reproduce_command,
    rollout_commands,
    rollout_plan_command,
    score_command,
    selftest_command,
    serve_command,
    simulate_command,
    stack_commands,
    windows_command,
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
        "board": board_command.board,
    },
    "Releases": {
        "land": data_commands.land,
        "sample": data_commands.sample,
        "release": release_commands.release,
        "decide": decide_command.decide,
        "windows": windows_command.windows,
        "counterfactuals": counterfactual_command.counterfactuals,
        "approve": release_commands.approve,
        "reject": release_commands.reject,
        "rollback": release_commands.rollback,
        "override": override_command.override,
        "drill": drill_command.drill,
        "monitor": monitor_command.monitor,
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
        "metrics": figure_commands.metrics,
        "feedback": feedback_command.feedback,
    },
    "Programs": {
        "serve": serve_command.serve,
        "score": score_command.score,
        "simulate": simulate_command.simulate,
        "watch": data_commands.watch,
        "replay": replay_command.replay,
        "selftest": selftest_command.selftest,
    },
}

GROUPS: dict[str, tuple[str, str, dict[str, Callable[..., int | None]]]] = {
    "rollout": (
        "Releases",
        "A rollout under way: see it, hold it, end it; and before one, what it could see.",
        {
            "status": rollout_commands.status,
            "pause": rollout_commands.pause,
            "resume": rollout_commands.resume,
            "abort": rollout_commands.abort,
            "promote": rollout_commands.promote,
            "start": rollout_commands.start,
            "plan": rollout_plan_command.plan,
            "calibrate": rollout_plan_command.calibrate,
        },
    ),
    "alert": (
        "Record",
        "What is wrong with what serves: see it, say that you are at it, silence it for a while.",
        {
            "list": alert_commands.show,
            "ack": alert_commands.ack,
            "silence": alert_commands.silence,
            "unsilence": alert_commands.unsilence,
            "test": alert_commands.test,
        },
    ),
    "approver": (
        "Releases",
        "The people who may decide, each with a role and a token of their own.",
        {"add": approver_commands.add, "list": approver_commands.show, "revoke": approver_commands.revoke},
    ),
}
"""Commands of two words: panel, help and bodies by the first word."""

_PASSES_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

for _panel, _commands in COMMANDS.items():
    for _name, _body in _commands.items():
        app.command(_name, rich_help_panel=_panel, context_settings=_PASSES_ON if _name == "serve" else None)(
            command(_name, _body)
        )

for _name, (_panel, _help, _commands) in GROUPS.items():
    _group = typer.Typer(name=_name, help=_help, no_args_is_help=True, rich_markup_mode="rich")
    for _second, _body in _commands.items():
        _group.command(_second)(command(f"{_name} {_second}", _body))
    app.add_typer(_group, rich_help_panel=_panel)
