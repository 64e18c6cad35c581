"""What the board's page shows of its content: what needs somebody, figures with their units, and the plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lockgate.adapters.board_plots import Flag, Line, plot
from lockgate.core.alerting.watchdog import MONITOR_SILENT
from lockgate.core.board import BoardContent, Light, ModelBoard
from lockgate.core.board_course import Course, Curve, Mark
from lockgate.core.board_windows import WINDOW_DAYS
from lockgate.core.delivery import Durations

_SCALES: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))
_BACK: Final = ("undo", "rollback")
NOTHING: Final = "\N{EN DASH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that a person should look at.

    Attributes:
        model: Whose; empty for what all models share.
        name: What it is about.
        light: How bad it is.
        says: In words.
        next: The command that comes next.
    """

    model: str
    name: str
    light: Light
    says: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One curve's place in the legend.

    Attributes:
        look: As the curve.
        name: What it is.
        last: Its newest value.
    """

    look: str
    name: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One plot with its words.

    Attributes:
        title: What it shows.
        note: What it is held to, or of what time.
        keys: The legend.
        svg: The drawing.
    """

    title: str
    note: str
    keys: tuple[Key, ...]
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One figure with its name.

    Attributes:
        name: What it is.
        value: With its unit.
        note: Of what, or how it is meant.
    """

    name: str
    value: str
    note: str = ""


def needs(content: BoardContent) -> tuple[Need, ...]:
    """Return all that is bad, then all that waits or warns, each with its next command."""
    found = [*_shared(content)]
    for model in content.models:
        found += _needs_of(model)
    order = (Light.BAD, Light.WARN)
    return tuple(sorted((each for each in found if each.light in order), key=lambda each: order.index(each.light)))


def _shared(content: BoardContent) -> Iterator[Need]:
    """Yield the shared lights; those of which the same is to be said stand together."""
    alike: dict[tuple[Light, str, str], list[str]] = {}
    for lamp in content.lamps:
        alike.setdefault((lamp.light, lamp.says, lamp.next), []).append(lamp.name)
    for (light, says, command), names in alike.items():
        yield Need(model="", name=", ".join(names), light=light, says=says, next=command)


def _needs_of(model: ModelBoard) -> Iterator[Need]:
    def need(name: str, light: Light, says: str, command: str) -> Need:
        return Need(model=model.model, name=name, light=light, says=says, next=command)

    raised = {alarm.name for alarm in model.alarms}
    for lamp in model.lamps:
        if not (lamp.name == "monitor" and MONITOR_SILENT in raised):  # the alert says the same
            yield need(lamp.name, lamp.light, lamp.says, lamp.next)
    for alarm in model.alarms:
        yield need(alarm.name, Light.BAD if alarm.state == "open" else Light.UNKNOWN, alarm.reason, alarm.next)
    for found in model.found:
        if found.name not in raised:
            yield need(found.name, found.light, found.reason, found.next)
    waits = model.under_way
    if waits is not None and waits.waits:
        yield need(waits.release, Light.WARN, waits.says, waits.commands[0][0] if waits.commands else "")
    if model.ended is not None and model.under_way is None:
        yield need(model.ended.release, model.ended.light, f"{model.ended.outcome}: {model.ended.reason}",
                   model.ended.next)  # fmt: skip
    if model.drill is not None:
        yield need("drill", model.drill.light, model.drill.says, model.drill.next)


def ago(then: datetime, now: datetime) -> str:
    """Return a time as a distance.

    >>> ago(datetime(2026, 1, 1), datetime(2026, 1, 3, 1))
    '2 d ago'
    """
    seconds = (now - then).total_seconds()
    return next((f"{seconds // size:.0f} {unit} ago" for size, unit in _SCALES if seconds >= size), "just now")


def span(seconds: float) -> str:
    """Return a duration.

    >>> span(5400.0), span(0.25)
    ('1.5 h', '0.25 s')
    """
    return next((f"{seconds / size:.3g} {unit}" for size, unit in _SCALES if seconds >= size), f"{seconds:.3g} s")


def figures(model: ModelBoard) -> tuple[Figure, ...]:
    """Return a model's plots, those that have anything to show."""
    course = model.course
    if course is None:
        return ()
    flags = tuple(_flag(mark) for mark in model.marks)
    drift, latency = model.limits.get("drift"), model.limits.get("latency_ms")
    failed = tuple(float(each) for each in course.failed)
    most = f", {course.worst[0][0]}" if course.worst else ""
    drawn = (
        _figure(
            course, flags, "Quality", f"mean loss of {WINDOW_DAYS} days",
            (("ours", "realised", course.loss), ("theirs", "expected", course.expected_loss)),
        ),
        _figure(course, flags, "Ranking", f"AUC of {WINDOW_DAYS} days", (("ours", "AUC", course.auc),)),
        _figure(
            course, flags, "Drift", f"PSI of {WINDOW_DAYS} days beyond chance",
            (("ours", f"most drifted{most}", course.drift), ("theirs", "score", course.score_drift)),
            limit=drift, zero=True,
        ),
        _figure(
            course, flags, "Traffic", "requests a day",
            (("area", "requests", tuple(float(each) for each in course.requests)),
             *((("bad", "failed", failed),) if any(failed) else ())),
            zero=True,
        ),
        _figure(
            course, flags, "Latency", f"ms{'' if latency is None else f', slow from {latency:g} on'}",
            (("ours", "p99", course.p99_ms), ("theirs", "p50", course.p50_ms)),
            limit=latency, zero=True,
        ),
    )  # fmt: skip
    return tuple(each for each in drawn if each is not None)


