"""A replay's report: one self-contained page, of the same look as the dossier, and beside it the JSON it is made of.

It is written from the result alone, so that a page can be made again from `replay.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lockgate.adapters.dossier_svg import BAD, INK, MUTED, OURS, THEIRS, svg
from lockgate.adapters.durable_files import write_whole
from lockgate.adapters.pages import page_environment
from lockgate.core.estimates import items, number, within
from lockgate.core.ids import Json
from lockgate.core.replay_comparison import ALWAYS, CURVES, MONTHLY, NEVER, ORACLE, SERVED
from lockgate.core.replay_words import (
    NAMES,
    aim_rows,
    alike_sentences,
    at,
    cost_rows,
    failed_fits,
    headline,
    means_rows,
    measures_of,
    month_rows,
    spread,
    stage_rows,
    worse,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE: Final = "replay.html"
_TEMPLATE: Final = "replay.html.j2"
_LOOKS: Final = {
    SERVED: {"color": OURS, "marker": "o", "linewidth": 2.4},
    NEVER: {"color": THEIRS, "linestyle": "--"},
    ALWAYS: {"color": MUTED, "linestyle": "-."},
    MONTHLY: {"color": MUTED, "linestyle": "--", "marker": "s", "markersize": 4},
    ORACLE: {"color": INK, "linestyle": ":", "linewidth": 1.2},
}
_STROKES: Final = ((OURS, "-", 3.2), (THEIRS, "--", 1.8), (INK, "-.", 1.4), (MUTED, ":", 1.4))
"""A line a policy, each thinner than the one it may lie on."""
_COUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "releases": ("releases", "opened"),
    "promoted": ("releases", "outcomes", "promoted"),
    "held back": ("releases", "held_back"),
    "fits": ("cost", "fits"),
    "people's approvals": ("cost", "approvals", "people"),
    "requests lost": ("cost", "requests", "lost"),
    "machine, s": ("cost", "total_s"),
    "false alarms": ("alarms", "counted", "false"),
}
"""What stands beside each other of policies, and where the result has it."""
_WIDTH_IN: Final = 7.2
Policy = Mapping[str, Json]


def write_report(result: Mapping[str, Json], folder: Path) -> Path:
    """Write the page into a folder and return its path."""
    page = folder / PAGE
    write_whole(page, report_html(result))
    return page


def report_html(result: Mapping[str, Json]) -> str:
    """Return the page of a replay's result."""
    policies = [each for each in items(result.get("policies")) if isinstance(each, Mapping)]
    shown = [_shown(number_, policy) for number_, policy in enumerate(policies)]
    both = None if len(policies) < 2 else _side_by_side(policies)
    held = [(str(policy["policy"]), aim_rows(policy)) for policy in policies]
    return page_environment().get_template(_TEMPLATE).render(result=result, policies=shown, both=both, held=held)


def _shown(place: int, policy: Policy) -> dict[str, object]:
    measures = measures_of(policy)
    head, rows = month_rows(policy)
    return {
        "id": f"policy-{place}",
        "name": policy["policy"],
        "headline": headline(policy),
        "worse": worse(policy),
        "judged": any(at(each, "judged_on") is not None for each in items(policy.get("takeovers"))),
        "head": head,
        "rows": rows,
        "measures": [NAMES[each] for each in measures],
        "gains": [f"served's gain, {NAMES[each]}" for each in measures],
        "means": means_rows(policy),
        "alike": alike_sentences(policy),
        "cost": cost_rows(policy),
        "failed_fits": failed_fits(policy),
        "stages": stage_rows(policy),
        "shortened": items(policy.get("shortened")),
        "outcomes": at(policy, "releases", "outcomes"),
        "held_back": at(policy, "releases", "held_back"),
        "by_harm": at(policy, "releases", "by_harm"),
        "stopped_by": at(policy, "releases", "stopped_by"),
        "alarms": at(policy, "alarms", "counted"),
        "alarm_measure": NAMES.get(str(at(policy, "alarms", "measure")), ""),
        "seconds": number(policy.get("seconds")) or 0.0,
        "timeline": _timeline(f"timeline-{place}", policy),
        "plots": [_quality(f"quality-{place}-{each}", policy, each) for each in measures[:2]],
    }


def _quality(name: str, policy: Policy, measure: str) -> str:
    """Draw a measure by month, a line a curve, with the interval of what served."""
    months = items(policy.get("by_month"))
    labels = [str(at(each, "month")) for each in months]

    def draw(axes: Axes) -> None:
        _band(axes, months, measure)
        for curves, values in _lines(months, measure):
            axes.plot(range(len(values)), values, label=" = ".join(curves), **_LOOKS[curves[0]])  # type: ignore[arg-type]  # of a look
        _name_months(axes, range(len(labels)), labels)
        axes.set_ylabel(NAMES[measure])
        axes.legend(loc="best", ncols=2)

    title = f"{NAMES[measure]} by month"
    return svg(
        name, draw, (_WIDTH_IN, 3.0), title, f"{title}: what served, and {len(CURVES) - 1} others, on the same rows."
    )


