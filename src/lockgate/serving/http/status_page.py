"""One page for people at `/`: what is served, to whom, how fast, and what went wrong last. No script, no reference."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

from lockgate import __version__
from lockgate.core.ids import Digest
from lockgate.serving.http.handling import Headers, Request, Response, Route
from lockgate.serving.http.status_arms import model_card
from lockgate.serving.http.status_style import STYLE
from lockgate.serving.routing.router import Route as ModelRoute
from lockgate.serving.service import Service
from lockgate.serving.watch.metric_snapshot import Labelled, Snapshot, decode, merged

_HEADERS: Final[Headers] = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
_LISTED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the page shows.

    Attributes:
        environment: `sandbox`, `staging`, `production`.
        problems: Why the server is not ready.
        table: What is routed.
        wrong: Why a bundle's last self-probe did not hold, by digest.
        snapshot: What all processes counted.
        now: Seconds since the epoch.
    """

    environment: str
    problems: Sequence[str]
    table: Mapping[str, ModelRoute]
    wrong: Mapping[Digest, str]
    snapshot: Snapshot
    now: float


async def status(service: Service, request: Request) -> Response:
    """Show the server to a person."""
    del request

    async def make() -> bytes:
        own, share = service.metrics.snapshot(), service.metrics.share
        problems, table, wrong = service.problems(), service.router.table, service.health.self_probe.wrong

        def whole() -> bytes:
            shown = Shown(
                environment=service.options.environment, problems=problems, table=table, wrong=wrong,
                snapshot=merged([decode(own), *share(own)]), now=time.time(),
            )  # fmt: skip
            return page(shown).encode()

        return await asyncio.to_thread(whole)

    return Response(200, await service.metrics.status.get(make), b"text/html; charset=utf-8", _HEADERS)


def page(shown: Shown) -> str:
    """Return the page as HTML."""
    counted = {family.name: family.values for family in shown.snapshot.families}
    models = "".join(
        model_card(name, route, shown.snapshot.arms, shown.wrong) for name, route in sorted(shown.table.items())
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="refresh" content="10">'
        f"<title>Lockgate {escape(shown.environment)}</title><style>{STYLE}</style></head><body>"
        f"{_head(shown, counted)}<main>{models or _NOTHING}{_traffic(shown, counted)}{_failures(shown)}</main>"
        '<footer><a href="/metrics">metrics</a> <a href="/openapi.json">API document</a> '
        '<a href="/v2/health/ready">readiness</a></footer></body></html>\n'
    )


_NOTHING: Final = (
    "<section><h2>No model is routed here yet.</h2><p>Requests are refused with 404. The first "
    "<code>PUT /admin/routing/MODEL</code> to the admin port, which a release does by itself, puts one in place.</p>"
    "</section>"
)


def _head(shown: Shown, counted: Mapping[str, Labelled]) -> str:
    ready = '<b class="badge bad">not ready</b>' if shown.problems else '<b class="badge good">ready</b>'
    if not shown.table and not shown.problems:
        ready = '<b class="badge idle">ready, no model</b>'
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in (*shown.problems, *shown.snapshot.problems))
    started = _sum(counted, "process_start_time_seconds")
    memory = _sum(counted, "process_resident_memory_bytes") / 1e6
    facts = f"version {escape(__version__)} · up {_duration(shown.now - started)} · {memory:.0f} MB"
    return (
        f"<header><h1>Lockgate <span>{escape(shown.environment)}</span></h1>{ready}<p>{facts}</p>"
        f"{f'<ul class=reasons>{reasons}</ul>' if reasons else ''}</header>"
    )


def _traffic(shown: Shown, counted: Mapping[str, Labelled]) -> str:
    lists: tuple[tuple[str, str], ...] = (
        ("Answers by status", _listed(counted, "lockgate_responses_total")),
        ("Refused", _listed(counted, "lockgate_refused_total")),
        ("Chosen arm had no answer", _listed(counted, "lockgate_fallbacks_total")),
        ("Rows outside the trained domain", _listed(counted, "lockgate_flagged_rows_total")),
        ("Prediction log, rows", _log(counted)),
        ("Labels, since the archive began", _labels(counted)),
    )
    apart: Counter[str] = Counter()
    for arm in shown.snapshot.arms:
        apart[arm.kind] += sum(arm.latency)
    uncounted = [(kind, apart[kind]) for kind in ("forced", "probe") if apart[kind]]
    if uncounted:
        lists = (*lists, ("In no statistic", _rows(uncounted)))
    cards = "".join(
        f"<div class=card><h3>{title}</h3><table>{rows or '<tr><td>none</td></tr>'}</table></div>"
        for title, rows in lists
    )
    return f"<section><h2>Since the start, all processes</h2><div class=cards>{cards}</div></section>"


def _log(counted: Mapping[str, Labelled]) -> str:
    names = (("written", "written_rows_total"), ("waiting", "queued_rows"), ("dropped", "dropped_rows_total"))
    return _rows((name, _sum(counted, f"lockgate_log_{metric}")) for name, metric in names)


def _labels(counted: Mapping[str, Labelled]) -> str:
    waiting = _sum(counted, "lockgate_labels_waiting_rows")
    return _listed(counted, "lockgate_labels_total") + (_rows([("waiting", waiting)]) if waiting else "")


def _failures(shown: Shown) -> str:
    if not shown.snapshot.failures:
        return ""
    rows = "".join(
        f"<tr><td>{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}</td><td>{escape(what)}</td></tr>"
        for at, what in reversed(shown.snapshot.failures)
    )
    return f"<section><h2>Last failures</h2><div class=scroll><table><tbody>{rows}</tbody></table></div></section>"


def _listed(counted: Mapping[str, Labelled], name: str) -> str:
    most = sorted(counted.get(name, {}).items(), key=lambda item: -item[1])
    return _rows((" · ".join(labels), value) for labels, value in most[:_LISTED])


def _rows(numbers: Iterable[tuple[str, float]]) -> str:
    def made() -> Iterator[str]:
        for name, number in numbers:
            yield f"<tr><th>{escape(name)}</th><td class=n>{number:,.0f}</td></tr>"

    return "".join(made())


def _sum(counted: Mapping[str, Labelled], name: str) -> float:
    return math.fsum(counted.get(name, {}).values())


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


ROUTES: Final = (
    Route(
        method="GET",
        path="/",
        handler=status,
        summary="The server on one page, for people.",
        responses={200: "An HTML page."},
        gives={"text/html": "The page."},
    ),
)
