"""Labels: which answers wait for one, what they cost when it comes, and how much of the traffic has one.

An entity counts with the loss of its first labelled answer by the arm it was first seen in. A loss does not count as it
happens to arrive, but when its answer is *due*: at age `due_s`, or when the label comes if that is later. Labels that
come sooner for one outcome than for the other would otherwise be counted too often at every look. Within a stratum both
arms have had the same share at all times, so their answers are equally old; with one due age both are cut at the same
age, whatever their labels do. Coverage is the share of entities with a due answer whose loss counts, the lower of both
arms.

Losses: binary (p - y)^2; several classes half the squared distance, in 0..1 (Brier 1950); a regression |value - truth|.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.rollout.observations import LabelSeen
from lockgate.core.rollout.proxy import LabelCount

MAX_PENDING: Final = 200_000
"""Answers that wait for a label, the newest; ours: 55 minutes at 60 a second, about 80 MB."""
MAX_EARLY: Final = 20_000
"""Labels that wait for their answer, which the log may give later. Ours: seconds of traffic."""
_BIN_S: Final = 10.0  # answers become due by tens of seconds


class Waiting(NamedTuple):
    """An answer that waits for a label; `key` is None for a request that is an entity of its own.

    Of a pair both arms' scores are there, else those of the arm that answered.
    """

    time: float
    key: bytes | None
    stratum: int
    period: int
    propensity: float
    champion: tuple[float, ...] | None
    challenger: tuple[float, ...] | None


class Due(NamedTuple):
    """A loss that counts from a time on; of a pair both."""

    when: float
    order: int
    stratum: int
    period: int
    propensity: float
    champion: float | None
    challenger: float | None


def loss_of(task: TaskKind, classes: Sequence[str], scores: Sequence[float], row: int, label: str) -> float:
    """Return what an answer's row cost once its label is known.

    Args:
        task: What is predicted.
        classes: By index; of binary the second is the one whose probability is answered.
        scores: Of the whole request, row by row.
        row: Which.
        label: What is true.

    Returns:
        In 0..1, of a regression at least 0; NaN where the row or the label is none.

    >>> loss_of(TaskKind.BINARY, ("no", "yes"), (0.25,), 0, "yes")
    0.5625
    >>> loss_of(TaskKind.MULTICLASS, ("a", "b", "c"), (0.5, 0.5, 0.0), 0, "c")  # (.25 + .25 + 1) / 2
    0.75
    >>> loss_of(TaskKind.REGRESSION, (), (3.0,), 0, "5"), loss_of(TaskKind.BINARY, ("no", "yes"), (0.5,), 0, "perhaps")
    (2.0, nan)
    """
    width = len(classes) if task is TaskKind.MULTICLASS else 1
    told = scores[row * width : (row + 1) * width] if row >= 0 else ()
    if len(told) != width or not told:
        return math.nan
    if task is TaskKind.REGRESSION:
        try:
            return abs(told[0] - float(label))
        except ValueError:
            return math.nan
    if label not in classes:
        return math.nan
    if task is TaskKind.BINARY:
        return (told[0] - float(label == classes[1])) ** 2
    return math.fsum((p - (label == name)) ** 2 for p, name in zip(told, classes, strict=True)) / 2.0


class Losses:
    """Answers that wait for labels, labels that wait for answers, losses that wait to be due.

    Attributes:
        answered: Entities with a due answer, champion's and challenger's.
        counted: Entities whose loss counts, likewise.
        unusable: Labels that fit no row or class.
        forgotten: Answers that were given up for newer ones.
    """

    def __init__(self, task: TaskKind, classes: Sequence[str], due_s: float, maximum: int = MAX_PENDING) -> None:
        self.answered, self.counted = [0, 0], [0, 0]
        self.unusable = self.forgotten = 0
        self._task, self._classes, self._due_s, self._maximum = task, tuple(classes), due_s, maximum
        self._pending: OrderedDict[str, Waiting] = OrderedDict()  # a dict forgets its oldest ever more slowly
        self._early: OrderedDict[str, LabelSeen] = OrderedDict()
        self._coming: list[Due] = []
        self._order = 0
        self._bins: deque[list[int]] = deque()

    def wait(self, prediction_id: str, waiting: Waiting) -> LabelSeen | None:
        """Keep an answer; return the label that has come before it, to be taken up now."""
        self._pending[prediction_id] = waiting
        if len(self._pending) > self._maximum:
            self._pending.popitem(last=False)
            self.forgotten += 1
        return self._early.pop(prediction_id, None) if self._early else None

    def first_answer(self, time: float, *, champion: bool, challenger: bool) -> None:
        """Count an entity's first answer, which is due later."""
        index = int(time // _BIN_S)
        if not self._bins or self._bins[-1][0] != index:
            self._bins.append([index, 0, 0])
        self._bins[-1][1] += champion
        self._bins[-1][2] += challenger

    def answer_to(self, label: LabelSeen) -> Waiting | None:
        """Return the answer that a label is of; None where it is not known, and the label waits for it."""
        found = self._pending.get(label.prediction_id)
        if found is None:
            self._early.setdefault(label.prediction_id, label)
            if len(self._early) > MAX_EARLY:
                self._early.popitem(last=False)
        return found

    def give_up(self, prediction_id: str) -> None:
        """Forget an answer: its entity has counted."""
        self._pending.pop(prediction_id, None)

    def take(self, label: LabelSeen, answer: Waiting) -> bool:
        """Take up an answer's label; return whether it told something."""
        champion, challenger = (
            None if scores is None else loss_of(self._task, self._classes, scores, label.row, label.label)
            for scores in (answer.champion, answer.challenger)
        )
        if not math.isfinite(champion or 0.0) or not math.isfinite(challenger or 0.0):
            self.unusable += 1
            return False
        del self._pending[label.prediction_id]
        when = max(label.received, answer.time + self._due_s)
        due = Due(when, self._order, answer.stratum, answer.period, answer.propensity, champion, challenger)
        heapq.heappush(self._coming, due)
        self._order += 1
        return True

    def due(self, now: float) -> list[Due]:
        """Return the losses that have become due by now, in that order, and count them."""
        found = []
        while self._coming and self._coming[0].when <= now:
            each = heapq.heappop(self._coming)
            self.counted[0] += each.champion is not None
            self.counted[1] += each.challenger is not None
            found.append(each)
        while self._bins and self._bins[0][0] * _BIN_S + self._due_s <= now:
            _, champion, challenger = self._bins.popleft()
            self.answered[0] += champion
            self.answered[1] += challenger
        return found

    def coverage(self) -> float | None:
        """Return the share of due entities whose loss counts, the lower of both arms; None where none is due."""
        told = [counted / answered for counted, answered in zip(self.counted, self.answered, strict=True) if answered]
        return min(1.0, *told) if told else None

    def so_far(self) -> LabelCount:
        """Return how many labels have come, whether they are due or not."""
        answered, labelled = list(self.answered), list(self.counted)
        for _, *both in self._bins:
            answered = [n + more for n, more in zip(answered, both, strict=True)]
        for each in self._coming:
            both = [each.champion is not None, each.challenger is not None]
            labelled = [n + more for n, more in zip(labelled, both, strict=True)]
        return LabelCount(
            champion_answered=answered[0],
            challenger_answered=answered[1],
            champion_labelled=labelled[0],
            challenger_labelled=labelled[1],
            due_s=self._due_s,
        )

    def state(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "counts": [self.answered, self.counted, self.unusable, self.forgotten, self._order],
            "pending": [[name, *_plain(each)] for name, each in self._pending.items()],
            "early": [[each.prediction_id, each.row, each.label, each.received] for each in self._early.values()],
            "coming": [list(each) for each in self._coming],
            "bins": [list(each) for each in self._bins],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.answered, self.counted, self.unusable, self.forgotten, self._order = state["counts"]
        self._pending = OrderedDict((name, _waiting(each)) for name, *each in state["pending"])
        self._early = OrderedDict(
            (name, LabelSeen(prediction_id=name, row=row, label=label, received=received))
            for name, row, label, received in state["early"]
        )
        self._coming = [Due(*each) for each in state["coming"]]
        self._bins = deque(state["bins"])


def _plain(waiting: Waiting) -> tuple[Json, ...]:
    return (waiting.time, None if waiting.key is None else waiting.key.hex(), *waiting[2:])


def _waiting(each: Sequence[Any]) -> Waiting:
    time, key, stratum, period, propensity, champion, challenger = each
    known = None if key is None else bytes.fromhex(key)
    return Waiting(time, known, stratum, period, propensity, _tuple(champion), _tuple(challenger))


def _tuple(scores: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if scores is None else tuple(scores)
