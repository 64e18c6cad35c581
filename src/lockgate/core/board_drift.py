"""How far the columns of production have moved, week by week, for the board: PSI beyond what chance gives. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lockgate.core.board_windows import SCORE, Counts, DayPart, Floats, windowed
from lockgate.core.drift import EPSILON
from lockgate.core.estimates import items, number, within
from lockgate.core.ids import Digest, Json
from lockgate.core.shift import noise_floor

_TOLD: Final = 3
_NONE: Final = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A bundle's reference.

    Attributes:
        rows: How many rows it was made of.
        shares: By column, in the order of the day's counts.
    """

    rows: int
    shares: Mapping[str, Floats]


def profile_of(given: Json) -> Profile:
    """Read a `reference_profile.json`; of what it does not hold there are no shares."""
    shares: dict[str, Floats] = {}
    for section in ("numeric", "categorical"):
        found = within(given, section)
        for name in found if isinstance(found, Mapping) else ():
            shares[name] = _shares(within(found, name))
    scores = within(given, "score")
    if isinstance(scores, Mapping) and len(scores) == 1:
        shares[SCORE] = _shares(next(iter(scores.values())))
    rows = number(within(given, "rows")) or 0.0
    return Profile(rows=int(rows), shares={name: each for name, each in shares.items() if len(each)})


def drifts(
    parts: Sequence[DayPart], profile: Callable[[Digest], Profile | None], first: int, n: int, least_rows: int
) -> tuple[Floats, Floats, tuple[tuple[str, float], ...]]:
    """Return the largest drift of a feature and that of the score by day, and the features that drifted most."""
    busiest = _busiest(parts)
    largest, score, worst = np.full(n, np.nan), np.full(n, np.nan), {}
    for digest in dict.fromkeys(busiest.values()):
        reference = profile(digest)
        days = np.array([day - first for day, most in busiest.items() if most == digest and 0 <= day - first < n])
        if reference is None or not len(days):
            continue
        mine = [part for part in parts if part.digest == digest]
        for name, sizes in _by_column(mine, reference, first, n, least_rows).items():
            if name == SCORE:
                score[days] = sizes[days]
                continue
            largest[days] = np.fmax(largest[days], sizes[days])
            if days.max() == n - 1 and np.isfinite(sizes[-1]):
                worst[name] = float(sizes[-1])
    most = sorted(worst.items(), key=lambda each: (-each[1], each[0]))[:_TOLD]
    return largest, score, tuple((name, round(size, 4)) for name, size in most if size > 0)


def _busiest(parts: Sequence[DayPart]) -> dict[int, Digest]:
    found: dict[int, DayPart] = {}
    for part in sorted(parts, key=lambda each: (each.day, each.digest)):
        if part.day not in found or part.rows > found[part.day].rows:
            found[part.day] = part
    return {day: part.digest for day, part in found.items()}


def _by_column(parts: Sequence[DayPart], reference: Profile, first: int, n: int, least_rows: int) -> dict[str, Floats]:
    """Return each column's PSI beyond chance by day, shape (n,); NaN where its windows hold too few rows."""
    found: dict[str, Floats] = {}
    start, end = (choose(part.day for part in parts) for choose in (min, max))
    start = max(start, first)
    length = min(end, first + n - 1) - start + 1
    for name, shares in reference.shares.items():
        if length <= 0 or not any(len(part.columns.get(name, ())) == len(shares) for part in parts):
            continue
        counts = windowed(parts, start, length, _column(name), len(shares))
        found[name] = np.full(n, np.nan)
        found[name][start - first : start - first + length] = _beyond_chance(counts, shares, reference.rows, least_rows)
    return found


def _beyond_chance(counts: Floats, shares: Floats, reference_rows: int, least_rows: int) -> Floats:
    """Return PSI less the most that chance gives 19 times in 20, at least 0; see `core.drift.psi`."""
    n = np.maximum(counts.sum(axis=1), 1.0)
    now, then = np.maximum(counts / n[:, None], EPSILON), np.maximum(shares, EPSILON)
    size = ((now - then) * np.log(now / then)).sum(axis=1)
    quantile = noise_floor(int(np.count_nonzero(shares)), 2, 2) or 0.0  # of chi-square: 1/2 + 1/2 is 1
    chance = quantile * (1.0 / n + 1.0 / max(reference_rows, 1))
    return np.where(counts.sum(axis=1) >= least_rows, np.maximum(size - chance, 0.0), np.nan)


def _column(name: str) -> Callable[[DayPart], Counts]:
    return lambda part: part.columns.get(name, _NONE)


def _shares(given: Json) -> Floats:
    return np.array([number(each) or 0.0 for each in items(within(given, "shares"))], dtype=np.float64)
