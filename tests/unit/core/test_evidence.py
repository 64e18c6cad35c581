"""Evidence is bound to everything it says."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest

from lockgate.core.evidence import Evidence
from lockgate.core.ids import ReleaseId, Stage

EVIDENCE = Evidence(
    gate="quality",
    stage=Stage.EVALUATE,
    release=ReleaseId("toy-0001"),
    measured_at=datetime(2013, 3, 1, tzinfo=UTC),
    measured_on="host, Linux",
    subjects={"bundle": "b" * 64},
    measurements={"n": 10},
)
OTHER = {
    "gate": "slices",
    "stage": Stage.TRAIN,
    "release": ReleaseId("toy-0002"),
    "measured_at": datetime(2013, 3, 2, tzinfo=UTC),
    "measured_on": "elsewhere",
    "subjects": {},
    "measurements": {"n": 11},
}


@pytest.mark.parametrize("name", [field.name for field in fields(Evidence)])
def test_changing_any_field_changes_the_digest(name: str) -> None:
    assert replace(EVIDENCE, **{name: OTHER[name]}).digest != EVIDENCE.digest


def test_equal_evidence_has_an_equal_digest() -> None:
    assert replace(EVIDENCE).digest == EVIDENCE.digest


def test_evidence_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        EVIDENCE.gate = "other"  # type: ignore[misc]  # that is the test
