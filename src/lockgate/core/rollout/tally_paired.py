"""Takes up pairs: the live answer of the champion and the challenger's to a copy of the same request.

failure, flag   an entity's first discordant pair: one arm's failed and the other's did not
disagreement    an entity's first pair that the champion answered: whether the challenger decided otherwise, or had
no answer
score, loss     both, of the entity's first pair that both answered, unless it has counted before
"""

from __future__ import annotations

from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.tally_counted import DISAGREEMENT, SCORE
from lockgate.core.rollout.tally_entities import ANSWERED, FAILED, FLAGGED, LABELLED, PAIRED, SCORED, key_of
from lockgate.core.rollout.tally_intake import Intake
from lockgate.core.rollout.tally_labelled import wait_for_label
from lockgate.core.rollout.tally_losses import Waiting
from lockgate.core.rollout.tally_pairs import flip_cost
from lockgate.core.rollout.tally_strata import PAIRS, Moments


def take_pair(intake: Intake, live: Observation, copy: Observation) -> None:
    """Take up a pair."""
    time = max(live.time, copy.time)
    both = not live.failed and not copy.failed
    cost = flip_cost(live, copy, intake.costs) if both else None
    if both:
        intake.agreement.add(live, (intake.score(live), intake.score(copy)), cost)
    for arm, half in enumerate((live, copy)):
        if both and intake.times_copies:
            intake.request(half, arm, time)
        else:  # what one arm did not answer would make the other look slow, or fast; and see `Course.times_copies`
            intake.requests[arm] += 1
            intake.failed[arm] += half.failed
    key = None if live.entity is None else key_of(live.entity)
    state = 0 if key is None else intake.entities.of(key)
    if state is None:
        return
    after = _values(intake, live, copy, key, _discordant(intake, live, copy, state), flipped=cost is not None)
    if key is not None and after != state:
        intake.entities.put(key, after)


def _discordant(intake: Intake, live: Observation, copy: Observation, state: int) -> int:
    pairs = intake.strata.all[PAIRS]
    if live.failed != copy.failed and not state & FAILED:
        pairs.failures[1 if copy.failed else 0] += 1
        state |= FAILED
    if bool(live.flags) != bool(copy.flags) and not state & FLAGGED:
        pairs.flags[1 if copy.flags else 0] += 1
        state |= FLAGGED
    return state


def _values(  # noqa: PLR0913 - both halves and what is known of them
    intake: Intake, live: Observation, copy: Observation, key: bytes | None, state: int, *, flipped: bool
) -> int:
    if not live.failed and not state & PAIRED:
        state |= PAIRED
        pairs = intake.strata.all[PAIRS]
        pairs.entities = [each + 1 for each in pairs.entities]
        intake.strata.paired.setdefault(DISAGREEMENT, Moments()).add(float(flipped or copy.failed))
    if live.failed or copy.failed:
        return state
    if not state & SCORED:
        state |= SCORED
        intake.strata.add_pair(SCORE, intake.score(copy), intake.score(live))
    if not intake.labels_wanted or state & LABELLED:
        return state
    if not state & ANSWERED:
        intake.losses.first_answer(live.time, champion=True, challenger=True)
    waiting = Waiting(live.time, key, PAIRS, 0, 1.0, live.scores, copy.scores)
    return wait_for_label(intake.losses, live.prediction_id, waiting, state | ANSWERED)
