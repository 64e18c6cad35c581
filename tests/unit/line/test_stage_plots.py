"""The pictures of a stage's page: drawn from what is on record, and nothing where nothing is."""

from __future__ import annotations

import base64

import pytest

from lockgate.adapters.stage_plots import evaluation_picture, stress_picture
from lockgate.core.ids import Json

ROC: Json = {"roc": {"yes": [[0.0, 0.0], [0.2, 0.7], [1.0, 1.0]]}}
MEASURED: Json = {
    "challenger": {"steady": {"p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "max_ms": 4.0}},
    "champion": None,
    "knee": {"rps": None, "steps": [{"offered_rps": 10, "p50_ms": 1.0}, {"offered_rps": 20, "p50_ms": 1.2}]},
    "plan": {"target_rps": 20.0},
}


def png_of(address: str | None) -> bytes:
    assert address is not None
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    return base64.b64decode(content)


@pytest.mark.integration
def test_a_picture_is_a_png_written_into_its_address_and_small_enough_for_a_page() -> None:
    for picture in (evaluation_picture({"curves": {"challenger": ROC, "champion": ROC}}), stress_picture(MEASURED)):
        png = png_of(picture)
        assert png.startswith(b"\x89PNG")
        assert len(png) < 100_000


@pytest.mark.parametrize("recorded", [None, {}, {"curves": {}}, {"curves": {"challenger": {"roc": {}}}}, {"knee": 3}])
def test_nothing_on_record_draws_nothing(recorded: Json) -> None:
    assert evaluation_picture(recorded) is None
    assert stress_picture(recorded) is None
