from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from lockgate.core.blessing import Blessing, Subjects
from lockgate.core.evidence import Evidence
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, Stage, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import ApprovalVoid, NotBlessed, RolloutAborted
from lockgate.stages.promote import promote
from lockgate.stages.rollback import roll_back
from lockgate.stages.traffic import Switch, switch_traffic
from tests.fakes import EPOCH, FakeDeployTarget, FakeLedger
from tests.unit.promote.killing import Killed, Killer

MODEL = ModelName("toy")
A, B, C = (Digest(letter * 64) for letter in "abc")
R1, R2, R3 = (ReleaseId(f"toy-000{n}") for n in (1, 2, 3))
DOSSIER = Digest("d" * 64)


def subjects(champion: Digest | None = A, bundle: Digest = B) -> Subjects:
    return Subjects(
        release=R2,
        bundle=bundle,
        spec=Digest("1" * 64),
        data=Digest("2" * 64),
        champion=champion,
        code=Digest("3" * 64),
    )


@dataclass
class Release:
    """Release R2 of bundle B against champion A, staged and approved."""

    blessing: Blessing = field(
        default_factory=lambda: Blessing(subjects=subjects(), reports={"infra": Digest("e" * 64)})
    )
    ledger: FakeLedger = field(default_factory=FakeLedger)
    target: FakeDeployTarget = field(default_factory=FakeDeployTarget)

    def __post_init__(self) -> None:
        switch_traffic(self.switch(), R1, A, why="the first")
        self.staging = self.staged()

    def switch(self, killer: Killer | None = None) -> Switch:
        guard = (killer or Killer()).guard
        return Switch(
            ledger=guard(self.ledger), target=guard(self.target), model=MODEL, readback_requests=3, timeout_s=0
        )

    def staged(self, bundle: Digest = B) -> GateReport:
        evidence = Evidence(
            gate="staging",
            stage=Stage.STAGING,
            release=R2,
            measured_at=EPOCH,
            measured_on="a machine",
            subjects={"bundle": bundle},
            measurements={"golden": {"asked": 3, "wrong": 0}},
        )
        payload: Any = to_json(evidence)
        self.ledger.append(MODEL, Event.EVIDENCE, payload, release=R2)
        return GateReport(
            gate="staging",
            stage=Stage.STAGING,
            verdict=Verdict.PASS,
            checks=(),
            evidence=evidence.digest,
            reason="",
        )

    def approve(self, **other: Json) -> Release:
        payload: dict[str, Json] = {
            "approver": "ann",
            "reason": "read it",
            "checklist": [],
            "blessing": self.blessing.digest,
            "dossier": DOSSIER,
            "champion": self.blessing.subjects.champion,
        }
        self.ledger.append(MODEL, Event.APPROVAL_GIVEN, payload | other, release=R2, actor="ann")
        return self

    def promote(self, killer: Killer | None = None) -> LedgerRow:
        return promote(self.switch(killer), self.blessing, self.staging, DOSSIER, why="better on March")

    def verified(self) -> int:
        rows = self.ledger.rows(MODEL, release=R2, events=(Event.TRAFFIC_VERIFIED,))
        return sum(row.payload["to"] == B for row in rows)

    def untouched(self) -> bool:
        return self.target.routing[MODEL][1] == A == self.ledger.state(MODEL).champion and not self.verified()


def test_a_blessed_staged_and_approved_bundle_becomes_champion() -> None:
    release = Release().approve()
    row = release.promote()
    assert (row.payload["from"], row.payload["to"]) == (A, B)
    assert release.target.routing[MODEL][1] == B == release.ledger.state(MODEL).champion


def test_a_second_run_promotes_nothing_more() -> None:
    release = Release().approve()
    assert release.promote() == release.promote()
    assert release.verified() == 1


def test_without_an_approval_nothing_is_promoted() -> None:
    release = Release()
    with pytest.raises(ApprovalVoid, match="not approved"):
        release.promote()
    assert release.untouched()


def test_a_refusal_after_an_approval_voids_it() -> None:
    release = Release().approve()
    release.ledger.append(MODEL, Event.APPROVAL_REFUSED, {"approver": "bob", "reason": "no"}, release=R2)
    with pytest.raises(ApprovalVoid):
        release.promote()
    assert release.untouched()


def test_an_approval_of_another_release_does_not_count() -> None:
    release = Release()
    release.ledger.append(MODEL, Event.APPROVAL_GIVEN, {"blessing": release.blessing.digest}, release=R3)
    with pytest.raises(ApprovalVoid):
        release.promote()


@pytest.mark.parametrize("what", ["blessing", "dossier", "champion"])
def test_an_approval_of_something_else_is_void(what: str) -> None:
    release = Release().approve(**{what: "f" * 64})
    with pytest.raises(ApprovalVoid, match=what) as void:
        release.promote()
    assert void.value.exit_code == 5
    assert release.untouched()


def test_a_champion_that_changed_after_the_comparison_voids_the_approval() -> None:
    release = Release().approve()
    switch_traffic(release.switch(), R3, C, why="another release was quicker")
    with pytest.raises(ApprovalVoid, match="serves now"):
        release.promote()
    assert release.ledger.state(MODEL).champion == C


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE])
def test_a_staging_gate_that_did_not_pass_stops_the_promotion(verdict: Verdict) -> None:
    release = Release().approve()
    release.staging = replace(release.staging, verdict=verdict)
    with pytest.raises(NotBlessed):
        release.promote()
    assert release.untouched()


def test_another_gates_pass_is_no_staging() -> None:
    release = Release().approve()
    release.staging = replace(release.staging, gate="infra")
    with pytest.raises(NotBlessed):
        release.promote()


def test_staging_evidence_about_another_bundle_stops_the_promotion() -> None:
    release = Release().approve()
    release.staging = release.staged(bundle=C)
    with pytest.raises(NotBlessed, match="no staging evidence"):
        release.promote()
    assert release.untouched()


@pytest.mark.parametrize("evidence", [None, Digest("9" * 64)])
def test_a_staging_report_without_evidence_in_the_ledger_stops_the_promotion(evidence: Digest | None) -> None:
    release = Release().approve()
    release.staging = replace(release.staging, evidence=evidence)
    with pytest.raises(NotBlessed):
        release.promote()
    assert release.untouched()


def test_a_promoted_release_that_was_rolled_back_is_not_promoted_again() -> None:
    release = Release().approve()
    release.promote()
    roll_back(release.switch(), "worse")
    with pytest.raises(RolloutAborted):
        release.promote()
    assert release.ledger.state(MODEL).champion == A


def test_killed_around_any_call_a_promotion_happens_exactly_once() -> None:
    died = 0
    for at in range(40):
        for after in (False, True):
            release = Release().approve()
            try:
                release.promote(Killer(at=at, after=after))
            except Killed:
                died += 1
                release.promote()
            assert release.verified() == 1
            assert release.target.routing[MODEL][1] == B == release.ledger.state(MODEL).champion
            assert not release.ledger.state(MODEL).pending
    assert died > 20
