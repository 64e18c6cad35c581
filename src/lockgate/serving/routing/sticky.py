"""Who gets which arm: a salted hash puts every entity into one of 10,000 buckets, and each bucket belongs to one arm.

Growing an arm takes buckets from the champion alone and shrinking it gives them back, so that nobody moves between two
challengers and nobody leaves one that grows. No function of the weights alone does that for three challengers or more
(each pair would need disjoint places for every pair of weights), so a split is made from the one before it and kept.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

CHAMPION: Final = "champion"
BUCKETS: Final = 10_000  # weights go in basis points, the unit rollouts are written in
_HASH_BYTES: Final = 8


class SaltedHash:
    """blake2b of 64 bits under a salt: uniform, and independent between salts, for any entities whatever."""

    __slots__ = ("_empty",)

    def __init__(self, salt: str) -> None:
        key = hashlib.sha256(salt.encode("utf-8", "surrogatepass")).digest()  # a salt of any length
        self._empty = hashlib.blake2b(key=key, digest_size=_HASH_BYTES)  # copied below: absorbs the salt only once

    def of(self, entity: str) -> int:
        """Return a number in [0, 2**64); the same on every machine and in every process."""
        state = self._empty.copy()
        state.update(entity.encode("utf-8", "surrogatepass"))
        return int.from_bytes(state.digest(), "little")

    def bucket(self, entity: str | None) -> int:
        """Return the entity's bucket; a random one for a request that names no entity."""
        if entity is None:
            return int(random.random() * BUCKETS)  # noqa: S311 - a share of traffic, not a secret
        return self.of(entity) % BUCKETS


def entity_text(value: object) -> str | None:
    """Return a column's value as the key of an entity, None for null: the same in whatever form a number is sent.

    JSON says 33, an FP64 tensor or a column of Arrow that may be null brings 33.0: one customer all the same.
    """
    if isinstance(value, float):
        if value.is_integer():
            return str(int(value))
        return None if math.isnan(value) else str(value)  # arrays have NaN for null
    return None if value is None else str(value)


def entity_of_header(value: bytes) -> str | None:
    """Return a header's value as the key of an entity, None where it is empty: UTF-8, or the Latin-1 of old clients."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.strip() or None


@dataclass(frozen=True, slots=True)
class Split:
    """Which arm owns which buckets.

    Attributes:
        salt: What entities are hashed with.
        runs: Arm and number of buckets, from bucket 0 on; they sum to `BUCKETS`.
    """

    salt: str
    runs: tuple[tuple[str, int], ...]

    def owners(self) -> list[str]:
        """Return the arm of every bucket."""
        return [name for name, buckets in self.runs for _ in range(buckets)]

    def shares(self) -> dict[str, int]:
        """Return the buckets of every arm that has any."""
        shares: dict[str, int] = {}
        for name, buckets in self.runs:
            shares[name] = shares.get(name, 0) + buckets
        return shares

    def fits(self, salt: str, weights: Mapping[str, float]) -> bool:
        """Tell whether it is whole and gives each challenger what its weight asks for."""
        wanted = {name: buckets for name, buckets in apportion(weights).items() if buckets}
        return (
            self.salt == salt
            and all(buckets > 0 for _, buckets in self.runs)
            and sum(buckets for _, buckets in self.runs) == BUCKETS
            and {name: buckets for name, buckets in self.shares().items() if name != CHAMPION} == wanted
        )


def apportion(weights: Mapping[str, float]) -> dict[str, int]:
    """Return each challenger's buckets: exact for whole basis points, else by largest remainder, the champion included.

    Args:
        weights: By challenger, each in [0, 1], their sum at most 1.
    """
    exact = {name: weight * BUCKETS for name, weight in weights.items()}
    exact[CHAMPION] = BUCKETS - math.fsum(exact.values())
    # 0.07 * 10,000 is 700.0000000000001: what is whole but for the rounding of doubles is whole
    buckets = {name: math.floor(value + 1e-6) for name, value in exact.items()}
    left = BUCKETS - sum(buckets.values())
    for name in sorted(exact, key=lambda each: buckets[each] - exact[each])[: max(left, 0)]:
        buckets[name] += 1
    del buckets[CHAMPION]
    return buckets


def split(salt: str, weights: Mapping[str, float], before: Split | None) -> Split:
    """Return the split for these weights that moves the fewest entities.

    Args:
        salt: What entities are hashed with; another one than before starts anew.
        weights: By challenger, each in [0, 1], their sum at most 1.
        before: What was in force.
    """
    if not any(weights.values()):
        return Split(salt, ((CHAMPION, BUCKETS),))
    owners = before.owners() if before is not None and before.salt == salt else [CHAMPION] * BUCKETS
    wanted = apportion(weights)
    owners = [name if name in wanted else CHAMPION for name in owners]
    orders = {name: _order(place) for place, name in enumerate(wanted)}
    for name, buckets in wanted.items():
        owned = [each for each in orders[name] if owners[each] == name]
        for each in owned[buckets:]:
            owners[each] = CHAMPION
    for name, buckets in wanted.items():
        missing = buckets - owners.count(name)
        for each in _first(missing, orders[name], owners):
            owners[each] = name
    return Split(salt, tuple((name, len(list(run))) for name, run in groupby(owners)))


def _order(place: int) -> Sequence[int]:
    """Return the buckets in the order a challenger takes them: the first from the bottom, the second from the top.

    So one or two challengers have the same buckets for the same weights, whatever was in force before.
    """
    start = place // 2 * (BUCKETS // 4)
    order = (*range(start, BUCKETS), *range(start))
    return order if place % 2 == 0 else [BUCKETS - 1 - each for each in order]


def _first(count: int, order: Sequence[int], owners: Sequence[str]) -> Iterator[int]:
    free = (each for each in order if owners[each] == CHAMPION)
    for _ in range(count):
        yield next(free)
