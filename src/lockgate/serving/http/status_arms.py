"""One model on the status page: what is routed, every arm with its share, its latency and its scores.

An arm that is asked for and not loaded has its line too: a share that nobody serves must not look like none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final

from lockgate.core.ids import Digest
from lockgate.serving.http.status_plot import bars, evenly, filled
from lockgate.serving.routing.router import Route
from lockgate.serving.watch.metric_page import columns, seen
from lockgate.serving.watch.metric_snapshot import ArmSnapshot, Kind
from lockgate.serving.watch.sketch import BINS, LATENCY_S

_NONE: Final = "&#8211;"
_HEADS: Final = ("Arm", "Bundle", "Asked", "Now", "Seen, 1 min", "Answers", "p50", "p99", "Latency", "Score")
_WORDS: Final = 2  # columns that hold words, not numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One arm or shadow, loaded or not."""

    name: str
    kind: Kind
    digest: Digest
    asked: float
    valid: float
    seen: float | None
    loaded: bool


def model_card(name: str, route: Route, counted: Iterable[ArmSnapshot], wrong: Mapping[Digest, str]) -> str:
    """Return one model's part of the page as HTML.

    Args:
        name: The model's.
        route: What is routed.
        counted: What all processes counted, of any model.
        wrong: Why a bundle's last self-probe did not hold, by digest.
    """
    arms = tuple(counted)
    own = {(arm.arm, arm.kind): arm for arm in arms if arm.model == name}
    lines = [_row(each, own.get((each.name, each.kind)), route, wrong) for each in _lines(name, route, arms)]
    heads = "".join(f"<th{'' if at < _WORDS else ' class=n'}>{head}</th>" for at, head in enumerate(_HEADS))
    return (
        f"<section><h2>{escape(name)}</h2><p>{_facts(route)}</p><div class=scroll><table class=arms>"
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _lines(name: str, route: Route, counted: Iterable[ArmSnapshot]) -> Iterator[_Line]:
    desired, share, valid = route.desired, seen(counted), route.weights()
    asked, loaded = desired.arm_weights, {arm.name for arm in route.arms}
    bundles = {"champion": desired.champion, **{each.name: each.bundle for each in desired.challengers}}
    for arm, digest in bundles.items():
        yield _Line(
            name=arm, kind="live", digest=digest, asked=asked[arm], valid=valid.get(arm, 0.0),
            seen=share.get((name, arm)), loaded=arm in loaded,
        )  # fmt: skip
    dark, active = {each.name for each in route.shadows}, {each.name for each in route.active_shadows()}
    for shadow in desired.shadows:
        yield _Line(
            name=shadow.name, kind="shadow", digest=shadow.bundle, asked=shadow.share,
            valid=shadow.share if shadow.name in active else 0.0, seen=None, loaded=shadow.name in dark,
        )  # fmt: skip


def _facts(route: Route) -> str:
    facts = [f"sequence {route.desired.sequence}", f"since {route.desired.since:%Y-%m-%d %H:%M:%S} UTC"]
    if not route.ready:
        facts.append("<b class=bad>not loaded</b>")
    if route.previous is not None:
        facts.append(f"previous {_digest(route.previous.model.digest)} is warm")
    elif route.desired.previous is not None:
        facts.append(f"<b class=bad>previous {_digest(route.desired.previous)} is not loaded</b>")
    if route.desired.leased:
        left = route.lease_until - route.clock()
        facts.append(f"lease ends in {left:.0f} s" if left > 0 else "<b class=bad>the lease has ended</b>")
    return " · ".join(facts)


def _row(line: _Line, arm: ArmSnapshot | None, route: Route, wrong: Mapping[Digest, str]) -> str:
    answers = 0 if arm is None else sum(arm.latency)
    quantiles = ["", ""] if arm is None else [_seconds(LATENCY_S.quantile(arm.latency, at)) for at in (0.5, 0.99)]
    plots = ["", ""] if arm is None else [_latency_plot(arm), _score_plot(arm, route)]
    share = "" if line.kind == "shadow" else _share(line.seen)
    numbers = (_share(line.asked), _share(line.valid), share, f"{answers:,}", *quantiles, *plots)
    cells = "".join(
        f'<td class=n data-of="{head}">{text}</td>' for head, text in zip(_HEADS[_WORDS:], numbers, strict=True)
    )
    called = f"{line.name} (shadow)" if line.kind == "shadow" else line.name
    said = _trouble(line, route, wrong)
    head = f"<th>{escape(called)}</th><td>{_digest(line.digest)}</td>"
    return f"<tr>{head}{cells}</tr>{f'<tr class=why><td colspan={len(_HEADS)}>{said}</td></tr>' if said else ''}"


def _trouble(line: _Line, route: Route, wrong: Mapping[Digest, str]) -> str:
    if not line.loaded:
        return f"<b class=bad>not loaded</b> {escape(route.refused.get(line.digest, 'it is being loaded'))}"
    return f"<b class=bad>answers wrong</b> {escape(wrong[line.digest])}" if line.digest in wrong else ""


def _latency_plot(arm: ArmSnapshot) -> str:
    first, last = filled(arm.latency)
    edges = (0.0, *LATENCY_S.edges, math.inf)
    plot = bars(arm.latency[first : last + 1], f"{arm.arm}: answers by latency")
    return f"{plot}<small>{_seconds(edges[first])} <i></i> {_seconds(edges[last + 1])}</small>"


def _score_plot(arm: ArmSnapshot, route: Route) -> str:
    """Return the distribution of the score: of the positive class, of the value, or of the last class."""
    if not arm.scores or not any(arm.scores[-1]):
        return ""
    names = columns(route.arms[0].model.contract) if route.arms else ()
    name = names[-1] if names else arm.output
    bins, counts = BINS[arm.output], arm.scores[-1]
    if arm.output != "value":
        plot = bars(evenly(counts), f"{arm.arm}: rows by probability of {name}")
        return f"{plot}<small>0 <i>{escape(name)}</i> 1</small>"
    first, last = filled(counts)
    edges = (-math.inf, *bins.edges, math.inf)
    plot = bars(counts[first : last + 1], f"{arm.arm}: rows by value, in relative steps")
    return f"{plot}<small>{edges[first]:g} <i></i> {edges[last + 1]:g}</small>"


def _digest(digest: str) -> str:
    return f'<code title="{escape(digest)}">{escape(digest[:12])}</code>'


def _share(share: float | None) -> str:
    if share is None:
        return _NONE
    return f"{share:.1%}<span class=share><span style=width:{100 * share:.1f}%></span></span>"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    if math.isinf(seconds):
        return f"over {LATENCY_S.edges[-1]:g} s"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:g} ms" if seconds < 1 else f"{seconds:g} s"
