"""The infra gate over the real server: a good bundle passes, and each known-bad one is stopped for its reason."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lockgate.adapters.sandbox import Limits, Sandboxes
from lockgate.adapters.server_target import read_probes
from lockgate.config import Settings, load_settings
from lockgate.core.contract import ModelBundle, TaskKind
from lockgate.core.gates import infra
from lockgate.core.ids import Digest
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import SandboxError
from lockgate.stages.infra import measure_infra
from tests.bundles import make_bundle, make_keys
from tests.side_by_side import own_children
from tests.unit.infra.measured import judged

pytestmark = pytest.mark.integration
PATIENT = Limits(start_s=120.0, answer_s=60.0, stop_s=60.0)  # ours: of a crowded machine nothing is asked


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load_settings({"LOCKGATE_HOME": str(tmp_path / "home"), "LOCKGATE_PROJECT": str(tmp_path)})
    make_keys(made.signing_key.parent)
    return made


def judged_in_sandbox(settings: Settings, digest: Digest, tries: int = 1, limits: Limits = PATIENT) -> GateReport:
    contract, probes = read_probes(settings.bundles / digest, digest)
    bundle = ModelBundle(digest=digest, contract=contract, parts={})
    sandboxes = Sandboxes(settings, settings.home / "logs", limits)
    return judged(infra.GATE, measure_infra(sandboxes, bundle, probes, tries=tries), tries=tries)


@pytest.mark.parametrize("task", list(TaskKind))
def test_a_good_bundle_passes(settings: Settings, task: TaskKind) -> None:
    before = own_children()
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent, task=task)
    report = judged_in_sandbox(settings, digest, tries=2)
    assert report.verdict is Verdict.PASS, report.reason
    assert (settings.home / "logs" / "infra-2.log").stat().st_size > 0
    assert own_children() <= before


def test_a_bundle_with_one_flipped_byte_is_stopped(settings: Settings) -> None:
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent)
    with (settings.bundles / digest / "model.onnx").open("r+b") as part:
        part.seek(100)
        byte = part.read(1)
        part.seek(100)
        part.write(bytes([byte[0] ^ 1]))
    report = judged_in_sandbox(settings, digest)
    assert report.verdict is Verdict.FAIL
    assert "model.onnx" in report.reason


def test_a_bundle_signed_with_another_key_is_stopped(settings: Settings, tmp_path: Path) -> None:
    digest = make_bundle(settings.bundles, key_dir=tmp_path / "another")
    report = judged_in_sandbox(settings, digest)
    assert report.verdict is Verdict.FAIL
    assert "refused the bundle (422)" in report.reason


def test_a_bundle_whose_answers_are_not_its_golden_ones_is_stopped(settings: Settings) -> None:
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent, golden_shift=0.01)
    report = judged_in_sandbox(settings, digest)
    assert report.verdict is Verdict.FAIL
    assert "probe" in report.reason


def endless() -> bytes:
    """Return a graph of the right form that multiplies large matrices for minutes."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    shape = numpy_helper.from_array(np.array([3000, 3000], np.int64), "shape")
    nodes = [helper.make_node("RandomNormalLike", ["numeric"], ["unused"])]
    nodes += [helper.make_node("ConstantOfShape", ["shape"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{step}", f"m{step}"], [f"m{step + 1}"]) for step in range(400)]
    nodes += [
        helper.make_node("ReduceSum", ["m400"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["numeric", "last"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "total"], ["plus"]),
        helper.make_node("Sigmoid", ["plus"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "endless",
        [
            helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("categorical", TensorProto.STRING, ["n", 2]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n"])],
        [shape, numpy_helper.from_array(np.array([1], np.int64), "last")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def test_a_bundle_that_kills_the_server_is_stopped_and_is_no_error_of_the_sandbox(settings: Settings) -> None:
    before = own_children()
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent, parts={"model.onnx": endless()})
    report = judged_in_sandbox(settings, digest, limits=replace(PATIENT, cpu_s=3))
    assert report.verdict is Verdict.FAIL
    assert "the server died with code" in report.reason
    assert own_children() <= before


def test_a_bundle_that_does_not_load_in_time_is_stopped(settings: Settings) -> None:
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent, parts={"model.onnx": endless()})
    began = time.monotonic()
    report = judged_in_sandbox(settings, digest, limits=replace(PATIENT, load_s=2.0, stop_s=1.0))
    assert report.verdict is Verdict.FAIL
    assert "the server hangs" in report.reason
    assert time.monotonic() - began < 150  # it would work for many minutes


def test_a_server_that_needs_more_memory_than_allowed_is_stopped(settings: Settings) -> None:
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent)
    contract, probes = read_probes(settings.bundles / digest, digest)
    bundle = ModelBundle(digest=digest, contract=contract, parts={})
    measured = measure_infra(Sandboxes(settings, settings.home / "logs", PATIENT), bundle, probes, tries=1)
    report = judged(infra.GATE, measured, tries=1, memory_bytes=20_000_000)
    assert [check.name for check in report.checks if check.verdict is Verdict.FAIL] == ["memory"]


def test_a_sandbox_that_does_not_start_is_an_error_with_the_servers_words(settings: Settings) -> None:
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent)
    settings.public_key.unlink()
    with pytest.raises(SandboxError, match="before any bundle was loaded"):
        judged_in_sandbox(settings, digest)


def test_a_sandbox_knows_no_secret_of_its_parent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(settings.bundles, key_dir=settings.signing_key.parent)
    monkeypatch.setenv("LOCKGATE_NOTIFY", "slack://secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Sandboxes(settings, settings.home / "logs", PATIENT).open("secrets") as server:
        known = psutil.Process(server.pid).environ()
        command = psutil.Process(server.pid).cmdline()
    assert not {"LOCKGATE_NOTIFY", "AWS_SECRET_ACCESS_KEY"} & set(known)
    assert str(settings.signing_key) not in command


def test_a_stopped_sandbox_leaves_its_log_and_nothing_else(settings: Settings) -> None:
    make_bundle(settings.bundles, key_dir=settings.signing_key.parent)
    with Sandboxes(settings, settings.home / "logs", PATIENT).open("once") as server:
        pid, state = server.pid, server.token_file.parent
        assert server.stop() == 0
    assert not psutil.pid_exists(pid)
    assert not state.exists()
    assert [each.name for each in (settings.home / "logs").iterdir()] == ["once.log"]
    assert server.peak_rss_bytes() > 10_000_000
