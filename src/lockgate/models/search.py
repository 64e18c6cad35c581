"""The optional search for parameters: Optuna's TPE on validation loss, seeded, bounded by trials and by time.

Every trial is kept on disk as it ends, and each trial's sampler is seeded with the trial's number, so a search that
was killed goes on as if it had not been. The time budget makes the number of trials depend on the machine; the trials
that were made are recorded. A trial that goes nowhere is ended by the family's early stopping.
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

_LOG_FROM = 10  # ours: a range over a tenfold or more is one of sizes, and half of a linear scale would be its top end
_EDGE_FRACTION = 0.05  # ours: of a range's length on its scale; a best value so near an end may lie beyond it


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came to.

    Attributes:
        parameters: The best trial's; empty when no trial ended with a finite loss.
        trials: Every trial in the order made: parameters, loss (null: it failed) and seconds.
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


def edges(
    section: SearchSection, parameters: Mapping[str, Scalar], allowed: Callable[[str, Scalar], bool]
) -> list[dict[str, Json]]:
    """Return which of the best trial's parameters lie at an end of their range, where the best may be beyond it.

    Args:
        section: The space that was searched.
        parameters: The best trial's.
        allowed: Tells whether the family takes this value of a parameter; an end that nothing lies beyond is no edge.

    Returns:
        For each: `parameter`, `value`, `end` ("low" or "high"), and the range as `low` and `high`.
    """
    found: list[dict[str, Json]] = []
    for name, choices in section.space.items():
        value, numbers = parameters.get(name), _range(choices)
        if numbers is None or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high = numbers
        at = _place(value, low, high)
        end = "low" if at <= _EDGE_FRACTION else "high" if at >= 1 - _EDGE_FRACTION else None
        if end is not None and allowed(name, _beyond(low, high, end)):
            found.append({"parameter": name, "value": value, "end": end, "low": low, "high": high})
    return found


def _range(choices: tuple[Scalar, ...]) -> tuple[float, float] | None:
    """Return the ends of a range; None for a list of choices. Two whole numbers stay whole."""
    numbers = [each for each in choices if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(choices) != 2 or len(numbers) != 2:
        return None
    low, high = sorted(numbers)
    return low, high


def _is_log(low: float, high: float) -> bool:
    return low > 0 and high / low >= _LOG_FROM


def _place(value: float, low: float, high: float) -> float:
    """Return where a value lies on its range's scale: 0 at the low end, 1 at the high end, 0.5 when there is no length.

    >>> _place(0.01, 0.001, 0.1)
    0.5
    """
    if low == high:
        return 0.5
    if _is_log(low, high):
        return round(math.log(value / low) / math.log(high / low), 9)
    return (value - low) / (high - low)


def _beyond(low: float, high: float, end: str) -> Scalar:
    """Return the next value outside a range: one more for whole numbers, else a twentieth of the range's length."""
    if isinstance(low, int) and isinstance(high, int):
        return low - 1 if end == "low" else high + 1
    if _is_log(low, high):
        step = math.pow(high / low, _EDGE_FRACTION)
        return low / step if end == "low" else high * step
    step = (high - low) * _EDGE_FRACTION
    return low - step if end == "low" else high + step


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
    """Two numbers are a range (logarithmic when it spans a tenfold), anything else a list of choices."""
    import optuna

    numbers = _range(choices)
    if numbers is None:
        return optuna.distributions.CategoricalDistribution(choices)
    low, high = numbers
    if isinstance(low, int) and isinstance(high, int):
        return optuna.distributions.IntDistribution(low, high, log=_is_log(low, high))
    return optuna.distributions.FloatDistribution(float(low), float(high), log=_is_log(low, high))


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
