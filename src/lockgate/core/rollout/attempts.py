"""How often one bundle has been tried against one champion, and what each try may spend of the plan's error.

A release whose rollout was inconclusive may be rolled out again, with new traffic. Were the whole error spent each
time, a bundle that is worse would be promoted by the one try that luck favours. So the k-th attempt has
`attempt_fraction` of `plan.alpha`: a convergent series whose sum is 1, so that all attempts there may ever be promote a
bundle that is worse by the margin with a chance of at most `plan.alpha`, whatever was seen between them and whoever
decided to try again.

An attempt is a rollout whose plan was looked at. One that ended before (no traffic, refused, a broken measurement)
could not have promoted and costs nothing. Guardrails are not divided: a false alarm of theirs promotes nobody.

Source: Bonferroni's inequality with unequal, predetermined parts; Foster & Stine 2008 (JRSS B 70, 429-444) call it
alpha-spending; Tian & Ramdas 2021 (Stat. Methods Med. Res. 30, 976-993) for tests without a last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from lockgate.core.drills import is_drill
from lockgate.core.ids import ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.spec_sections.rollout import RolloutSection

FIRST_FRACTION: Final = 0.9
"""Ours: nearly every bundle is tried once, and then costs 3 % more entities; a second try takes 1.6 times as many as
the first, a third 2.1 times. Parts in proportion to 1 / k^2 would take 13 % more of everybody."""
MOST_ATTEMPTS: Final = 4
"""Ours: a fifth would have to show a difference at an error of two in a million; a new bundle is what is called for."""


def attempt_fraction(attempt: int) -> float:
    """Return the part of the plan's error that an attempt has, from 1; of 0, as of old, the whole.

    >>> [round(attempt_fraction(attempt), 6) for attempt in (0, 1, 2, 3)]
    [1.0, 0.9, 0.09, 0.009]
    >>> round(sum(map(attempt_fraction, range(1, 99))), 9)
    1.0
    """
    return FIRST_FRACTION * (1.0 - FIRST_FRACTION) ** (attempt - 1) if attempt > 0 else 1.0


def spent(section: RolloutSection, attempt: int) -> RolloutSection:
    """Return a spec's section with the error that an attempt's plan has."""
    return replace(section, plan=replace(section.plan, alpha=section.plan.alpha * attempt_fraction(attempt)))


def attempts_so_far(rows: Iterable[LedgerRow], challenger: str, champion: str) -> int:
    """Return how many rollouts of a bundle beside a champion have looked at their plan; drills are none.

    Args:
        rows: ROLLOUT_BEGUN and ROLLOUT_LOOK rows of the model, in order; of releases of this bundle at least.
        challenger: The bundle.
        champion: The champion.
    """
    under_way: dict[ReleaseId | None, int] = {}
    looked: set[int] = set()
    for row in rows:
        if row.event is Event.ROLLOUT_BEGUN:
            under_way.pop(row.release, None)
            same = (row.payload.get("challenger"), row.payload.get("champion")) == (challenger, champion)
            if same and row.release is not None and not is_drill(row.release):
                under_way[row.release] = row.seq
        elif row.event is Event.ROLLOUT_LOOK and row.release in under_way and row.payload.get("effect") is not None:
            looked.add(under_way[row.release])
    return len(looked)
