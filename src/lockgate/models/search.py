"""The optional search for parameters: Optuna's TPE on validation loss, seeded, bounded by trials and by time.

Every trial is kept on disk as it ends, and each trial's sampler is seeded with the trial's number, so a search that
was killed goes on as if it had not been. The time budget makes the number of trials depend on the machine; the trials
that were made are recorded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lockgate.core.ids import Json
from lockgate.core.spec import Scalar, SearchSection
from lockgate.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came to.

    Attributes:
        parameters: The best trial's; empty when no trial ended with a finite loss.
        trials: Every trial: parameters, loss (null: it failed) and seconds.
        seconds: Spent, over every start of this search.
    """

    parameters: Mapping[str, Scalar]
    trials: list[dict[str, Json]]
    seconds: float


def search(
    section: SearchSection, seed: int, loss: Callable[[Mapping[str, Scalar]], float], checkpoint: Checkpoint
) -> Found:
    """Look for the parameters of least validation loss.

    Args:
        section: Space, trials and time budget.
        seed: Seeds the sampler.
        loss: Fits with these parameters and returns the validation loss; not finite: the trial is not counted.
        checkpoint: Where ended trials are kept.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {name: _distribution(choices) for name, choices in section.space.items()}
    trials = _kept(checkpoint)
    spent = sum(float(str(trial["seconds"])) for trial in trials)
    while len(trials) < section.trials and spent < section.time_budget_s:
        parameters = _next(trials, space, seed)
        began = time.monotonic()
        reached = loss(parameters)
        seconds = time.monotonic() - began
        spent += seconds
        trials.append(
            {"parameters": parameters, "loss": reached if math.isfinite(reached) else None, "seconds": seconds}
        )
        checkpoint.save({"trials": trials}, b"")
    ended = [trial for trial in trials if trial["loss"] is not None]
    best: Any = min(ended, key=lambda trial: float(str(trial["loss"])))["parameters"] if ended else {}
    return Found(parameters=best, trials=trials, seconds=spent)


def _next(trials: list[dict[str, Json]], space: Mapping[str, Any], seed: int) -> dict[str, Scalar]:
    """Return what to try after these trials; it depends on nothing else, so a search may be cut off anywhere."""
    import optuna

    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed + len(trials)))
    for trial in trials:
        _tell(study, space, trial)
    return dict(study.ask(dict(space)).params)


def _kept(checkpoint: Checkpoint) -> list[dict[str, Json]]:
    kept = checkpoint.load()
    state: Any = kept[0] if kept else {"trials": []}
    return list(state["trials"])


def _distribution(choices: tuple[Scalar, ...]) -> Any:  # noqa: ANN401 - Optuna's classes share no public base
    """Two numbers are a range (logarithmic when it spans a hundredfold), anything else a list of choices."""
    import optuna

    numbers = [each for each in choices if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(choices) != 2 or len(numbers) != 2:
        return optuna.distributions.CategoricalDistribution(choices)
    low, high = sorted(numbers)
    log = low > 0 and high / low >= 100
    if all(isinstance(each, int) for each in numbers):
        return optuna.distributions.IntDistribution(int(low), int(high), log=log)
    return optuna.distributions.FloatDistribution(float(low), float(high), log=log)


def _tell(study: Any, space: Mapping[str, Any], trial: Mapping[str, Any]) -> None:  # noqa: ANN401 - Optuna's
    import optuna

    failed = trial["loss"] is None
    state = optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE
    study.add_trial(
        optuna.trial.create_trial(
            state=state,
            params=dict(trial["parameters"]),
            distributions=dict(space),
            value=None if failed else trial["loss"],
        )
    )
