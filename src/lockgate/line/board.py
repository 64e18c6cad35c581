"""The board's content: put together from the ledger, the days on disk, the bundles and the servers themselves.

A reader is kept while the board is served: what follows from a model's chain is computed again when the chain grew, its
days when a file changed. The lights are looked at each time. Nothing that is down, broken or not there keeps the rest
from being shown; it is shown as that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from lockgate.adapters.bundle_facts import read_part
from lockgate.core.approval_overrides import current
from lockgate.core.board import BoardContent, Lamp, Light, ModelBoard
from lockgate.core.board_course import Course, course_of
from lockgate.core.board_drift import Profile, profile_of
from lockgate.core.ids import Digest, Json, ModelName, is_model_name
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import LockgateError
from lockgate.line.board_lamps import PRODUCTION, Lamps, Told, agreement
from lockgate.line.board_record import Recorded, alarms_of, monitor_lamp, recorded_of

if TYPE_CHECKING:
    from lockgate.adapters.board_days import DayFiles
    from lockgate.bootstrap import Services

_FEEDBACK_EVERY: Final = timedelta(minutes=5)
_FEEDBACK_SINCE: Final = timedelta(days=30)
_LEAST_ROWS: Final = 200  # where there is no spec; that of `MonitoringSection`


class BoardReader:
    """Reads the board again and again.

    Args:
        services: Where everything is.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lamps = Lamps(services)
        self._recorded: dict[ModelName, tuple[int, Recorded]] = {}
        self._days: dict[ModelName, DayFiles] = {}
        self._courses: dict[ModelName, tuple[int, Course | None]] = {}
        self._said: dict[ModelName, tuple[datetime, Mapping[str, Json]]] = {}
        self._profiles: dict[Digest, Profile | None] = {}

    def read(self) -> BoardContent:
        """Return what the board says now."""
        services = self._services
        lamps, told = self._lamps.shared()
        names, ledger = self._names()
        models = tuple(self._model(name, told) for name in names)
        return BoardContent(
            at=services.clock.now(), home=str(services.settings.home), lamps=(*lamps, ledger), models=models
        )

    def _names(self) -> tuple[list[ModelName], Lamp]:
        known = set(self._services.specs())
        try:
            chains = {name for name in self._services.ledger.models() if is_model_name(name)}
        except LockgateError as silent:
            return sorted(known), Lamp(name="ledger", light=Light.BAD, says=silent.message, next="lockgate status")
        return sorted(known | chains), Lamp(name="ledger", light=Light.GOOD, says="answers")

    def _model(self, name: ModelName, told: Told | None) -> ModelBoard:
        try:
            return self._whole(name, told)
        except LockgateError as wrong:
            lamp = Lamp(name="record", light=Light.BAD, says=wrong.message, next=f"lockgate verify {name}")
            return ModelBoard(model=name, lamps=(lamp,))

    def _whole(self, name: ModelName, told: Told | None) -> ModelBoard:
        services, now = self._services, self._services.clock.now()
        spec, lamps = self._spec(name)
        recorded = self._record(name)
        said = services.ledger.rows(name, events=(Event.OVERRIDDEN, Event.ALERT))
        feedback, broken = self._feedback(name, now)
        course, unread = self._course(name, _LEAST_ROWS if spec is None else spec.monitoring.min_rows)
        lamps += [*_overridden(name, said, now), *agreement(name, recorded.champion, told, changing=recorded.changing)]
        lamps += [monitor_lamp(name, recorded, spec, now), *_unread(name, unread)]
        lamps += broken
        return ModelBoard(
            model=name,
            about="" if spec is None else spec.model.description,
            served=recorded.served,
            under_way=recorded.under_way,
            ended=recorded.ended,
            lamps=tuple(lamps),
            found=recorded.found,
            monitored=recorded.monitored,
            alarms=alarms_of(said, now),
            course=course,
            limits={} if spec is None else _limits(spec),
            marks=recorded.marks,
            score=recorded.score,
            delivery=recorded.delivery,
            drill=recorded.drill,
            decided=recorded.decided,
            feedback=feedback,
        )

    def _spec(self, name: ModelName) -> tuple[ReleaseSpec | None, list[Lamp]]:
        try:
            return self._services.spec(name), []
        except LockgateError as wrong:
            says = f"{wrong.message}; nothing new can be released"
            return None, [Lamp(name="spec", light=Light.WARN, says=says, next=f"lockgate release --model {name}")]

    def _record(self, name: ModelName) -> Recorded:
        newest = self._services.ledger.last_seq(name)
        if name not in self._recorded or self._recorded[name][0] != newest:
            rows = self._services.ledger.rows(name)
            self._recorded[name] = (newest, recorded_of(self._services, name, rows))
        return self._recorded[name][1]

    def _course(self, name: ModelName, least_rows: int) -> tuple[Course | None, tuple[str, ...]]:
        from lockgate.adapters.board_days import DayFiles

        folder = self._services.settings.home / "monitoring" / name
        files = self._days.setdefault(name, DayFiles(folder))
        parts, unread, changed = files.read()
        if changed or name not in self._courses or self._courses[name][0] != least_rows:
            self._courses[name] = (least_rows, course_of(parts, self._profile, least_rows=least_rows))
        return self._courses[name][1], unread

    def _feedback(self, name: ModelName, now: datetime) -> tuple[Mapping[str, Json], list[Lamp]]:
        """Return what people said, in numbers; looked up in the logs now and then only, for it may take long."""
        from lockgate.adapters.feedback_log import read_feedback

        read = self._said.get(name)
        if read is not None and now - read[0] < _FEEDBACK_EVERY:
            return read[1], []
        try:
            said = read_feedback(self._services.settings.serving(PRODUCTION), name, now - _FEEDBACK_SINCE)
        except LockgateError as wrong:
            return {}, [
                Lamp(name="feedback", light=Light.UNKNOWN, says=wrong.message, next=f"lockgate feedback {name}")
            ]
        told = {verdict: count for verdict, count in said.verdicts.items() if count}
        self._said[name] = (now, told)
        return told, []

    def _profile(self, digest: Digest) -> Profile | None:
        if digest not in self._profiles:
            folder = self._services.bundles.folder(digest)
            read = read_part(folder, "reference_profile.json")
            self._profiles[digest] = None if read is None else profile_of(read)
        return self._profiles[digest]


def _limits(spec: ReleaseSpec) -> dict[str, float]:
    return {"drift": spec.monitoring.psi, "latency_ms": spec.monitoring.slo.latency_ms}


def _overridden(name: ModelName, rows: Sequence[LedgerRow], now: datetime) -> list[Lamp]:
    overridden = [row for row in rows if row.event is Event.OVERRIDDEN]
    shouted = [each.shout() for each in current(overridden, now)]
    return [Lamp(name="override", light=Light.BAD, says=each, next=f"lockgate history {name}") for each in shouted]


def _unread(name: ModelName, files: Sequence[str]) -> list[Lamp]:
    if not files:
        return []
    says = f"{len(files)} summaries of days cannot be read and are left out, e.g. {files[0]}"
    return [Lamp(name="days", light=Light.WARN, says=says, next=f"lockgate monitor {name}")]