def _figure(  # noqa: PLR0913 - a plot has this many facts; those with a default are keywords
    course: Course,
    flags: Sequence[Flag],
    title: str,
    note: str,
    curves: Iterable[tuple[str, str, Curve]],
    *,
    limit: float | None = None,
    zero: bool = False,
) -> Figure | None:
    shown = [(look, name, values) for look, name, values in curves if any(value is not None for value in values)]
    lines = [Line(look=look, values=values) for look, _, values in shown]
    keys = tuple(Key(look=look, name=name, last=_last(values)) for look, name, values in shown)
    words = f"{title}, {note}: " + ", ".join(f"{key.name} {key.last}" for key in keys)
    svg = plot(course.days, lines, flags, title=words, limit=limit, zero=zero)
    return Figure(title=title, note=note, keys=keys, svg=svg) if svg else None


def _last(values: Curve) -> str:
    newest = next((value for value in reversed(values) if value is not None), None)
    if newest is None:
        return NOTHING
    return f"{newest:,.0f}" if abs(newest) >= 1000 else f"{newest:.3g}"


def _flag(mark: Mark) -> Flag:
    back = mark.kind in _BACK
    number = mark.release.rpartition("-")[2].lstrip("0") or mark.release
    return Flag(day=mark.at.date(), label=f"{'↩' if back else ''}{number}", back=back)


def told(mark: Mark) -> str:
    """Say what a mark is."""
    what = {"promotion": "took over", "rollback": "was rolled back to", "undo": "was undone"}
    return f"{mark.release or 'another bundle'} {what.get(mark.kind, mark.kind)}"


def facts(model: ModelBoard) -> tuple[Fact, ...]:
    """Return a model's figures: delivery, ML Test Score, rehearsal, feedback."""
    return (*_delivered(model), *_scored(model), *_said(model))


def _delivered(model: ModelBoard) -> Iterator[Fact]:
    found = model.delivery
    if found is None:
        return
    often = NOTHING if found.per_30_days is None else f"{found.per_30_days:.2g} a month"
    yield Fact(name="Deployments", value=often, note=f"{found.promotions} of {found.releases} releases promoted")
    yield Fact(name="Lead time", value=_median(found.lead_time), note="from data to production, median")
    share = NOTHING if found.failure_fraction is None else f"{found.failure_fraction:.0%}"
    yield Fact(name="Failed changes", value=share, note=f"{found.failures} of {found.changes} taken back")
    yield Fact(name="Time to restore", value=_median(found.restore), note="from decision to verified answers")


def _median(found: Durations | None) -> str:
    return NOTHING if found is None else span(found.median_s)


def _scored(model: ModelBoard) -> Iterator[Fact]:
    found = model.score
    if found is not None:
        areas = ", ".join(f"{area} {score:g}" for area, score in found.areas.items())
        yield Fact(name="ML Test Score", value=f"{found.score:g} of 7", note=areas)


def _said(model: ModelBoard) -> Iterator[Fact]:
    if model.course is not None and model.course.labelled_fraction is not None:
        yield Fact(name="Labels", value=f"{model.course.labelled_fraction:.0%}", note="of all rows shown here")
    if model.feedback:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in model.feedback.items())
        yield Fact(name="Feedback", value=counts, note="people's words in 30 days")


def shown(model: ModelBoard) -> bool:
    """Tell whether there is anything to show of a model beyond that it is there."""
    said = (model.served, model.under_way, model.ended, model.course, model.monitored, model.alarms)
    return any(each for each in said if each is not None) or any(lamp.light is not Light.GOOD for lamp in model.lamps)


def headline(content: BoardContent) -> str:
    """Say in one line how everything is."""
    bad = sum(each.light is Light.BAD for each in needs(content))
    warned = sum(each.light is Light.WARN for each in needs(content))
    if bad:
        return f"{bad} {'thing needs' if bad == 1 else 'things need'} somebody now"
    if not content.models:
        return "No model yet"
    if warned:
        return f"Nothing is broken; {warned} {'thing is' if warned == 1 else 'things are'} worth a look"
    return "All well" if content.light is Light.GOOD else "Nothing is known to be wrong, but not all could be seen"
