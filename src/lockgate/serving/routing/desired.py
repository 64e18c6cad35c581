"""What a model's routing should be: the controller's wish, as data, with the rules it has to keep."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from lockgate.core.ids import Digest, Json, is_digest
from lockgate.errors import LedgerConflict
from lockgate.serving.routing.sticky import BUCKETS, CHAMPION, Split, split

PREVIOUS: Final = "previous"
LEASE_S: Final = 10.0
MAX_SEQUENCE: Final = 2**53  # what JSON carries exactly; beyond it no higher one could be told apart
MAX_ARMS: Final = 8  # ours: champion and challengers; every one of them is a model in memory
MAX_SHADOWS: Final = 4  # ours: each may double the work of a request
MAX_TAGS: Final = 8
MAX_SALT: Final = 128
_LEASE_RANGE_S: Final = (0.1, 3600.0)
_TIMEOUT_RANGE_S: Final = (0.001, 60.0)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredChallenger:
    """A challenger that is asked for.

    Attributes:
        name: Its arm's name, unique among arms and shadows.
        bundle: What answers.
        weight: The share of the traffic it should have, 0 to 1, kept to a basis point.
        tags: Other names by which a request can force it.
    """

    name: str
    bundle: Digest
    weight: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredShadow:
    """A shadow that is asked for: it answers a copy of requests, and nobody sees its answers but the log.

    Attributes:
        name: Its name, unique among arms and shadows.
        bundle: What answers.
        share: The share of the traffic that is copied to it, 0 to 1.
    """

    name: str
    bundle: Digest
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What a model's routing should be: what the controller asked for, and what is kept on disk.

    Attributes:
        sequence: The ledger's sequence of the request; a lower one is refused.
        champion: The bundle that answers, but for the challengers' shares.
        previous: The bundle that is kept loaded and warm for a rollback, and answers when the champion fails.
        challengers: What takes a share, as long as the lease is renewed.
        shadows: What answers copies of requests, as long as the lease is renewed.
        salt: Keys the sticky split; None: the champion's digest, so that it is the same all through a rollout.
        lease_s: How long weights and shadows last after the last renewal, in seconds.
        timeout_s: How long one run of a model may take before the fallback answers; None: the server's own limit.
        constant: The outputs to answer with when every arm has failed, by name; None: the caller gets the error.
        since: When it was put in place, aware UTC.
        split: Which buckets each arm owns; made when it is put in place, from the one before it.
    """

    sequence: int
    champion: Digest
    previous: Digest | None = None
    challengers: tuple[DesiredChallenger, ...] = ()
    shadows: tuple[DesiredShadow, ...] = ()
    salt: str | None = None
    lease_s: float = LEASE_S
    timeout_s: float | None = None
    constant: Mapping[str, Json] | None = None
    since: datetime
    split: Split | None = None

    def same_as(self, other: Desired) -> bool:
        """Tell whether both ask for the same, whenever that was."""
        return replace(self, since=other.since, split=other.split) == other

    @property
    def leased(self) -> bool:
        """Whether there is anything that ends with the lease."""
        return bool(self.challengers or self.shadows)

    @property
    def weights(self) -> dict[str, float]:
        """The weights that are asked for, by challenger."""
        return {each.name: each.weight for each in self.challengers}

    @property
    def arm_weights(self) -> dict[str, float]:
        """The weights that are asked for, by arm: the champion first, with what the challengers leave."""
        return {CHAMPION: max(0.0, round(1 - math.fsum(self.weights.values()), 9)), **self.weights}

    @property
    def needed(self) -> tuple[Digest, ...]:
        """The bundles that must load before it is put in place: champion, challengers and shadows."""
        challengers, shadows = (each.bundle for each in self.challengers), (each.bundle for each in self.shadows)
        return tuple(dict.fromkeys((self.champion, *challengers, *shadows)))

    @property
    def bundles(self) -> tuple[Digest, ...]:
        """Every bundle it wants in memory, each once."""
        return tuple(dict.fromkeys((*self.needed, *(() if self.previous is None else (self.previous,)))))

    def settled(self, before: Desired | None) -> Desired:
        """Return it with its split, which moves as few entities as can be from the one before."""
        salt = self.salt or self.champion
        if self.split is not None and self.split.fits(salt, self.weights):
            return self
        return replace(self, split=split(salt, self.weights, None if before is None else before.split))

    def problem(self) -> str | None:
        """Return what is wrong with it, naming the field and what is allowed; None when it can be served."""
        return next(_problems(self), None)


