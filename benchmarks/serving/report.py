"""The document of a run as text for a terminal and as a section of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.serving.figures import Figure, fastest_fastapi, figures, median_us

BEGIN, END = "<!-- bench-serving: begin -->", "<!-- bench-serving: end -->"
_TITLES = {
    "echo": "bare echo: raw ASGI on uvicorn, answers of our size",
    "lockgate": "**Lockgate**, one FP32 tensor [1, k] (the rivals' request)",
    "lockgate-columns": "**Lockgate**, one tensor a column, with strings (its own request)",
    "lockgate-shadow": "**Lockgate**, one FP32 tensor, 100 % shadow as well",
    "fastapi": "FastAPI, typed body",
    "fastapi-bare": "FastAPI, body read by hand",
    "mlserver": "MLServer, custom runtime",
    "kserve": "KServe, custom model",
    "mlflow": "`mlflow models serve` (reported only)",
}


def text(document: Mapping[str, Any]) -> str:
    """Return the tables for a terminal."""
    plain = str.maketrans("", "", "*`")
    return "\n".join(line.translate(plain) for line in (*_figures(document), "", *_servers(document)))


def section(document: Mapping[str, Any], command: str) -> str:
    """Return the Markdown between the markers."""
    return "\n".join(
        (
            BEGIN,
            *_where(document, command),
            "",
            *_figures(document),
            "",
            *_servers(document),
            "",
            *_how(document),
            END,
        )
    )


def write(path: Path, document: Mapping[str, Any], command: str) -> None:
    """Put the section into a page, in the place of the one that is there.

    Raises:
        SystemExit: The page has no markers.
    """
    page = path.read_text()
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{path} lacks the markers {BEGIN} and {END}")
    head, rest = page.split(BEGIN, 1)
    path.write_text(head + section(document, command) + rest.split(END, 1)[1])


def _where(document: Mapping[str, Any], command: str) -> Iterator[str]:
    versions, model = document["versions"], document["model"]
    load = ", ".join(f"{each:.2f}" for each in document["load_before"])
    yield f"`{command}`, {document['at'][:16].replace('T', ' ')} UTC, commit {document['commit']}."
    yield (
        f"{document['cpu']}, {document['cores']} cores{' of a virtual machine' if document['virtual'] else ''}, "
        f"{document['memory_bytes'] / 2**30:.0f} GiB, {document['kernel']}, Python {document['python']}, "
        f"{document['wrk'].split(' [')[0]}; load average before it began {load}."
    )
    yield (
        f"One graph for everybody: {model['trees']} boosted trees, {model['leaves']} leaves, {document['columns']} "
        f"columns, fitted on {model['train_rows']:,} flights of the demo."
    )
    yield f"Lockgate: {_listed(versions['lockgate'])}."
    for name, found in versions.items():
        if name not in ("lockgate", "fastapi-bare"):
            yield f"{name}: {_listed(found)}."
    yield "All pins: `benchmarks/serving/requirements/`."


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _figures(document: Mapping[str, Any]) -> Iterator[str]:
    yield "| figure | measured | bound | aim | |"
    yield "|---|---|---|---|---|"
    for figure in figures(document):
        sign = ">=" if figure.at_least else "<="
        aim = "" if figure.aim is None else f"{sign} {figure.aim:g}"
        measured = "-" if figure.value is None else f"{_number(figure.value)} {figure.unit}"
        yield f"| {figure.name} | {measured} | {sign} {figure.bound:g} | {aim} | {_verdict(figure)} |"


def _verdict(figure: Figure) -> str:
    if figure.value is None:
        return f"not measured: {figure.why_missing.partition(chr(10))[0][:120]}"
    if not figure.keeps(figure.bound):
        return "bound missed"
    return "bound and aim met" if figure.keeps(figure.aim) else "bound met"


def _servers(document: Mapping[str, Any]) -> Iterator[str]:
    ours, memory, latency = median_us(document, "lockgate"), document["memory"], document["open_loop"]
    yield "| server, one core | CPU us, median (min) | over Lockgate | answers/s | PSS MB | open loop p50 / p99 ms |"
    yield "|---|---|---|---|---|---|"
    for name, found in document["closed_loop"].items():
        if found.get("void"):
            yield f"| {_TITLES[name]} | void: {found['void'].partition(chr(10))[0][:120]} | | | | |"
            continue
        shared = "lockgate" if name == "lockgate-columns" else name
        seen = latency.get(name)
        row = (
            f"{found['median_us']:.1f} ({found['min_us']:.1f})",
            "" if ours is None else f"{found['median_us'] / ours:.2f}",
            f"{found['rps']:,.0f}",
            f"{memory[shared]['pss_bytes'] / 1e6:.0f}",
            "" if not seen else f"{seen['client_p50_ms']:.2f} / {seen['client_p99_ms']:.2f}",
        )
        yield f"| {_TITLES[name]} | {' | '.join(row)} |"
    for name, reason in document["missing"].items():
        yield f"| {_TITLES.get(name, name)} | missing: {reason.partition(chr(10))[0][:120]} | | | | |"


def _how(document: Mapping[str, Any]) -> Iterator[str]:
    lengths, ours = document["lengths"], document["ours"].get("lockgate", {})
    others = max((each.get("others", 0.0) for each in document["closed_loop"].values()), default=0.0)
    yield from _paragraph(
        "CPU is user and system time of a server's whole process tree over the answers it gave:",
        f"wrk, 32 connections in a closed loop, {lengths['rounds']} rounds of {lengths['turn_s']:g} s in turns,",
        "the server on core 0, the client on core 1, and what a server does within 0.8 s after its last answer.",
        "Every answer was 2xx, and answers were read and held against the fitted estimator's own numbers",
        "before, during and after each turn; else the figure is void.",
        f"Others used at most {others:.1%} of the server's core in a turn.",
    )
    yield from _paragraph(
        "Ours ran as in production:",
        f"prediction log ({ours.get('logged_rows', 0):,.0f} rows written, {ours.get('dropped_rows', 0):,.0f} dropped),",
        "metrics, contract checks, champion and challenger with a sticky split of 90/10 under a lease that was renewed",
        f"(the challenger, a second bundle of the same graph, answered {ours.get('challenger_share', 0):.1%}).",
        "Rivals did none of that beyond what they do by themselves (MLServer and KServe count their requests);",
        "their lines of log a request were off, and ONNX Runtime had one thread and no spinning everywhere.",
        "The ratios compare the same request: one FP32 tensor [1, k] in JSON, numbers and category codes.",
        "Lockgate's own request, a tensor a column with strings, has no like among the rivals,",
        "where a team writes code of its own to take it.",
    )
    yield from _paragraph(
        f"Of the two FastAPI programs, `{fastest_fastapi(document)}` is the faster here and the one of the ratio.",
        "A thousand rows: the server's CPU for one request over the CPU of the same bytes decoded and run",
        f"in a process without a server ({', '.join(_rows_note(document))}).",
        f"Open loop: {document['open_loop']['rate']:g} requests a second, each sent when it was due, in turns with the",
        "echo server; the table's latencies are the client's own, to be compared with the echo server's,",
        "the figures' are from the server's histogram, linear inside a bucket.",
    )
    yield from _paragraph(
        f"Limits: one machine{', virtual' if document['virtual'] else ''}; the turns of one server lay up to",
        f"{_spread(document):.0%} apart, so take less than that for a tie.",
        "CPU per request under saturation is not latency.",
        "The rows that were asked hold no null, because not every rival reads one.",
    )


def _paragraph(*lines: str) -> Iterator[str]:
    yield from lines
    yield ""


def _spread(document: Mapping[str, Any]) -> float:
    """Return how far the dearest turn of a server lay above its cheapest, at most, as a fraction."""
    turns = [each["turns_us"] for each in document["closed_loop"].values() if not each.get("void")]
    return max((max(each) / min(each) - 1 for each in turns), default=0.0)


def _rows_note(document: Mapping[str, Any]) -> Iterator[str]:
    for kind, found in document["thousand_rows"].items():
        if not found.get("void"):
            yield f"{kind} {found['served_us']:,.0f} us over {found['bare_us']:,.0f} us"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
