"""Makes the route that serves a desired routing, of the bundles that could be loaded; says what cannot go together."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from lockgate.core.contract import ModelContract, Policy, TaskKind
from lockgate.core.ids import Digest, Json
from lockgate.serving.model.dataplane import OUTPUTS, ServedModel
from lockgate.serving.routing.desired import PREVIOUS, Desired, DesiredShadow
from lockgate.serving.routing.router import Arm, Route, Shadow
from lockgate.serving.routing.sticky import BUCKETS, CHAMPION, SaltedHash, Split

_LARGEST: Final = 3.4028234663852886e38  # float32's
LONGEST_SAID: Final = 80


def make_route(
    model: str,
    desired: Desired,
    loaded: Mapping[Digest, ServedModel],
    refused: Mapping[Digest, str],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Route:
    """Return the route that serves `desired` with the bundles that could be loaded; its lease is not renewed yet.

    Args:
        model: The model's name.
        desired: What is asked for; the split is made here unless it has one.
        loaded: The bundles in memory, by digest. What `desired` does not name is left out.
        refused: Why the others are not.
        clock: What leases are measured with, monotonic, in seconds.
    """
    desired = desired.settled(None)
    champion = loaded.get(desired.champion)
    settled = desired.split or Split(desired.champion, ((CHAMPION, BUCKETS),))
    arms = () if champion is None else tuple(_arms(desired, settled, loaded, champion))
    shadows = tuple(_shadow(desired, each, loaded[each.bundle]) for each in desired.shadows if each.bundle in loaded)
    previous = _previous(desired, loaded, champion)
    return Route(
        model=model,
        desired=desired,
        arms=arms,
        shadows=shadows,
        previous=previous,
        loaded=MappingProxyType({each: loaded[each] for each in desired.bundles if each in loaded}),
        refused=MappingProxyType(dict(refused)),
        clock=clock,
        forcible=MappingProxyType(dict(_forcible(arms, shadows, previous))),
        _owners=_owners(settled, arms) if len(arms) > 1 else None,
        _hash=SaltedHash(settled.salt),
    )


def _arms(
    desired: Desired, settled: Split, loaded: Mapping[Digest, ServedModel], champion: ServedModel
) -> Iterator[Arm]:
    shares = settled.shares()
    challengers = [each for each in desired.challengers if each.bundle in loaded]
    taken = sum(shares.get(each.name, 0) for each in challengers)
    yield _arm(CHAMPION, (BUCKETS - taken) / BUCKETS, champion)  # it has the part of those that are not loaded, too
    for each in challengers:
        yield _arm(each.name, shares.get(each.name, 0) / BUCKETS, loaded[each.bundle], each.tags)


def _owners(settled: Split, arms: tuple[Arm, ...]) -> bytes:
    index = {arm.name: place for place, arm in enumerate(arms)}
    return b"".join(bytes((index.get(name, 0),)) * buckets for name, buckets in settled.runs)


def _arm(name: str, weight: float, model: ServedModel, tags: tuple[str, ...] = ()) -> Arm:
    headers = (
        (b"x-lockgate-model", model.contract.model.encode()),
        (b"x-lockgate-release-digest", model.digest.encode()),
        (b"x-lockgate-arm", name.encode()),
    )
    return Arm(name=name, weight=weight, model=model, headers=headers, tags=tags)


def _shadow(desired: Desired, asked: DesiredShadow, model: ServedModel) -> Shadow:
    salt = f"{desired.salt or desired.champion}/shadow/{asked.name}"
    return Shadow(name=asked.name, share=asked.share, model=model, sampled=SaltedHash(salt))


def _previous(desired: Desired, loaded: Mapping[Digest, ServedModel], champion: ServedModel | None) -> Arm | None:
    if desired.previous is None or champion is None or desired.previous == desired.champion:
        return None
    model = loaded.get(desired.previous)
    if model is None or difference(champion.contract, model.contract) is not None:
        return None
    return _arm(PREVIOUS, 0.0, model)


def _forcible(arms: tuple[Arm, ...], shadows: tuple[Shadow, ...], previous: Arm | None) -> Iterator[tuple[str, Arm]]:
    for arm in arms:
        yield arm.name, arm
    if previous is not None:
        yield previous.name, previous
    for shadow in shadows:
        yield shadow.name, _arm(shadow.name, 0.0, shadow.model)
    for arm in arms:
        yield from ((tag, arm) for tag in arm.tags)


def difference(champion: ModelContract, other: ModelContract) -> str | None:
    """Return why requests that the champion answers would not get the like from another bundle, or None."""
    if (other.task, other.classes) != (champion.task, champion.classes):
        return f"it answers {_answers(other)}, the champion {_answers(champion)}; callers would see the form change"
    types = {column.name: column.type for column in champion.inputs}
    for column in other.inputs:
        if column.name not in types:
            if other.requests.missing_column is Policy.REFUSE:
                return f"it needs column {column.name!r}, which the champion's callers do not send"
        elif column.type is not types.pop(column.name):
            return f"column {column.name!r} is a {column.type} there, and not so for the champion"
    if types and other.requests.extra_column is Policy.REFUSE:
        return f"it refuses column {next(iter(types))!r}, which the champion's callers send"
    return None


def _answers(contract: ModelContract) -> str:
    names = ", ".join(OUTPUTS[contract.task])
    return f"{names} ({', '.join(contract.classes)})" if contract.classes else names


def constant_problem(constant: Mapping[str, Json], contract: ModelContract) -> str | None:
    """Return why a constant is no answer that the model could give to one row, naming the field, or None."""
    names = OUTPUTS[contract.task]
    if set(constant) != set(names):
        has = ", ".join(sorted(constant)) or "nothing"
        return f"fallback.constant has {has}; this model answers {', '.join(names)}, no more and no less"
    if "label" in constant and constant["label"] not in contract.classes:
        return f"fallback.constant.label is {_said(constant['label'])}; one of {', '.join(contract.classes)}"
    match contract.task:
        case TaskKind.REGRESSION:
            fits, allowed = _is_number(constant["value"]), "a number that float32 can hold"
        case TaskKind.BINARY:
            fits, allowed = _is_share(constant["probability"]), "a number from 0 to 1"
        case TaskKind.MULTICLASS:
            fits, allowed = (
                _is_distribution(constant["probabilities"], len(contract.classes)),
                (f"{len(contract.classes)} numbers from 0 to 1 that sum to 1"),
            )
    return None if fits else f"fallback.constant.{names[0]} is {_said(constant[names[0]])}; {allowed}"


def _said(value: Json) -> str:
    """Return a value as its caller wrote it, or the beginning of it."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SAID else f"{text[:LONGEST_SAID]}..."


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST  # false for NaN


def _is_share(value: Json) -> bool:
    return _is_number(value) and isinstance(value, int | float) and 0 <= value <= 1


def _is_distribution(value: Json, classes: int) -> bool:
    if not isinstance(value, list | tuple) or len(value) != classes or not all(map(_is_share, value)):
        return False
    return abs(math.fsum(each for each in value if isinstance(each, int | float)) - 1) <= 1e-6
