"""`lockgate decide`: what the retraining policy would say, without acting."""

from __future__ import annotations

from typing import Annotated

import typer

from lockgate.cli.options import Model, Name, choose_model, either
from lockgate.cli.surface import Surface
from lockgate.core.ids import to_json

Kind = Annotated[
    str,
    typer.Option("--trigger", "-t", metavar="KIND", help="new-data, schedule, degradation, message, code or by-hand."),
]


def decide(surface: Surface, name: Name = None, model: Model = None, trigger: Kind = "schedule") -> None:
    """Ask the retraining policy whether a trigger would start a release now, and why not; nothing is started.

    Example: lockgate decide flight-delays --trigger new-data
    """
    from lockgate.bootstrap import services
    from lockgate.line.learning import ask_policy, trigger_named
    from lockgate.line.model_line import Line

    found = services()
    chosen = choose_model(found, either(name, model))
    line = Line(services=found, spec=found.spec(chosen))
    told = ask_policy(line, trigger_named(trigger, found.clock.now()))
    surface.text(f"{chosen}: {'would train' if told.train else 'would not train'}: {told.why}", "bold")
    surface.table(
        "What was weighed",
        ("condition", "holds", "observed", "threshold", "unit", "why"),
        [
            (
                each.name,
                "yes" if each.holds else "no" if each.binds else "no, not asked",
                _number(each.observed),
                _number(each.threshold),
                each.unit,
                each.reason,
            )
            for each in told.checks
        ],
    )
    surface.text(f"to watch: {told.counterfactual['question']}")
    surface.text(f"next: {told.next}")
    surface.result({"decision": to_json(told)})


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
