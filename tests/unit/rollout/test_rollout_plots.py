"""The pictures of a rollout's page: PNG, small, drawn from what there is and nothing where there is nothing."""

from __future__ import annotations

import base64
import math

import pytest

from lockgate.adapters.rollout_plots import (
    evidence_picture,
    latency_picture,
    plan_picture,
    shadow_picture,
    weight_picture,
)

MOST_BYTES = 40_000
LONG = [(10.0 * look, math.sin(look / 3.0) * 3.0) for look in range(2000)]
NAMES = ("errors", "latency", "contract", "arrivals", "score", "quality", "kpi:$basket")
DRAWN = {
    "evidence": evidence_picture(
        {name: [(at, value - index) for at, value in LONG] for index, name in enumerate(NAMES)},
        dict.fromkeys(NAMES, math.log(100.0)),
    ),
    "share": weight_picture(
        [(0.0, 0.05), (300.0, 0.2)], [(2.0, 0.05), (301.0, 0.2)], until_s=500.0, shadow=[(0.0, 1.0), (2.0, 0.0)]
    ),
    "plan": plan_picture([0.5, 1.0], [2.96, 1.97], [(0.5, 1.2), (0.9, math.nan)]),
    "latency": latency_picture({"champion": {"p50": 3.0, "p99": 9.0}, "challenger": {"p50": 3.5}}),
    "shadow": shadow_picture(0.97, [(f"a long column of somebody's={number}", 0.1) for number in range(30)]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_a_small_png_written_into_its_address(name: str) -> None:
    address = DRAWN[name]
    assert address is not None
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    png = base64.b64decode(content)
    assert png.startswith(b"\x89PNG")
    assert len(address) < MOST_BYTES


def test_nothing_to_draw_is_no_picture() -> None:
    assert evidence_picture({}, {}) is None
    assert evidence_picture({"errors": [(0.0, math.nan)]}, {"errors": 4.6}) is None
    assert evidence_picture({"errors": [(0.0, 1.0)]}, {}) is None
    assert weight_picture([], [], until_s=0.0) is None
    assert plan_picture([], [], []) is None
    assert latency_picture({}) is None
    assert latency_picture({"champion": {}}) is None
    assert shadow_picture(1.0, []) is None


def test_infinite_evidence_is_drawn_at_the_edge() -> None:
    assert evidence_picture({"errors": [(0.0, -math.inf), (10.0, math.inf)]}, {"errors": 4.6}) is not None
