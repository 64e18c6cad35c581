"""What people say of a model's answers: counts by verdict, and the newest comments. Pure.

Those who speak are no sample of those who were answered: figures here may raise a question, and settle none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from lockgate.core.ids import ModelName
from lockgate.core.personal_data import without_personal

VERDICTS: Final = ("wrong", "right", "harmful")
COMMENTS_AT_MOST: Final = 20
Key: TypeAlias = tuple[str, int]
"""A prediction's id and the row in its request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What somebody said of one row's answer.

    Attributes:
        key: Whose answer.
        verdict: What it was, see `VERDICTS`.
        comment: In their words.
        who: Tells them apart; None: they did not say.
        time: When it was said.
        received: When the server was told.
    """

    key: Key
    verdict: str
    comment: str | None = None
    who: str | None = None
    time: datetime
    received: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer of which something was said.

    Attributes:
        arm: Which arm gave it.
        digest: The bundle's.
        time: When.
        live: Whether the routing chose who answered; else the caller had.
    """

    arm: str
    digest: str
    time: datetime
    live: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """A comment, fit to be shown: without what looks like personal data, and without control characters.

    Attributes:
        time: When it was said.
        verdict: What the answer was to who said it.
        text: Their words.
        prediction_id: Of the answer.
        row: Which row of the request.
        arm: Which arm gave it.
        digest: The bundle's.
    """

    time: datetime
    verdict: str
    text: str
    prediction_id: str
    row: int
    arm: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackSummary:
    """What people said of a model in a window of time, each person's newest word on each answer.

    Attributes:
        model: Of whose answers.
        since: The server was told from then on; None: ever.
        until: And before then; None: by now.
        verdicts: How often each verdict was given; all three are there.
        by_arm: Likewise by the arm that answered.
        by_bundle: Likewise by the digest of the bundle that answered.
        rows: Answers of which something was said.
        predictions: Rows that were answered in the window, whether something was said of them or not.
        share_fraction: Share of these of which something was said, 0 to 1; None where none was answered.
        contradicted: Answers that some call right and others do not.
        replaced: Earlier words that a newer one of the same person stands for.
        unknown: Words about answers that no log of this server knows, whatever their model: the id is wrong, the
            answer is not logged yet, or too old to be kept.
        of_others: Words about answers of other models.
        broken: Lines that are no feedback.
        comments: The newest, newest first, `COMMENTS_AT_MOST` at most.
    """

    model: ModelName
    since: datetime | None = None
    until: datetime | None = None
    verdicts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    by_arm: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    by_bundle: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rows: int = 0
    predictions: int = 0
    share_fraction: float | None = None
    contradicted: int = 0
    replaced: int = 0
    unknown: int = 0
    of_others: int = 0
    broken: int = 0
    comments: tuple[Comment, ...] = ()

    @property
    def said(self) -> int:
        """Words about this model that count."""
        return sum(self.verdicts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What the logs hold of a window.

    Attributes:
        model: Whose answers are asked for.
        since: Where the window begins; None: with the first word.
        until: Where it ends; None: now.
        said: All that was said to the server, in the order it was told.
        answers: This model's answers among those it is about.
        others: Keys of other models' answers.
        predictions: Rows of this model that were answered in the window.
        broken: Lines that are no feedback.
    """

    model: ModelName
    since: datetime | None = None
    until: datetime | None = None
    said: Sequence[Said]
    answers: Mapping[Key, Answered]
    others: Collection[Key] = frozenset()
    predictions: int = 0
    broken: int = 0


def summarise_feedback(found: Gathered) -> FeedbackSummary:
    """Fold what was said into counts and the newest comments."""
    words = newest(found.said)
    ours = [each for each in words if each.key in found.answers]
    rows = {each.key for each in ours}
    others = sum(each.key in found.others for each in words if each.key not in found.answers)
    in_window = sum(_in_window(found.answers[key], found) for key in rows)
    return FeedbackSummary(
        model=found.model,
        since=found.since,
        until=found.until,
        verdicts=_counted(ours),
        by_arm=_by(ours, {key: answer.arm for key, answer in found.answers.items()}),
        by_bundle=_by(ours, {key: answer.digest for key, answer in found.answers.items()}),
        rows=len(rows),
        predictions=found.predictions,
        share_fraction=min(1.0, in_window / found.predictions) if found.predictions else None,
        contradicted=_contradicted(ours),
        replaced=sum(each.key in found.answers for each in found.said) - len(ours),
        unknown=len(words) - len(ours) - others,
        of_others=others,
        broken=found.broken,
        comments=_comments(ours, found.answers),
    )


def newest(said: Iterable[Said]) -> list[Said]:
    """Return each person's newest word on each answer, in the order the server was told; of one instant, the last."""
    standing: dict[tuple[Key, str | None], Said] = {}
    for each in sorted(said, key=lambda word: word.received):
        standing.pop((each.key, each.who), None)  # so that it takes its place in the order anew
        standing[each.key, each.who] = each
    return list(standing.values())


def _counted(said: Iterable[Said]) -> dict[str, int]:
    counts = Counter(each.verdict for each in said)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def _by(said: Iterable[Said], names: Mapping[Key, str]) -> dict[str, Mapping[str, int]]:
    parts: defaultdict[str, list[Said]] = defaultdict(list)
    for each in said:
        parts[names[each.key]].append(each)
    return {name: _counted(part) for name, part in sorted(parts.items())}


def _in_window(answer: Answered, found: Gathered) -> bool:
    return (
        answer.live
        and (found.since is None or answer.time >= found.since)
        and (found.until is None or answer.time < found.until)
    )


def _contradicted(said: Iterable[Said]) -> int:
    verdicts: defaultdict[Key, set[bool]] = defaultdict(set)
    for each in said:
        verdicts[each.key].add(each.verdict == "right")
    return sum(len(each) > 1 for each in verdicts.values())


def _comments(said: Sequence[Said], answers: Mapping[Key, Answered]) -> tuple[Comment, ...]:
    with_words = [each for each in reversed(said) if each.comment][:COMMENTS_AT_MOST]
    return tuple(
        Comment(
            time=each.time,
            verdict=each.verdict,
            text=shown(each.comment or ""),
            prediction_id=each.key[0],
            row=each.key[1],
            arm=answers[each.key].arm,
            digest=answers[each.key].digest,
        )
        for each in with_words
    )


def shown(text: str) -> str:
    """Return somebody's words on one line, fit for a terminal or a page.

    >>> shown("mail me: ann@example.org" + chr(27) + "[2J")
    'mail me: [e-mail address] [2J'
    """
    printable = "".join(each if each.isprintable() else " " for each in text)
    return without_personal(" ".join(printable.split()))
