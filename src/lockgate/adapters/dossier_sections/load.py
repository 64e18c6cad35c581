"""Under load: latency along the offered rate with its knee, tails side by side, and what the generator itself cost."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.adapters.dossier_blocks import Section, Table, figure, not_measured, table
from lockgate.adapters.dossier_charts import Series, Words, curves
from lockgate.adapters.dossier_words import interval_text, number_text
from lockgate.core.estimates import count, items, number, read_estimate, within
from lockgate.core.ids import Json

ID, TITLE = "load", "Under load"
_ARMS = ("challenger", "champion")
_TAILS = (("p50_ms", "median"), ("p95_ms", "p95"), ("p99_ms", "p99"), ("max_ms", "longest"))
_WORDS = Words(
    name="knee",
    title="Latency along the offered rate",
    description="95th percentile of latency at each offered rate, challenger beside champion, target rate marked.",
    x="offered, requests a second",
    y="p95 of latency, ms",
)


def load(stress: Json) -> Section:
    """Return the section of the stress gate's measurements."""
    plan = within(stress, "plan")
    target, duration = number(within(plan, "target_rps")), number(within(plan, "duration_s"))
    if target is None or number(within(_steady(stress, "challenger"), "p95_ms")) is None:
        return not_measured(ID, TITLE, "no load test of this bundle can be read from the record.")
    lead = [f"Asked {number_text(target)} requests a second within {number_text(duration)} s, ramp and spike included."]
    lead += [line for line in (_knee(stress), _ratio(stress), _memory(stress)) if line]
    series = [Series(name=arm, points=_steps(stress, arm), theirs=arm == "champion") for arm in _ARMS]
    drawn = curves(_WORDS, series, marked=(target, "target rate"), floor=0.0)
    return Section(
        id=ID,
        title=TITLE,
        lead=tuple(lead),
        blocks=(*figure("Latency curve and knee", drawn, "Open loop, from the intended start."), *_tails(stress)),
    )


def _knee(stress: Json) -> str:
    """Return the knee: the largest offered rate that keeps the service level, as do all below it."""
    found = within(stress, "knee")
    rate, beyond = number(within(found, "rps")), number(within(found, "first_beyond_rps"))
    if rate is None:
        return "No knee was found: what the server holds beyond the target rate is not known."
    held = f"Holds its service level up to {number_text(rate)} requests a second"
    why = within(found, "limited_by")
    if beyond is not None:
        return f"{held}, and not at {number_text(beyond)}: the knee lies between."
    if why == "generator":
        return f"{held}; beyond it the generator was too slow to say."
    return f"{held}, the highest rate that was planned: the knee lies beyond." if why == "plan" else f"{held}."


def _ratio(stress: Json) -> str:
    ratio, own = _with_interval(within(stress, "ratio")), _with_interval(within(stress, "self_ratio"))
    if not ratio:
        return ""
    beside = f"; the champion against itself, in the same run, {own}" if own else ""
    return f"p95 of the challenger over the champion's: {ratio}{beside}."


def _with_interval(ratios: Json) -> str:
    found = within(ratios, "p95")
    value = number(found) if not isinstance(found, Mapping) else number(within(found, "estimate"))
    low, high = number(within(found, "low")), number(within(found, "high"))
    if value is None:
        return ""
    return number_text(value) if low is None or high is None else f"{number_text(value)} {interval_text(low, high)}"


def _memory(stress: Json) -> str:
    found = read_estimate(within(within(stress, "memory"), "challenger"))
    if found is None:
        return ""
    told = f"{number_text(found['estimate'])} bytes a request {interval_text(found['low'], found['high'])}"
    return f"Memory grows by {told}."


def _steady(stress: Json, arm: str) -> Json:
    return within(within(stress, arm), "steady")


def _steps(stress: Json, arm: str) -> list[tuple[float, float]]:
    steps = within(within(stress, "curve"), arm)
    if steps is None and arm == "challenger":
        steps = within(within(stress, "knee"), "steps")
    read = [(number(within(each, "offered_rps")), number(within(each, "p95_ms"))) for each in items(steps)]
    return sorted((x, y) for x, y in read if x is not None and y is not None)


def _tails(stress: Json) -> tuple[Table, ...]:
    arms = [arm for arm in _ARMS if isinstance(_steady(stress, arm), Mapping)]
    rows = [_row(stress, arm) for arm in arms]
    floor = within(stress, "generator")
    if number(within(floor, "p95_ms")) is not None:
        told = [_ms(within(floor, name)) for name, _ in _TAILS]
        rows.append(("the generator alone (its floor)", *told, "", str(count(within(floor, "asked")) or "")))
    columns = ("at the target rate", *(label for _, label in _TAILS), "failed", "requests")
    return table("Latency at the target rate, ms from the intended start", columns, rows)


def _row(stress: Json, arm: str) -> tuple[str, ...]:
    failed = number(within(within(stress, arm), "error_fraction"))
    told = [_ms(within(_steady(stress, arm), name)) for name, _ in _TAILS]
    asked = count(within(_steady(stress, arm), "asked"))
    return (arm, *told, "not measured" if failed is None else f"{failed:.2%}", "" if asked is None else f"{asked:,}")


def _ms(given: Json) -> str:
    found = number(given)
    return "" if found is None else f"{found:.1f}"
