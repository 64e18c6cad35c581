"""The frozen bins of a bundle, from its contract and its `reference_profile.json` (`core.drift.reference_profile`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from lockgate.core.contract import ModelContract, TaskKind
from lockgate.core.ids import Json, as_float
from lockgate.errors import IntegrityError

PREDICTION: Final = "prediction"
"""What the profile calls the one number that a binary model or a regression answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenBins:
    """By what a bundle's rows are counted.

    Attributes:
        task: What is predicted.
        classes: By index; of binary the second is the one whose probability is answered.
        edges: Of every numeric feature, ascending float32 numbers.
        values: Of every feature of strings, the values that are kept apart.
        score: Edges of the one number that is answered; empty: the profile has none, or there are several numbers.
        class_scores: Edges of each class's probability; of several classes alone.
    """

    task: TaskKind
    classes: tuple[str, ...]
    edges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    score: tuple[float, ...] = ()
    class_scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def frozen_bins(contract: ModelContract, profile: Json) -> FrozenBins:
    """Return a bundle's bins.

    Args:
        contract: The bundle's.
        profile: The JSON of its `reference_profile.json`; what it does not hold is not counted.

    Raises:
        IntegrityError: The profile is not of the form that is frozen with a model.
    """
    try:
        scores = {name: _edges(part) for name, part in _section(profile, "score").items()}
        return FrozenBins(
            task=contract.task,
            classes=contract.classes,
            edges={name: _edges(part) for name, part in _section(profile, "numeric").items()},
            values={name: _texts(part) for name, part in _section(profile, "categorical").items()},
            score=scores.get(PREDICTION, ()),
            class_scores={name: scores[name] for name in contract.classes if name in scores}
            if contract.task is TaskKind.MULTICLASS
            else {},
        )
    except (TypeError, KeyError, ValueError, AttributeError) as broken:
        raise IntegrityError(
            f"the reference profile of a bundle of {contract.model} cannot be read ({broken!r}); "
            "`lockgate verify` says whether the bundle is what was signed"
        ) from broken


def label_index(classes: Sequence[str]) -> dict[str, int]:
    """Return the class that a logged label's text means, by text.

    The log keeps a label's text, of a truth value `true` or `false` and of a whole number its digits; they meet the
    class as `core.labels` has it.

    >>> label_index(("0", "1")) == {"0": 0, "1": 1, "false": 0, "true": 1}
    True
    >>> label_index(("False", "1.0")) == {"False": 0, "1.0": 1, "false": 0, "1": 1}
    True
    """
    found = {name: index for index, name in enumerate(classes)}
    for value, written in ((False, "false"), (True, "true")):
        met = {classes.index(each) for each in (written, str(value), str(int(value))) if each in classes}
        if len(met) == 1:
            found.setdefault(written, met.pop())
    for index, name in enumerate(classes):
        whole = name.removesuffix(".0")
        if whole != name and whole.lstrip("-").isdigit():
            found.setdefault(whole, index)
    return found


def _section(profile: Json, name: str) -> Mapping[str, Json]:
    if not isinstance(profile, Mapping):
        raise TypeError(f"it is no object, but {type(profile).__name__}")
    found = profile.get(name, {})
    if not isinstance(found, Mapping):
        raise TypeError(f"{name} is no object")
    return found


def _edges(part: Json) -> tuple[float, ...]:
    edges = tuple(as_float(each) for each in _sequence(part, "edges"))
    if any(not low < high for low, high in pairwise(edges)):
        raise ValueError("edges are not ascending")
    return edges


def _texts(part: Json) -> tuple[str, ...]:
    return tuple(str(each) for each in _sequence(part, "values"))


def _sequence(part: Json, name: str) -> Sequence[Json]:
    found = part[name] if isinstance(part, Mapping) else None
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise TypeError(f"{name} is no list")
    return found
