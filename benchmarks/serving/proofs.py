"""What our server says about itself: that what a figure claims to hold (split, log, shadow) was really on."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Mapping

from benchmarks.serving.closed_loop import Result
from benchmarks.serving.machine import say
from benchmarks.serving.ours import CHALLENGER_WEIGHT
from benchmarks.serving.processes import Running
from benchmarks.serving.session import Session

COMPLETE = 0.999
"""Share of the answers that the log and the shadow must have seen for a figure "with" them to count."""


def page(running: Running) -> str:
    """Return the text of /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def counters(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Return the samples of one metric by its labels."""
    pattern = re.compile(rf"^{name}(?:\{{(?P<labels>.*)\}})? (?P<value>\S+)$", re.MULTILINE)
    return {
        tuple(re.findall(r'(\w+)="([^"]*)"', match["labels"] or "")): float(match["value"])
        for match in pattern.finditer(text)
    }


def our_facts(session: Session, results: Mapping[str, Result]) -> dict[str, dict[str, float]]:
    """Return what proves that everything was on; a figure measured without it is made void."""
    found = {}
    for shared in ("lockgate", "lockgate-shadow"):
        running = session.running.get(shared)
        if running is None:
            continue
        seen = _settled(running)
        found[shared] = seen
        share = seen["challenger_share"]
        if not CHALLENGER_WEIGHT / 2 < share < CHALLENGER_WEIGHT * 2:
            _void(results, shared, f"the split was not on: the challenger answered {share:.1%}")
        if seen["logged_rows"] < COMPLETE * seen["rows"]:
            _void(results, shared, f"the prediction log kept {seen['logged_rows']:.0f} of {seen['rows']:.0f} rows")
        if shared == "lockgate-shadow" and seen["shadow_rows"] < COMPLETE * seen["rows"]:
            _void(results, shared, f"the shadow answered {seen['shadow_rows']:.0f} of {seen['rows']:.0f} rows")
    return found


def _settled(running: Running) -> dict[str, float]:
    """Return the counts once the log has caught up; it is written off the hot path, half a second later at most."""
    deadline = time.monotonic() + 5.0
    while True:
        seen = our_counts(page(running))
        if seen["logged_rows"] >= seen["rows"] or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def our_counts(text: str) -> dict[str, float]:
    """Return what was answered, by whom, logged and shadowed, from the text of /metrics."""
    arms: dict[str, float] = {}
    for labels, value in counters(text, "lockgate_rows_total").items():
        arm = dict(labels)["arm"]
        arms[arm] = arms.get(arm, 0.0) + value
    rows = sum(arms.values())
    shadowed = sum(counters(text, "lockgate_shadow_requests_total").values())
    return {
        "rows": rows,
        "challenger_share": arms.get("challenger", 0.0) / max(1.0, rows),
        "shadow_rows": shadowed,
        "logged_rows": sum(counters(text, "lockgate_log_written_rows_total").values()) - shadowed,
        "dropped_rows": sum(counters(text, "lockgate_log_dropped_rows_total").values()),
    }


def _void(results: Mapping[str, Result], shared: str, why: str) -> None:
    say(f"{shared} is void: {why}")
    for name, result in results.items():
        if name == shared or (shared == "lockgate" and name == "lockgate-columns"):
            result.void = why
