"""A label is counted once an entity: what waits for one, and what becomes of it when it comes."""

from __future__ import annotations

from lockgate.core.rollout.observations import LabelSeen
from lockgate.core.rollout.tally_entities import LABELLED, Entities
from lockgate.core.rollout.tally_losses import Losses, Waiting


def wait_for_label(losses: Losses, prediction_id: str, waiting: Waiting, state: int) -> int:
    """Let an answer wait for its label; return its entity's state, labelled where the label was there before."""
    early = losses.wait(prediction_id, waiting)
    return state | LABELLED if early is not None and losses.take(early, waiting) else state


def take_label(losses: Losses, entities: Entities, label: LabelSeen) -> None:
    """Take up a label, unless its entity has one already."""
    answer = losses.answer_to(label)
    if answer is None:
        return
    state = 0 if answer.key is None else entities.states[answer.key]
    if state & LABELLED:
        losses.give_up(label.prediction_id)
    elif losses.take(label, answer) and answer.key is not None:
        entities.put(answer.key, state | LABELLED)
