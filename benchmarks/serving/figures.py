"""The figures that the server is held to: what was measured against the bound, and the aim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What it is.
        value: What was measured; None where it could not be.
        unit: Its unit.
        bound: What it must keep.
        aim: What it should.
        at_least: Whether more is better.
        why_missing: Why there is no value.
    """

    name: str
    value: float | None
    unit: str
    bound: float
    aim: float | None
    at_least: bool = False
    why_missing: str = ""

    def keeps(self, limit: float | None) -> bool | None:
        """Tell whether it keeps a limit; None where there is no limit or no value."""
        if self.value is None or limit is None:
            return None
        return self.value >= limit if self.at_least else self.value <= limit

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "bound_met": self.keeps(self.bound), "aim_met": self.keeps(self.aim)}


def figures(document: Mapping[str, Any]) -> list[Figure]:
    """Return every line of a document of `session.run`."""
    return [*_ratios(document), *_costs(document), *_rows(document), *_latencies(document), *_size(document)]


def median_us(document: Mapping[str, Any], name: str) -> float | None:
    """Return a server's CPU time a request; None where it is void or was not measured."""
    found = document["closed_loop"].get(name, {})
    return None if found.get("void") else found.get("median_us")


def why(document: Mapping[str, Any], name: str) -> str:
    """Return why a server has no figure."""
    return str(document["missing"].get(name) or document["closed_loop"].get(name, {}).get("void") or "not measured")


def fastest_fastapi(document: Mapping[str, Any]) -> str:
    """Return which of the two FastAPI programs is the faster, which is the one we are compared with."""
    known = [name for name in ("fastapi", "fastapi-bare") if median_us(document, name) is not None]
    return min(known, key=lambda name: median_us(document, name) or 0.0, default="fastapi")


def _ratios(document: Mapping[str, Any]) -> list[Figure]:
    ours = median_us(document, "lockgate")
    found = []
    for title, name, bound, aim in (
        ("MLServer / Lockgate, CPU per request, the same row", "mlserver", 6.0, 10.0),
        ("KServe / Lockgate", "kserve", 7.0, 12.0),
        ("FastAPI, tuned, the faster of two / Lockgate", fastest_fastapi(document), 2.0, 3.0),
    ):
        theirs = median_us(document, name)
        missing = why(document, name if theirs is None else "lockgate")
        value = None if theirs is None or ours is None else theirs / ours
        found.append(Figure(title, value, "x", bound, aim, at_least=True, why_missing=missing))
    return found


def _costs(document: Mapping[str, Any]) -> list[Figure]:
    return [
        Figure(title, median_us(document, name), "us", bound, aim, why_missing=why(document, name))
        for title, name, bound, aim in (
            ("CPU per request, one FP32 tensor a row", "lockgate", 70.0, 45.0),
            ("CPU per request, one tensor a column, strings", "lockgate-columns", 70.0, 45.0),
            ("CPU per request, one FP32 tensor, 100 % shadow as well", "lockgate-shadow", 110.0, 80.0),
        )
    ]


def _rows(document: Mapping[str, Any]) -> list[Figure]:
    titles = {"binary": "binary tensor", "arrow": "Arrow stream"}
    return [
        Figure(
            f"1,000 rows over decode + ORT alone, {titles[kind]}",
            found.get("ratio"),
            "x",
            1.3,
            1.1,
            why_missing=str(found.get("void")),
        )
        for kind, found in document["thousand_rows"].items()
    ]


def _latencies(document: Mapping[str, Any]) -> list[Figure]:
    found, rate = document["open_loop"].get("lockgate", {}), document["open_loop"]["rate"]
    return [
        Figure(f"open loop {rate:g}/s, {name} of the server's own histogram", found.get(key), "ms", bound, None)
        for name, key, bound in (("p50", "own_p50_ms", 0.3), ("p99", "own_p99_ms", 2.0))
    ]


def _size(document: Mapping[str, Any]) -> list[Figure]:
    worker = document["worker"]
    return [
        Figure("memory per worker (PSS), one-row requests", worker["loaded_pss_bytes"] / 1e6, "MB", 120.0, 80.0),
        Figure("memory per worker (PSS), Arrow streams as well", worker["arrow_pss_bytes"] / 1e6, "MB", 120.0, 80.0),
        Figure("start to ready, warm disk", document["start"]["median_s"], "s", 1.0, 0.5),
    ]