def already_served(model: str, served: Desired, asked: Desired) -> bool:
    """Tell whether a request only repeats the one that is in place.

    Raises:
        LedgerConflict: A higher sequence was accepted before, or the same one with other content.
    """
    numbers = {"asked": asked.sequence, "served": served.sequence}
    if asked.sequence < served.sequence:
        raise LedgerConflict(
            f"sequence {asked.sequence} is behind {served.sequence}, which model {model!r} is at; "
            "read the ledger again",
            **numbers,
        )
    if asked.sequence > served.sequence:
        return False
    if not asked.same_as(served):
        raise LedgerConflict(
            f"sequence {asked.sequence} of model {model!r} already stands for champion {served.champion}, "
            f"previous {served.previous or 'none'}, challengers {_said(served.weights)}; "
            "a change needs a higher sequence",
            **numbers,
        )
    return True


def _said(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items()) or "none"


def check_lease(model: str, asked: int, served: int) -> None:
    """Refuse to renew the lease of another sequence than the one that is served.

    Raises:
        LedgerConflict: It is another.
    """
    if asked != served:
        raise LedgerConflict(
            f"model {model!r} is at sequence {served}, not {asked}; its lease is not renewed, read the ledger again",
            asked=asked,
            served=served,
        )


def _problems(asked: Desired) -> Iterator[str]:
    if not 1 <= asked.sequence <= MAX_SEQUENCE:
        yield f"sequence is {asked.sequence}; the ledger counts from 1, at most to {MAX_SEQUENCE}"
    for field, digest in _digests(asked):
        if not is_digest(digest):
            yield f"{field} is {digest!r}, not a bundle digest (64 hexadecimal digits)"
    yield from _arm_problems(asked)
    yield from _shadow_problems(asked)
    yield from _name_problems(asked)
    if asked.salt is not None and not 1 <= len(asked.salt) <= MAX_SALT:
        yield f"salt has {len(asked.salt)} characters; 1 to {MAX_SALT}, or null for the champion's digest"
    yield from _range_problem("lease_s", asked.lease_s, _LEASE_RANGE_S, 1)
    if asked.timeout_s is not None:
        yield from _range_problem("timeout_ms", asked.timeout_s, _TIMEOUT_RANGE_S, 1000)


def _digests(asked: Desired) -> Iterator[tuple[str, str]]:
    yield "champion", asked.champion
    if asked.previous is not None:
        yield "previous", asked.previous
    yield from ((f"challengers[{i}].bundle", each.bundle) for i, each in enumerate(asked.challengers))
    yield from ((f"shadows[{i}].bundle", each.bundle) for i, each in enumerate(asked.shadows))


def _arm_problems(asked: Desired) -> Iterator[str]:
    if len(asked.challengers) >= MAX_ARMS:
        yield f"challengers has {len(asked.challengers)} entries; at most {MAX_ARMS - 1} beside the champion"
    for index, each in enumerate(asked.challengers):
        yield from _share_problem(f"challengers[{index}].weight", each.weight)
        if len(each.tags) > MAX_TAGS:
            yield f"challengers[{index}].tags has {len(each.tags)} entries; at most {MAX_TAGS}"
    total = math.fsum(each.weight for each in asked.challengers)
    if total > 1 + 1e-9:  # the rounding of doubles
        yield f"challengers: their weights sum to {total:g}; at most 1, the champion has the rest"


def _shadow_problems(asked: Desired) -> Iterator[str]:
    if len(asked.shadows) > MAX_SHADOWS:
        yield f"shadows has {len(asked.shadows)} entries; at most {MAX_SHADOWS}"
    for index, each in enumerate(asked.shadows):
        yield from _share_problem(f"shadows[{index}].share", each.share)


def _share_problem(field: str, share: float) -> Iterator[str]:
    if not 0 <= share <= 1:  # true for NaN and infinities as well
        yield f"{field} is {share:g}; a share of the traffic, 0 to 1"
    elif 0 < share < 1 / BUCKETS:
        yield f"{field} is {share:g}; the smallest share is {1 / BUCKETS:g}, one basis point"


def _name_problems(asked: Desired) -> Iterator[str]:
    named = [(f"challengers[{i}].name", each.name) for i, each in enumerate(asked.challengers)]
    named += [(f"shadows[{i}].name", each.name) for i, each in enumerate(asked.shadows)]
    named += [(f"challengers[{i}].tags", tag) for i, each in enumerate(asked.challengers) for tag in each.tags]
    taken: Counter[str] = Counter((CHAMPION, PREVIOUS))
    for field, name in named:
        if not _NAME.fullmatch(name):
            yield f"{field}: {name!r} is no name: 1 to 48 letters, digits, '.', '_' and '-', a letter or digit first"
        if taken[name]:
            reserved = " stands for an arm of every model" if name in (CHAMPION, PREVIOUS) else " is taken already"
            yield f"{field}: {name!r}{reserved}; names and tags of a model's arms and shadows are all different"
        taken[name] += 1


def _range_problem(field: str, value: float, allowed: tuple[float, float], unit: int) -> Iterator[str]:
    least, most = allowed
    if not least <= value <= most:  # true for NaN as well
        yield f"{field} is {value * unit:g}; {least * unit:g} to {most * unit:g}"
