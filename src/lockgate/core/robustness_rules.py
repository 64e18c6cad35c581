"""What a spec's robustness section may ask for, together with the features and the task."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lockgate.core.contract import TaskKind
from lockgate.core.spec import DirectionalSection, InvariantSection, ReleaseSpec


def robustness_problems(spec: ReleaseSpec) -> Iterator[str]:
    """Yield what is wrong with the section."""
    asked = spec.robustness
    for name in asked.noise:
        if name not in spec.data.numeric:
            yield f"robustness.noise: {name!r} is no numeric feature; those are {', '.join(spec.data.numeric)}"
    for invariant in asked.invariant:
        yield from _invariant(invariant, spec)
    for directional in asked.directional:
        yield from _directional(directional, spec)


def _invariant(asked: InvariantSection, spec: ReleaseSpec) -> Iterator[str]:
    where = f"robustness.invariant: {asked.column!r}"
    given = asked.values
    if asked.column not in spec.data.features:
        yield f"{where} is no feature; those are {', '.join(spec.data.features)}"
    elif asked.column in spec.data.numeric and any(isinstance(v, str | bool) for v in given):
        yield f"{where} is numeric, so its values must be numbers or null; got {', '.join(map(repr, given))}"
    elif asked.column in spec.data.categorical and any(not isinstance(v, str) for v in given if v is not None):
        yield f"{where} is categorical, so its values must be text or null; quote them"
    if len(set(given)) != len(given):
        yield f"{where}: a value is named twice; name each once"


def _directional(asked: DirectionalSection, spec: ReleaseSpec) -> Iterator[str]:
    where = f"robustness.directional: {asked.column!r}"
    if asked.column not in spec.data.numeric:
        yield f"{where} is no numeric feature; those are {', '.join(spec.data.numeric) or 'none'}"
    if asked.step == 0 or not math.isfinite(asked.step):
        yield f"{where}: a step of {asked.step} changes nothing that can be measured; name a number that is not 0"
    if spec.task.kind is TaskKind.MULTICLASS and asked.of not in spec.task.classes:
        yield f"{where}: of is {asked.of!r}; name the class whose probability is meant: {', '.join(spec.task.classes)}"
    if spec.task.kind is not TaskKind.MULTICLASS and asked.of is not None:
        yield f"{where}: of is for multiclass tasks; leave it out"
