"""`lockgate reproduce` on a whole small release: the same, another, and what nobody can say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from lockgate.cli.app import app
from lockgate.core.ids import Digest, Stage, digest_of
from lockgate.core.ledger import Event, Outcome
from lockgate.core.progress import Progress
from lockgate.line import line_of, run
from tests.line_world import MODEL, LineWorld, line_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BY_THE_CLOCK = """
import time

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline


def build(seed, parameters):
    columns = ColumnTransformer([("numbers", SimpleImputer(strategy="median"), ["a", "b"])])
    forest = RandomForestClassifier(10, min_samples_leaf=20, random_state=time.time_ns() % 2**31)
    return Pipeline([("columns", columns), ("model", forest)])
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LineWorld]:
    with line_world(tmp_path) as made:
        yield made


def packaged(world: LineWorld) -> Progress:
    """Take a release as far as its bundle by the stages that make it; those that only judge are left out."""
    world.land()
    so_far = world.begin()
    for stage in (Stage.INGEST, Stage.TRAIN, Stage.PACKAGE):
        if stage is Stage.PACKAGE:
            (line_of(MODEL).folder(so_far) / "evaluation.json").write_text("{}")
        so_far = run(line_of(MODEL), stage, so_far).so_far
        assert so_far.ended is None, so_far.reason
    return so_far


def reproduce(release: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, ["reproduce", release, "--json"])
    assert "Traceback" not in done.stderr
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


def test_a_release_is_made_again_from_its_record(world: LineWorld) -> None:
    so_far = packaged(world)
    opened = world.rows(Event.RELEASE_OPENED)[0].payload
    assert digest_of(opened["resolved_spec"]) == opened["spec"]
    before = len(world.rows())

    code, told = reproduce(so_far.release)
    assert (code, told["verdict"], told["changed"]) == (0, "same", [])
    assert told["recorded"] == told["rebuilt"]
    assert {part["name"] for part in told["parts"]} == {"model.onnx", "contract.json", "reference_profile.json"}

    # The spec file and the program may have moved on: the record says what was fitted.
    world.change(world.spec_file, "max_depth: 2", "max_depth: 3")
    (world.root / "project" / "src" / "lockgate" / "later.py").write_text("LATER = 1\n")
    code, told = reproduce(so_far.release)
    assert (code, told["verdict"]) == (0, "same")
    assert [each["what"] for each in told["changed"]] == ["source"]

    assert len(world.rows()) == before, "nothing is written"
    shutil.rmtree(world.services.store.snapshot(Digest(so_far.refs["data"])).folder)
    code, told = reproduce(so_far.release)
    assert (code, told["verdict"]) == (6, "cannot_say")
    assert "there is no snapshot" in told["reason"]


def by_the_clock(world: LineWorld, **reproducibility: str) -> Path:
    """Give the toy an estimator that reads the clock; return its file."""
    module = world.root / "project" / "deployments" / "wander.py"
    module.write_text(BY_THE_CLOCK)
    spec = yaml.safe_load(world.spec_file.read_text())
    spec["training"] = {"family": "estimator", "estimator": "deployments.wander:build", "threads": 1}
    spec["gates"]["reproducibility"] = reproducibility
    world.spec_file.write_text(yaml.safe_dump(spec))
    world.renew()
    return module


def test_a_fit_that_cannot_be_repeated_blocks_its_release(world: LineWorld) -> None:
    by_the_clock(world)
    world.land()
    so_far = run(line_of(MODEL), Stage.INGEST, world.begin()).so_far
    so_far = run(line_of(MODEL), Stage.TRAIN, so_far).so_far
    assert (so_far.ended, so_far.gate) == (Outcome.BLOCKED, "reproducibility")
    assert "random_state" in so_far.reason


@pytest.mark.soak
def test_a_model_that_comes_out_otherwise_is_told_apart_from_a_program_that_changed(world: LineWorld) -> None:
    module = by_the_clock(world, refit="never")
    so_far = packaged(world)

    code, told = reproduce(so_far.release)
    assert (code, told["verdict"]) == (3, "differs")
    parts = {part["name"]: part for part in told["parts"]}
    assert parts["contract.json"]["recorded"] == parts["contract.json"]["rebuilt"]
    assert parts["model.onnx"]["recorded"] != parts["model.onnx"]["rebuilt"]
    assert any(path.startswith("score.") for path in parts["reference_profile.json"]["where"])

    module.write_text(BY_THE_CLOCK + "\n# edited\n")
    code, told = reproduce(so_far.release)
    assert (code, told["verdict"]) == (6, "cannot_say")
    assert "source" in told["reason"]


def test_a_release_that_never_was_or_made_no_bundle_is_bad_input(world: LineWorld) -> None:
    code, told = reproduce("toy-0001")
    assert (code, told["error"]) == (2, "BadInput")
    world.land()
    world.release(through=Stage.INGEST)
    code, told = reproduce("toy-0001")
    assert (code, told["error"]) == (2, "BadInput")
    assert "came to no bundle" in told["message"]
