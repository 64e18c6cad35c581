"""A home as the board finds it: a chain with releases and rollbacks, and days of traffic that slowly go wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from lockgate.bootstrap import Services
from lockgate.config import Settings, load_settings
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, canonical_json
from lockgate.core.ledger import Event, Outcome
from lockgate.core.monitoring.summary import LATENCY_EDGES_US, RANK_LOGITS, ColumnCounts, DaySummary, LabelSums
from lockgate.core.online.means import Sums
from tests.fakes import FakeClock
from tests.record import Writer

FIRST_DAY = date(2013, 1, 2)
DISTANCE = (0.1, 0.0, 0.3, 0.0, 0.3, 0.0, 0.28)
PROFILE: Mapping[str, Json] = {
    "schema_version": 1,
    "rows": 20_000,
    "numeric": {"distance": {"edges": [1, 2, 3], "shares": [*DISTANCE, 0.02], "mean": 0, "sd": 1}},
    "categorical": {"carrier": {"values": ["UA", "B6"], "shares": [0.5, 0.4, 0.1, 0.0]}},
    "score": {"probability": {"edges": [0.2, 0.5], "shares": [0.6, 0.0, 0.3, 0.0, 0.1, 0.0], "mean": 0, "sd": 1}},
}
A, B, C = (Digest(letter * 64) for letter in "abc")


def settings_of(home: Path, *, ports: int = 9) -> Settings:
    """Return settings of a home whose servers are surely not running: port 9 discards, and nothing listens there."""
    return replace(load_settings({"LOCKGATE_HOME": str(home)}), ports=dict.fromkeys(load_settings({}).ports, ports))


def at(day: date, hour: int = 3) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def summary(model: str, digest: Digest, day: date, rows: int, decay: float, *, labelled: bool = True) -> DaySummary:
    """Return a day of `rows` requests; `decay` from 0 (as at release) to 1."""
    season = 1.0 + 0.15 * math.sin(day.toordinal())
    rows = round(rows * season)
    shares = np.array([*DISTANCE, 0.02]) * np.array([1, 1, 1, 1, 1, 1, 1 + 2.2 * decay, 1 + 4 * decay])
    spread = [round(float(each)) for each in rows * shares / shares.sum()]
    carriers = [round(rows * each) for each in (0.5 - 0.2 * decay, 0.4 + 0.1 * decay, 0.1 + 0.1 * decay)]
    score = [round(rows * each) for each in (0.6 - 0.1 * decay, 0.0, 0.3, 0.0, 0.1 + 0.1 * decay)]
    latency = [0] * (len(LATENCY_EDGES_US) + 1)
    for bin_, share in ((20, 0.6), (26, 0.3), (34, 0.08), (44 + day.day % 3, 0.02)):
        latency[bin_] = round(rows * share)
    n = round(0.95 * rows) if labelled else 0
    loss = 0.145 + 0.03 * decay + 0.006 * math.sin(day.toordinal() * 0.7)
    return DaySummary(
        model=ModelName(model),
        digest=digest,
        day=day.isoformat(),
        requests=rows,
        rows=rows,
        failed=rows // 60 if day.day == 17 else 0,
        features={
            "distance": ColumnCounts(bins=tuple(spread[:-1]), missing=spread[-1]),
            "carrier": ColumnCounts(bins=tuple(carriers)),
        },
        score=ColumnCounts(bins=tuple(score)),
        latency_us=tuple(latency),
        expected_loss=Sums(n=rows, total=rows * 0.147, squares=rows * 0.03),
        labels=LabelSums(n=n, loss=loss * n, ranks=_ranks(n, decay)) if labelled else LabelSums(),
    )


def _ranks(n: int, decay: float) -> tuple[tuple[int, int], ...]:
    edges, bins = np.array(RANK_LOGITS), len(RANK_LOGITS) + 1
    means = (-1.6, -0.7 - 0.4 * decay)
    curves = [np.exp(-0.5 * (np.append(edges, edges[-1]) - mean) ** 2 / 0.9**2) for mean in means]
    each = [
        np.round(share * n * curve / curve.sum()).astype(int) for share, curve in zip((0.8, 0.2), curves, strict=True)
    ]
    return tuple((int(each[0][at]), int(each[1][at])) for at in range(bins))


def write_day(home: Path, day: DaySummary) -> Path:
    path = home / "monitoring" / day.model / f"{day.day}-{day.digest[:12]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(canonical_json(day))
    return path


def write_profile(settings: Settings, *digests: Digest) -> None:
    for digest in digests:
        folder = settings.bundles / digest
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "reference_profile.json").write_text(json.dumps(PROFILE))


def write_days(settings: Settings, model: str, days: int, *, rows: int = 900) -> None:
    """Write the days of one bundle that decays, is replaced after two fifths, and decays again."""
    write_profile(settings, A, B)
    change = 2 * days // 5
    for number in range(days):
        digest, since = (A, number) if number < change else (B, number - change)
        labelled = number < days - 5
        day = summary(model, digest, FIRST_DAY + timedelta(days=number), rows, since / days * 1.6, labelled=labelled)
        write_day(settings.home, day)


def release(services: Services, number: int, bundle: Digest, champion: Digest | None, day: date) -> Writer:
    clock = services.clock
    assert isinstance(clock, FakeClock)
    clock.time = at(day)
    return Writer(services.ledger, clock, ReleaseId(f"flights-{number:04d}"), bundle, champion=champion)


def history(services: Services, days: int = 240) -> None:
    """Write two promotions, a block in between, what the monitor found, an alert, a drill, and a release that waits."""
    release(services, 1, A, None, FIRST_DAY).whole()
    blocked = release(services, 2, C, A, FIRST_DAY + timedelta(days=days // 5))
    blocked.open()
    blocked.add(Event.RELEASE_ENDED, outcome=Outcome.BLOCKED.value, reason="gate quality said FAIL", gate="quality")
    second = release(services, 3, B, A, FIRST_DAY + timedelta(days=2 * days // 5))
    second.whole()
    drilled(second)
    watched(second, FIRST_DAY + timedelta(days=days - 1))


def drilled(writer: Writer) -> None:
    payload: dict[str, Json] = {
        "drill": "flights-drill-0001", "mode": "shadow", "fault": "errors", "verdict": "passed", "passed": True,
        "times_s": {"restored": 4.2}, "lost": 0, "asked": 400, "reason": "undone", "next": "nothing", "run": "r",
    }  # fmt: skip
    writer.ledger.append(ModelName("flights"), Event.DRILL, payload, release=ReleaseId("flights-drill-0001"))


def watched(writer: Writer, day: date) -> None:
    writer.clock.time = at(day, 6)
    findings: list[Json] = [
        {"name": "truth.coverage", "state": "no_data", "harm": 0.0, "reason": "too few labels are due", "next": ""},
        {"name": "loss", "state": "harm", "harm": 0.021, "reason": "the loss is 0.171, at release it was 0.147",
         "next": "lockgate release --model flights"},
        {"name": "drift", "state": "noise", "harm": 0.001, "reason": "distance has moved, to no harm",
         "next": "lockgate monitor flights", "evidence": {"slice": "distance"}},
        {"name": "errors", "state": "ok", "harm": 0.0, "reason": "no request failed", "next": ""},
    ]  # fmt: skip
    writer.ledger.append(ModelName("flights"), Event.MONITORED, {"state": "harm", "findings": findings})
    alert: dict[str, Json] = {
        "key": "flights:loss", "action": "raised", "harm": 0.021, "owner": "ada",
        "reason": "the loss is 0.171, at release it was 0.147", "next": "lockgate release --model flights",
    }  # fmt: skip
    writer.ledger.append(ModelName("flights"), Event.ALERT, alert)
    writer.clock.advance(1800)


def waiting(services: Services, day: date) -> None:
    """Open a release that waits for a person."""
    writer = release(services, 4, C, B, day)
    writer.clock.time = at(day, 7)
    writer.open()
    blessing = writer.bless()
    expires = (writer.clock.time + timedelta(hours=8)).isoformat()
    bound: dict[str, Json] = {"blessing": blessing.digest, "dossier": "d" * 64, "champion": B}
    writer.add(Event.APPROVAL_ASKED, **bound, expires_at=expires, run="r")


SPEC = """\
model: {name: flights, description: "Will this flight be more than 15 minutes late?"}
task: {kind: binary, classes: ["no", "yes"]}
data: {suite: flights, label: late, time: at, key: [id], numeric: [distance]}
"""
