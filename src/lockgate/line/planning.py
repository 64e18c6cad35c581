"""What production's logs say before a rollout: what it could see of them, and how often its rule would err."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from lockgate.core.rollout.attempts import spent
from lockgate.core.rollout.steps import course_of
from lockgate.errors import BadInput, NotRunning
from lockgate.line.model_line import Line
from lockgate.stages.planned_conditions import with_conditions
from lockgate.stages.planned_looks import Spread
from lockgate.stages.planned_proxy import with_proxy_words
from lockgate.stages.planned_spread import Logged, labels_of, spread_of
from lockgate.stages.planning_several import forecast_several
from lockgate.stages.recent_traffic import newest_stretch, recent_traffic

if TYPE_CHECKING:
    from lockgate.stages.calibrating import Calibration
    from lockgate.stages.rollout_forecast import RolloutForecast

_SEED = 20130101  # ours: any will do; one is fixed so that two who ask are told the same


def recent(line: Line, hours: float) -> Logged:
    """Return what production's logs hold of the newest traffic.

    Raises:
        TransientError: They cannot be read now.
    """
    from lockgate.adapters.recent_log import read_recent_traffic

    settings, now = line.services.settings, line.services.clock.now().timestamp()
    seen = read_recent_traffic(
        settings.serving("production"),
        settings.home / "kpi",
        line.model,
        kpis={each.name: each.file for each in line.spec.rollout.guardrails.kpi},
        slices=tuple(each.column for each in line.spec.rollout.subpopulations),
        now=now,
        hours=hours,
    )
    return Logged(live=newest_stretch(seen.observations), labels=seen.labels, kpis=seen.kpis)


def plan_of(
    line: Line, *, hours: float = 24.0, seed: int = _SEED, challengers: int | None = None, attempt: int = 1
) -> RolloutForecast:
    """Return what the spec's rollout could see of production's recent traffic; nothing is changed.

    Args:
        line: The model's line.
        hours: How far back the log is read, at most.
        seed: Of the simulations.
        challengers: How many are beside the champion at once; None: as many as the spec says.
        attempt: Which try of its bundle at the champion, from 1; see `core.rollout.attempts`.

    Raises:
        ConfigError: The spec's `rollout` cannot be carried out; names the key.
        TransientError: The log cannot be read now.
    """
    section, task = spent(line.spec.rollout, attempt), line.spec.task
    logged = recent(line, hours)
    found = forecast_several(
        section,
        recent_traffic(logged.live),
        _spread(line, logged),
        labels=labels_of(logged, task.kind, task.classes),
        now=line.services.clock.now().timestamp(),
        seed=seed,
        challengers=section.challengers if challengers is None else challengers,
    )
    found = with_proxy_words(with_conditions(found, section, logged.live), line.spec.data.label_delay_s)
    return replace(found, attempt=attempt, plan_alpha=section.plan.alpha)


def calibrate_line(  # noqa: PLR0913 - what a person may ask; all but one are keywords
    line: Line, *, runs: int, harm: float, hours: float, seed: int, told: Callable[[str], None]
) -> Calibration:
    """Replay production's recent traffic through the spec's rollout, champion against champion.

    Args:
        line: The model's line.
        runs: How often.
        harm: Share of the challenger's requests that is made to fail.
        hours: How far back the log is read.
        seed: Of everything that is drawn.
        told: Given a sentence now and then.

    Raises:
        BadInput: The spec's rollout has no steps, so there is no rule to calibrate.
        NotRunning: There is no traffic to replay.
        TransientError: The log cannot be read now.
    """
    from lockgate.stages.calibrating import calibrate
    from lockgate.stages.replayed_traffic import Stretch

    section, task = line.spec.rollout, line.spec.task
    logged = recent(line, hours)
    stretch = Stretch.of(logged.live, logged.labels, logged.kpis)
    if not stretch.live:
        raise NotRunning(
            f"production's log holds no request that the champion of {line.model} answered in the last {hours:g} h; "
            f"wait for traffic, or make some: lockgate simulate --model {line.model}"
        )
    course = course_of(spent(section, 1), sd=_spread(line, logged).sd)
    if not course.steps:
        raise BadInput(
            f"rollout.strategy of {line.model} is {section.strategy.value}: one switch, no rule to calibrate; "
            "choose canary, linear, shadow, a_b or bandit"
        )

    def progress(done: int) -> None:
        if done % max(1, runs // 10) == 0:
            told(f"{done} of {runs} rollouts replayed")

    return calibrate(course, section, task.kind, task.classes, stretch, runs=runs, harm=harm, seed=seed, told=progress)


def _spread(line: Line, logged: Logged) -> Spread:
    found = recent_traffic(logged.live)
    first_failures = 0.0 if found is None else found[0].first_failure_fraction
    return spread_of(line.spec.rollout, logged, line.spec.task.kind, line.spec.task.classes, first_failures)
