"""Staging, the switch and the rollback over real servers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.logged_requests import recent_requests
from lockgate.adapters.sandbox import Limits, Sandbox, Sandboxes
from lockgate.adapters.server_target import ServerTarget, read_probes
from lockgate.config import Settings, load_settings
from lockgate.core.blessing import Blessing, Subjects
from lockgate.core.contract import ModelBundle, ProbeSet
from lockgate.core.gates import staging
from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.verdict import Verdict
from lockgate.core.wire import infer_call
from lockgate.errors import RolloutAborted, TransientError
from lockgate.stages.rollback import roll_back
from lockgate.stages.staging import deploy_staging
from lockgate.stages.traffic import Switch, switch_traffic
from tests.bundles import PROBES, make_bundle, make_keys
from tests.fakes import FakeLedger
from tests.server_process import until
from tests.unit.infra.measured import judged

pytestmark = pytest.mark.integration
PATIENT = Limits(start_s=120.0, answer_s=60.0, stop_s=60.0)  # ours: of a crowded machine nothing is asked
MODEL = ModelName("toy")
R1, R2 = ReleaseId("toy-0001"), ReleaseId("toy-0002")


@dataclass
class Installation:
    settings: Settings
    server: Sandbox
    target: ServerTarget
    ledger: FakeLedger = field(default_factory=FakeLedger)

    def bundle(self, bias: float = 0.0, **faults: Any) -> Digest:
        return make_bundle(self.settings.bundles, key_dir=self.settings.signing_key.parent, bias=bias, **faults)

    def switch(self, timeout_s: float = 30.0) -> Switch:
        return Switch(ledger=self.ledger, target=self.target, model=MODEL, readback_requests=5, timeout_s=timeout_s)

    def parts(self, digest: Digest) -> tuple[ModelBundle, ProbeSet]:
        contract, probes = read_probes(self.settings.bundles / digest, digest)
        return ModelBundle(digest=digest, contract=contract, parts={}), probes


class Folders:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def folder(self, digest: Digest) -> Path:
        return self._settings.bundles / digest


@contextlib.contextmanager
def installed(folder: Path, environment: str) -> Iterator[Installation]:
    settings = load_settings({"LOCKGATE_HOME": str(folder), "LOCKGATE_PROJECT": str(folder)})
    make_keys(settings.signing_key.parent)
    settings.bundles.mkdir(parents=True)
    with Sandboxes(settings, folder / "logs", PATIENT).open(environment) as server:
        target = ServerTarget(environment, server.url, server.admin_url, server.token_file, Folders(settings))
        yield Installation(settings, server, target)
        target.close()


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Installation]:
    with installed(tmp_path, "staging") as made:
        yield made


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Installation]:
    with installed(tmp_path, "production") as made:
        yield made


def blessing(bundle: Digest, champion: Digest | None = None) -> Blessing:
    other = Digest("0" * 64)
    subjects = Subjects(release=R2, bundle=bundle, spec=other, data=other, champion=champion, code=other)
    return Blessing(subjects=subjects, reports={})


def deploy(made: Installation, digest: Digest, **more: Any) -> dict[str, Any]:
    bundle, probes = made.parts(digest)
    more = {"champion": None, **more}
    return dict(deploy_staging(made.switch(), made.target, blessing(digest), bundle, probes, **more))


def test_a_good_bundle_is_staged_and_proved(staged: Installation) -> None:
    digest = staged.bundle()
    measured = deploy(staged, digest)
    report = judged(staging.GATE, measured)
    assert report.verdict is Verdict.PASS, report.reason
    assert staged.ledger.state(MODEL).serving["staging"].bundle == digest
    assert staged.ledger.rows(MODEL, events=(Event.STAGED,))[0].payload["bundle"] == digest


def test_staging_again_measures_again_and_records_nothing_twice(staged: Installation) -> None:
    digest = staged.bundle()
    deploy(staged, digest)
    rows = staged.ledger.rows(MODEL)
    assert judged(staging.GATE, deploy(staged, digest)).verdict is Verdict.PASS
    assert staged.ledger.rows(MODEL) == rows


def test_a_bundle_that_staging_refuses_fails_the_gate(staged: Installation) -> None:
    digest = staged.bundle(golden_shift=0.1)
    report = judged(staging.GATE, deploy(staged, digest))
    assert report.verdict is Verdict.FAIL
    assert "could not be switched" in report.reason


def test_a_staging_server_that_is_gone_is_no_verdict(staged: Installation) -> None:
    digest = staged.bundle()
    staged.server.stop()
    bundle, probes = staged.parts(digest)
    with pytest.raises(TransientError):
        deploy_staging(staged.switch(timeout_s=0), staged.target, blessing(digest), bundle, probes, champion=None)


def test_production_requests_are_replayed_from_its_log(staged: Installation) -> None:
    champion, challenger = staged.bundle(), staged.bundle(bias=-1.0)
    switch_traffic(staged.switch(), R1, champion, why="the first")
    contract = staged.parts(champion)[0].contract
    for index in range(60):
        row = {**PROBES["typical-1"], "amount": float(index)}
        assert staged.target.send(infer_call(contract, [row, PROBES["typical-2"]])).status == 200
    state = staged.server.token_file.parent / "state"
    # the log is written off the hot path, at most half a second later; each worker writes its own
    until(lambda: len(recent_requests(state, MODEL, at_most=1000)) >= 60)
    recent = recent_requests(state, MODEL, at_most=1000)
    assert len(recent) == 60  # and none of the requests by which the switch was verified
    same = deploy_replay(staged, champion, recent[:50])
    assert (same["asked"], same["agreement_fraction"]) == (100, 1.0)
    other = deploy_replay(staged, challenger, recent)
    assert other["agreement_fraction"] < 1.0
    assert {each["slice"] for each in other["slices"]} == {
        "colour=red",
        "colour=blue",
        "shape=disc",
        "shape=cube",
    }


def deploy_replay(made: Installation, digest: Digest, recent: Any) -> dict[str, Any]:
    from lockgate.stages.staging import _replay

    made.target.switch(MODEL, digest, sequence=1 + made.ledger.last_seq(MODEL), previous=None)
    made.ledger.append(MODEL, Event.BATCH_LANDED, {"sha256": digest, "name": "so that sequences rise"})
    return dict(_replay(made.target, made.parts(digest)[0], recent))


def test_a_promotion_and_its_rollback_are_verified_from_live_answers(production: Installation) -> None:
    first, second = production.bundle(), production.bundle(bias=1.0)
    switch_traffic(production.switch(), R1, first, why="the first")
    taken_s = []
    for release in (R2, ReleaseId("toy-0003"), ReleaseId("toy-0004")):
        switch_traffic(production.switch(), release, second, why="better")
        assert production.target.readback(MODEL, second, 3).answers == (second,) * 3
        began = time.monotonic()
        row = roll_back(production.switch(), "worse")
        taken_s.append(time.monotonic() - began)
        assert row.payload["answers"] == 5
        assert production.target.readback(MODEL, first, 3).answers == (first,) * 3
    assert min(taken_s) < 0.5  # a machine that stands still does so once; a rollback that loads something, each time


def test_a_refused_promotion_leaves_the_champion_answering(production: Installation) -> None:
    first, broken = production.bundle(), production.bundle(bias=1.0, golden_shift=0.1)
    switch_traffic(production.switch(), R1, first, why="the first")
    with pytest.raises(RolloutAborted, match="serves again"):
        switch_traffic(production.switch(), R2, broken, why="better")
    assert production.target.readback(MODEL, first, 3).answers == (first,) * 3
    assert production.ledger.state(MODEL).champion == first
    assert not production.ledger.state(MODEL).pending


def test_a_frozen_server_is_waited_for_and_the_promotion_finished(production: Installation) -> None:
    first, second = production.bundle(), production.bundle(bias=1.0)
    switch_traffic(production.switch(), R1, first, why="the first")
    os.kill(production.server.pid, signal.SIGSTOP)
    waker = subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {production.server.pid}"])
    row = switch_traffic(production.switch(timeout_s=20), R2, second, why="better")
    waker.wait()
    assert row.payload["to"] == second
    assert production.ledger.state(MODEL).champion == second


ROLLBACK = """
import sys, time
began = time.process_time()
from pathlib import Path
from lockgate.adapters.server_target import ServerTarget
from lockgate.stages.rollback import roll_back
from lockgate.stages.traffic import Switch
imported = time.process_time()  # what else the machine does meanwhile is not counted
import json
watched = ("pandas", "mlflow", "sklearn", "scipy", "httpx", "prefect", "onnx", "numpy")
heavy = [name for name in watched if name in sys.modules]
print(json.dumps({"import_s": imported - began, "heavy": heavy}))
"""


def test_what_a_rollback_imports_is_light() -> None:
    source = str(Path(__file__).resolve().parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    runs = [
        json.loads(
            subprocess.run([sys.executable, "-c", ROLLBACK], env=environment, capture_output=True, check=True).stdout
        )
        for _ in range(3)
    ]
    assert runs[0]["heavy"] == []
    assert min(run["import_s"] for run in runs) < 0.3