def _lines(months: Sequence[Json], measure: str) -> list[tuple[list[str], list[float]]]:
    """Return the lines of a plot: curves alike in every month are one of them; NaN where there is no number."""
    lines: dict[tuple[float | None, ...], list[str]] = {}
    for curve in CURVES:
        lines.setdefault(tuple(number(at(each, "curves", curve, measure)) for each in months), []).append(curve)
    return [(curves, [float("nan") if each is None else each for each in values]) for values, curves in lines.items()]


def _band(axes: Axes, months: Sequence[Json], measure: str) -> None:
    bounds = [
        (number(at(each, "served", measure, "low")), number(at(each, "served", measure, "high"))) for each in months
    ]
    for place, (low, high) in enumerate(bounds):
        if low is not None and high is not None:
            axes.plot([place, place], [low, high], color=OURS, linewidth=1.0, alpha=0.7)


def _timeline(name: str, policy: Policy) -> str:
    """Draw who served when, and what came of each month's data."""
    months = [each for each in items(policy.get("months")) if isinstance(each, Mapping)]
    champions = list(dict.fromkeys(str(each["champion"]) for each in months))

    def draw(axes: Axes) -> None:
        for place, month in enumerate(months):
            axes.barh(champions.index(str(month["champion"])), 1.0, left=place, height=0.55, color=OURS)
            outcome = at(month, "ended", "outcome")
            mark, color = {"promoted": ("^", OURS), "": ("_", MUTED)}.get(str(outcome), ("x", BAD))
            axes.plot(place + 1.0, -0.75, mark, color=color, markersize=7, clip_on=False)
            for each in items(month.get("harm")):
                mark, color = ("^", OURS) if within(each, "outcome") == "promoted" else ("x", BAD)
                axes.plot(place + 0.75, -0.75, mark, color=color, markersize=7, markerfacecolor="none", clip_on=False)
        axes.set_yticks(range(len(champions)), champions)
        _name_months(axes, [place + 0.5 for place in range(len(months))], [str(each["month"]) for each in months])
        axes.set(xlim=(0, len(months) + 0.1), ylim=(-1.0, len(champions) - 0.4))
        axes.grid(visible=False, axis="y")

    told = "Who served in which month; below, what came of its data: a triangle took over, a cross was stopped. "
    told += "Inside a month: harm started it."
    return svg(name, draw, (_WIDTH_IN, 1.1 + 0.32 * len(champions)), "Timeline of champions", told)


def _side_by_side(policies: Sequence[Policy]) -> dict[str, object]:
    """Return one table and one plot of what each policy served."""
    measures = measures_of(policies[0])
    names = [str(policy["policy"]) for policy in policies]
    worth = [[spread(at(policy, "means", SERVED, each)) for each in measures] for policy in policies]
    counts = [[_count(at(policy, *path)) for path in _COUNTS.values()] for policy in policies]
    tables = [
        (("policy", *(f"{NAMES[each]} of what served" for each in measures)), _named(names, worth)),
        (("policy", *_COUNTS), _named(names, counts)),
    ]

    def draw(axes: Axes) -> None:
        for policy, (color, style, wide) in zip(policies, cycle(_STROKES), strict=False):
            months = items(policy.get("by_month"))
            values = [number(at(each, "curves", SERVED, measures[0])) for each in months]
            drawn = [float("nan") if each is None else each for each in values]
            name = str(policy["policy"])
            axes.plot(range(len(months)), drawn, marker="o", color=color, linestyle=style, linewidth=wide, label=name)
        _name_months(axes, range(len(months)), [str(at(each, "month")) for each in months])
        axes.set_ylabel(NAMES[measures[0]])
        axes.legend(loc="best")

    title = f"{NAMES[measures[0]]} of what served, by policy"
    drawn = svg("both", draw, (_WIDTH_IN, 3.0), title, "The same months under each policy.")
    return {"tables": tables, "plot": drawn}


def _name_months(axes: Axes, at_places: Sequence[float], names: Sequence[str]) -> None:
    """Name the months below; many of them aslant, so that they do not run together."""
    axes.set_xticks(at_places, names, rotation=45 if len(names) > 6 else 0)


def _named(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    return [(name, *row) for name, row in zip(names, rows, strict=True)]


def _count(given: Json) -> str:
    """Return a count or a time; what a result does not hold, because nothing of it happened, is 0."""
    return f"{number(given) or 0.0:,.0f}"
