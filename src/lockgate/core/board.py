"""What the board says: every model, what serves, what is under way, what is wrong, and how it went over time. Pure.

Whatever is not good carries the command that comes next. What could not be read is said, never left out: a light that
nobody could look at is `UNKNOWN`, not `GOOD`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from lockgate.core.board_course import Course, Mark
from lockgate.core.delivery import Delivery
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId


class Light(StrEnum):
    """The colour of a light."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    UNKNOWN = "unknown"


_WORST: Final = (Light.BAD, Light.WARN, Light.UNKNOWN, Light.GOOD)


def worst(lights: Iterable[Light]) -> Light:
    """Return the worst of some lights; of none at all nothing is known.

    >>> worst([Light.GOOD, Light.WARN]).value, worst([Light.UNKNOWN, Light.GOOD]).value, worst([]).value
    ('warn', 'unknown', 'unknown')
    """
    given = set(lights)
    return next((each for each in _WORST if each in given), Light.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """One thing that is well or not.

    Attributes:
        name: What it is.
        light: How it is.
        says: In words.
        next: The command that comes next; empty while it is well.
    """

    name: str
    light: Light
    says: str
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What an environment serves, by the ledger.

    Attributes:
        environment: `production` or `staging`.
        bundle: The champion.
        release: What put it there; None where that is not known.
        since: When it was verified.
        why: The reason on record.
    """

    environment: str
    bundle: Digest
    release: ReleaseId | None
    since: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """The release, or the rollout, that has not ended.

    Attributes:
        release: Which.
        says: Where it stands.
        why: Why it stands there; empty where there is nothing to add.
        share: The challenger's share of traffic, 0 to 1; None outside of a rollout.
        waits: Whether it waits for a person.
        commands: What may be done now: the command, and what it does.
    """

    release: ReleaseId
    says: str
    why: str = ""
    share: float | None = None
    waits: bool = False
    commands: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The release that ended last.

    Attributes:
        release: Which.
        outcome: How.
        at: When.
        reason: Why.
        light: What that means for who looks.
        next: The command that says more.
    """

    release: ReleaseId
    outcome: str
    at: datetime
    reason: str
    light: Light
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One finding of the monitor that is not well.

    Attributes:
        name: What was looked at.
        light: Harm is bad, what could not be measured warns, of too little data nothing is known, noise is good.
        state: The monitor's own word.
        reason: In words.
        harm: Its rank; comparable between findings.
        next: The command that comes next.
    """

    name: str
    light: Light
    state: str
    reason: str
    harm: float
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alert that is not closed.

    Attributes:
        name: What it is about.
        state: open, acknowledged or silenced.
        reason: In words.
        owner: Who acts on it.
        opened: When.
        count: How often it was raised.
        next: The command that comes next.
    """

    name: str
    state: str
    reason: str
    owner: str
    opened: datetime
    count: int
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The ML Test Score of the release that was judged last.

    Attributes:
        release: Which.
        score: 0 to 7: the least of the areas.
        areas: 0 to 7 by area.
        meaning: What the rubric says of it.
    """

    release: ReleaseId
    score: float
    areas: Mapping[str, float]
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """The rollback that was rehearsed last.

    Attributes:
        at: When.
        light: Whether it passed.
        says: Verdict, fault, and how long the way back took.
        next: The command that comes next; empty when it passed.
    """

    at: datetime
    light: Light
    says: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What the retraining policy said last.

    Attributes:
        at: When.
        train: Whether it started a release.
        trigger: What had asked.
        why: In words.
        next: What to do now; empty for nothing.
    """

    at: datetime
    train: bool
    trigger: str
    why: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBoard:
    """One model.

    Attributes:
        model: Its name.
        about: The spec's description; empty where there is no spec.
        served: By environment, production first.
        under_way: What has not ended; None: nothing.
        ended: What ended last; None: nothing ever did.
        lamps: Its own lights: server and ledger agree, the monitor is awake, nothing is overridden, it can be read.
        found: What the monitor found last, the most harmful first.
        monitored: When that was; None: never.
        alarms: Alerts that are not closed, the most harmful first.
        course: Days of production; None: none was summarised.
        limits: What the course is held to, by what it limits: `drift` (PSI), `latency_ms`.
        marks: Releases and rollbacks in production.
        score: ML Test Score; None: nothing was judged.
        delivery: DORA figures; None: the record cannot be read.
        drill: Last rehearsal; None: there was none.
        decided: What the retraining policy said last; None: it was never asked.
        feedback: What people said, numbers by what they are; empty where nobody did.
    """

    model: ModelName
    about: str = ""
    served: tuple[Served, ...] = ()
    under_way: UnderWay | None = None
    ended: Ended | None = None
    lamps: tuple[Lamp, ...] = ()
    found: tuple[Found, ...] = ()
    monitored: datetime | None = None
    alarms: tuple[Alarm, ...] = ()
    course: Course | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    score: Score | None = None
    delivery: Delivery | None = None
    drill: Drilled | None = None
    decided: Decided | None = None
    feedback: Mapping[str, Json] = field(default_factory=dict)

    @property
    def production(self) -> Served | None:
        """What production serves; None: nothing yet."""
        return next((each for each in self.served if each.environment == "production"), None)

    @property
    def light(self) -> Light:
        """The worst of all that is said of it; a model that nothing is wrong with is good."""
        findings = (each.light for each in self.found)
        alarms = (Light.BAD if each.state == "open" else Light.WARN for each in self.alarms)
        drill = () if self.drill is None else (self.drill.light,)
        return worst((Light.GOOD, *(lamp.light for lamp in self.lamps), *findings, *alarms, *drill))


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardContent:
    """The whole board.

    Attributes:
        at: When it was looked at.
        home: The folder all of it was read from.
        lamps: Lights of what all models share: servers, orchestrator, registry, ledger.
        models: Every model, by name.
    """

    at: datetime
    home: str
    lamps: tuple[Lamp, ...]
    models: tuple[ModelBoard, ...]

    @property
    def light(self) -> Light:
        """The worst of everything."""
        return worst((*(lamp.light for lamp in self.lamps), *(model.light for model in self.models)))
