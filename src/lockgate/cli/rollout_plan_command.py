"""`lockgate rollout plan | calibrate`: what a rollout could see of the traffic there is; how often its rule errs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import GREATEST_SEED, LONGEST_HOURS, Model, Name, choose_model, either
from lockgate.cli.surface import Surface
from lockgate.config import load_settings

if TYPE_CHECKING:
    from lockgate.line.model_line import Line
    from lockgate.stages.calibrating import Calibration
    from lockgate.stages.rollout_forecast import RolloutForecast, StepForecast

Runs = Annotated[int, typer.Option("--runs", min=1, max=10_000, help="How many rollouts are replayed.")]
Harm = Annotated[
    float,
    typer.Option("--harm", min=0.0, max=1.0, help="Share of the challenger's requests that is made to fail, 0 to 1."),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=GREATEST_SEED, help="Equal seeds and equal traffic give equal figures.")
]
Hours = Annotated[
    float, typer.Option("--hours", min=0.01, max=LONGEST_HOURS, help="How far back the log is read, at most.")
]
Challengers = Annotated[
    int | None,
    typer.Option(
        "--challengers",
        min=1,
        max=7,
        metavar="N",
        help="How many are beside the champion at once. Left out: as many as the spec says.",
    ),
]

_INCONCLUSIVE = 6
_SEED = 20130101  # ours: any will do; one is fixed so that two who ask are told the same
_NONE = "-"


def plan(  # noqa: PLR0913, PLR0917 - one a command-line option
    surface: Surface,
    name: Name = None,
    model: Model = None,
    hours: Hours = 24.0,
    seed: Seed = _SEED,
    challengers: Challengers = None,
) -> int:
    """Say before a rollout what its steps and guardrails can see of recent traffic, how soon, and when it promotes.

    Ends with 6 where the rollout is refused: its bakes cannot show the harm that `rollout.plan.harm` names.

    Example: lockgate rollout plan flight-delays
    """
    from lockgate.line.planning import plan_of

    line = _line(name, model)
    found = plan_of(line, hours=hours, seed=seed, challengers=challengers)
    _tell_plan(surface, line.model, found)
    for each in found.warnings:
        surface.text(f"note: {each}", "yellow")
    for each in found.refusals:
        surface.text(f"refused: {each}", "bold red")
    surface.result({"model": line.model, **found.content})
    return _INCONCLUSIVE if found.refusals else 0


def calibrate(  # noqa: PLR0913, PLR0917 - one a command-line option
    surface: Surface,
    name: Name = None,
    model: Model = None,
    runs: Runs = 60,
    harm: Harm = 0.0,
    hours: Hours = 24.0,
    seed: Seed = _SEED,
) -> int:
    """Replay recent traffic through the whole rule, champion against champion, and count its wrong verdicts.

    Each run puts entities into fresh buckets and goes through the steps of the spec without waiting. With --harm, that
    share of the challenger's requests fails, and what is counted is how often and how soon it is rolled back.

    Example: lockgate rollout calibrate flight-delays --runs 200
    """
    from lockgate.line.planning import calibrate_line

    line = _line(name, model)
    found = calibrate_line(
        line, runs=runs, harm=harm, hours=hours, seed=seed, told=lambda words: surface.say(words, "dim")
    )
    _tell_calibration(surface, line.model, found)
    surface.result({"model": line.model, **found.content})
    return 0


def _line(name: str | None, model: str | None) -> Line:
    from lockgate.bootstrap import Services
    from lockgate.line.model_line import Line

    services = Services(load_settings())
    return Line(services=services, spec=services.spec(choose_model(services, either(name, model))))


def _tell_plan(surface: Surface, model: str, found: RolloutForecast) -> None:
    from lockgate.stages.rollout_forecast import minutes

    surface.text(f"{model}: {found.sentence}", "bold")
    if found.traffic is not None:
        seen = found.traffic
        surface.text(
            f"planned on {seen.requests} requests of {seen.entities} entities in {minutes(seen.span_s)}: "
            f"{seen.requests_per_minute:.3g} requests and {seen.entities_per_minute:.3g} entities a minute, "
            f"{seen.failure_fraction:.2%} of these fail"
        )
    surface.table(
        "Steps",
        ("step", "ends after", "entities of both", f"sees {found.harm:.3g} failing", "sees at least"),
        [_step(each) for each in found.steps],
    )
    surface.table(
        f"Guardrails: together at most {found.alpha:g} false alarms",
        ("guardrail", "alpha", "stops at", "data from", "sees"),
        [
            (each.guardrail, f"{each.alpha:.3g}", f"e {each.e_value:.3g}",
             _NONE if each.from_s is None else minutes(each.from_s), each.sees)
            for each in found.guardrails
        ],
    )  # fmt: skip
    surface.table(
        _plan_title(found),
        ("look", "expected after", "an equal one is promoted by then"),
        [
            (
                f"{each.fraction:.0%}",
                _NONE if each.at_s is None else minutes(each.at_s),
                f"{each.promoted_fraction:.2f}",
            )
            for each in found.looks
        ],
    )


def _plan_title(found: RolloutForecast) -> str:
    from lockgate.stages.rollout_forecast import minutes

    if found.metric is None or found.margin is None or found.sd is None:
        return "Plan"
    proxy = "" if found.truth is None else f", a proxy for {found.truth.metric.value},"
    told = "" if found.plan_alpha is None else f" at an error of {found.plan_alpha:.3g} (attempt {found.attempt})"
    return (
        f"Plan: {found.metric.value}{proxy} not worse by {found.margin:g}{told} "
        f"(sd {found.sd:.3g}, from {found.sd_from}); "
        f"inconclusive after {minutes(found.max_duration_s)}"
    )


def _step(each: StepForecast) -> tuple[str, str, str, str, str]:
    from lockgate.stages.rollout_forecast import minutes

    entities = _NONE
    if each.challenger_entities is not None and each.champion_entities is not None:
        entities = f"{each.challenger_entities:.0f} and {each.champion_entities:.0f}"
    return (
        f"{each.kind.value} {each.share:.3g}",
        minutes(each.ends_s),
        entities,
        _NONE if each.power is None else f"with chance {each.power:.2f}",
        _NONE if each.least_harm is None else f"{each.least_harm:.2g} failing",
    )


def _tell_calibration(surface: Surface, model: str, found: Calibration) -> None:
    surface.text(f"{model}: {found.sentence}", "bold")
    surface.table(
        f"{found.runs} replayed rollouts",
        ("verdict", "runs", "share", "95 % interval", "after, in the median"),
        [
            (each.verdict, str(each.runs), f"{each.fraction:.3f}", f"{each.low:.3f} to {each.high:.3f}",
             _NONE if each.median_s is None else f"{each.median_s / 60:.3g} min")
            for each in found.verdicts
        ],
    )  # fmt: skip
    surface.table("What stopped them", ("guardrail", "runs"), [(name, str(n)) for name, n in found.stopped_by.items()])
    for each in found.notes:
        surface.text(f"note: {each}", "yellow")
