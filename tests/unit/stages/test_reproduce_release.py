"""What a difference means when a model is made again: another record, another program, or nothing to go by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.core.contract import ModelBundle
from lockgate.core.gates.reproducibility import Refit, Thresholds
from lockgate.core.ids import Digest, Json, ReleaseId, Stage, digest_bytes, digest_of, to_json
from lockgate.core.ledger import Event
from lockgate.core.reproduction import MODEL_PARTS
from lockgate.core.spec import ReleaseSpec, SearchSection
from lockgate.errors import BadInput, IntegrityError
from lockgate.ports import Fit, Snapshot
from lockgate.stages.recording import judge_and_record
from lockgate.stages.releasing import open_release
from lockgate.stages.reproduce_release import Means, Reproduced, Reproduction, reproduce
from lockgate.stages.then_and_now import Program
from tests.fakes import FakeBundleStore, FakeLedger
from tests.release_fakes import FakeFlowRuns, start, toy_spec

LOCK = "numpy==2.4.0\nxgboost==3.4.0\n"
NOW = Program(tree="7" * 64, commit="c" * 40, lock=LOCK, platform="here")
MODEL: dict[str, bytes] = {
    "model.onnx": b"graph",
    "contract.json": b'{"threshold": 0.5, "unit": "1"}',
    "reference_profile.json": b"{}",
}
BUNDLE, DATA = Digest("b" * 64), Digest("d" * 64)
VERSIONS = {"python": "3.11.9", "xgboost": "3.4.0"}


@dataclass
class World:
    """A release on record, and a program that makes it again."""

    root: Path
    spec: ReleaseSpec = field(default_factory=toy_spec)
    facts: dict[str, Json] = field(default_factory=lambda: {"versions": VERSIONS, "threads": 2})
    platform: str = "here"
    program: Program = NOW
    made: Mapping[str, bytes] = field(default_factory=lambda: dict(MODEL))
    refused: str | None = None
    specs: dict[Digest, ReleaseSpec] = field(default_factory=dict)
    fitted: list[ReleaseSpec] = field(default_factory=list)
    data: bool = True
    ledger: FakeLedger = field(default_factory=FakeLedger)

    def release(self, *, content: Json = ..., bundle: bool = True) -> ReleaseId:  # type: ignore[assignment]  # "as it is"
        """Put a release on record; `content` stands in the place of its spec."""
        code = digest_of({"tree": NOW.tree, "lock": digest_bytes(LOCK.encode())})
        opened = open_release(self.ledger, FakeFlowRuns(), self.spec, start(code=code))
        if content is not ...:
            chain = self.ledger._chains[self.spec.name]
            payload = {**chain[0].payload, "resolved_spec": content}
            chain[0] = replace(chain[0], payload={k: v for k, v in payload.items() if v is not None})
        self._train(opened.release)
        if bundle:
            self.ledger.append(self.spec.name, Event.BUNDLE, {"bundle": BUNDLE, "data": DATA}, release=opened.release)
            self._keep()
        return opened.release

    def _train(self, release: ReleaseId) -> None:
        from lockgate.core.gates import training

        judge_and_record(
            self.ledger,
            self.ledger.clock,
            model=self.spec.name,
            release=release,
            stage=Stage.TRAIN,
            gates=[training.GATE],
            thresholds={},
            measurements={"training": self.facts},
            subjects={},
        )
        chain = self.ledger._chains[self.spec.name]
        at = next(at for at, row in enumerate(chain) if row.event is Event.EVIDENCE)
        chain[at] = replace(chain[at], payload={**chain[at].payload, "measured_on": f"host {self.platform}"})

    def _keep(self) -> None:
        folder = self.root / BUNDLE
        folder.mkdir(parents=True)
        sources = [
            {"name": "source", "digest": {"sha256": NOW.tree}, "annotations": {"commit": NOW.commit}},
            {"name": "requirements.lock", "digest": {"sha256": digest_bytes(LOCK.encode())}},
        ]
        statement = {"predicate": {"buildDefinition": {"resolvedDependencies": sources}}}
        files = {**MODEL, "provenance.json": json.dumps(statement).encode(), "requirements.lock": LOCK.encode()}
        for name, content in files.items():
            (folder / name).write_bytes(content)

    def again(self, release: ReleaseId) -> Reproduction:
        parts = {name: digest_bytes(content) for name, content in MODEL.items()}
        held = ModelBundle(digest=BUNDLE, contract=None, parts=parts)  # type: ignore[arg-type]  # never read
        means = Means(
            bundles=FakeBundleStore(root=self.root, bundles={BUNDLE: held}),
            store=self,  # type: ignore[arg-type]  # only `snapshot` is asked for
            trainer=self,
            converter=self,
            program=self.program,
            specs=self.specs,
        )
        return reproduce(means, self.ledger.rows(self.spec.name), release, self.root / "scratch")

    # -- the ports -----------------------------------------------------------------------------------------------------

    def snapshot(self, digest: Digest) -> Snapshot:
        if not self.data:
            raise BadInput(f"there is no snapshot {digest}")
        return None  # type: ignore[return-value]  # never read

    def fit(self, spec: ReleaseSpec, snapshot: Snapshot, out: Path) -> Fit:  # noqa: ARG002 - as the port
        if self.refused:
            raise BadInput(self.refused)
        self.fitted.append(spec)
        return Fit(folder=out, family="xgboost", facts={"versions": VERSIONS})

    def convert(self, spec: ReleaseSpec, fit: Fit, snapshot: Snapshot) -> Fit:  # noqa: ARG002 - as the port
        return fit

    def model_parts(self, spec: ReleaseSpec, candidate: Fit) -> dict[str, bytes]:  # noqa: ARG002 - as the port
        return dict(self.made)


def test_the_same_parts_are_the_same_whatever_else_has_changed(tmp_path: Path) -> None:
    world = World(tmp_path, program=replace(NOW, tree="8" * 64, commit=None))
    told = world.again(world.release())
    assert (told.verdict, told.recorded) == (Reproduced.SAME, told.rebuilt)
    assert [each.what for each in told.changed] == ["source", "commit"]


@pytest.mark.parametrize("part", MODEL_PARTS)
def test_any_part_that_differs_by_the_same_program_is_told(part: str, tmp_path: Path) -> None:
    world = World(tmp_path, made={**MODEL, part: b'{"threshold": 0.25, "unit": "1"}'})
    told = world.again(world.release())
    assert told.verdict is Reproduced.DIFFERS
    assert part in told.reason
    (differs,) = (each for each in told.parts if each.recorded != each.rebuilt)
    assert differs.name == part
    assert ("threshold" in differs.where) == (part != "model.onnx")


@pytest.mark.parametrize(
    ("program", "named"),
    [
        (replace(NOW, tree="8" * 64), "source"),
        (replace(NOW, lock=LOCK.replace("3.4.0", "3.4.1")), "xgboost"),
        (replace(NOW, lock=LOCK + "extra==1\n"), "extra"),
        (replace(NOW, platform="elsewhere"), "platform"),
    ],
)
def test_a_difference_by_another_program_library_or_machine_says_nothing_and_names_it(
    program: Program, named: str, tmp_path: Path
) -> None:
    world = World(tmp_path, program=program, made={**MODEL, "model.onnx": b"another"})
    told = world.again(world.release())
    assert told.verdict is Reproduced.CANNOT_SAY
    assert named in {each.what for each in told.changed}
    assert named in told.reason


def test_an_installed_library_that_is_not_the_one_of_the_fit_is_named(tmp_path: Path) -> None:
    facts: dict[str, Json] = {"versions": {**VERSIONS, "python": "3.10.1"}}
    world = World(tmp_path, facts=facts, made={**MODEL, "model.onnx": b"another"})
    told = world.again(world.release())
    assert told.verdict is Reproduced.CANNOT_SAY
    assert [(c.what, c.recorded, c.now) for c in told.changed] == [("python (installed)", "3.10.1", "3.11.9")]


def test_it_fits_what_is_on_record_with_what_the_search_chose_in_as_many_threads(tmp_path: Path) -> None:
    spec = toy_spec()
    training = replace(spec.training, search=SearchSection(space={"max_depth": (2, 9)}), parameters={"n_estimators": 9})
    gates = {"reproducibility": Thresholds(refit=Refit.NEVER)}
    facts: dict[str, Json] = {"parameters": {"n_estimators": 9, "max_depth": 4}, "threads": 3, "versions": VERSIONS}
    world = World(tmp_path, spec=replace(spec, training=training, gates=gates), facts=facts)
    told = world.again(world.release())
    (fitted,) = world.fitted
    assert fitted.training.search is None
    assert (fitted.training.parameters, fitted.training.threads) == ({"n_estimators": 9, "max_depth": 4}, 3)
    assert fitted.gates == gates
    assert "not repeated" in told.notes[0]


def test_a_spec_that_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    content: Any = to_json(world.spec)
    release = world.release(content={**content, "training": {**content["training"], "seed": 8}})
    with pytest.raises(IntegrityError, match="not the one its digest names"):
        world.again(release)


def test_an_older_record_without_its_spec_is_read_from_the_file_while_that_is_the_same(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.release(content=None)
    assert world.again(release).verdict is Reproduced.CANNOT_SAY
    world.specs = {world.spec.digest: world.spec}
    assert world.again(release).verdict is Reproduced.SAME


def test_a_bundle_that_names_another_program_than_the_ledger_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.release()
    path = tmp_path / BUNDLE / "provenance.json"
    path.write_text(path.read_text().replace(NOW.tree, "9" * 64))
    with pytest.raises(IntegrityError, match="another program than the ledger"):
        world.again(release)


def test_rows_that_are_gone_cannot_be_said(tmp_path: Path) -> None:
    world = World(tmp_path, data=False)
    told = world.again(world.release())
    assert (told.verdict, told.rebuilt) == (Reproduced.CANNOT_SAY, None)
    assert "there is no snapshot" in told.reason


def test_a_fit_that_is_refused_is_the_users_error_unless_the_program_changed(tmp_path: Path) -> None:
    world = World(tmp_path, refused="no such function")
    release = world.release()
    with pytest.raises(BadInput, match="no such function"):
        world.again(release)
    world.program = replace(NOW, tree="8" * 64)
    told = world.again(release)
    assert told.verdict is Reproduced.CANNOT_SAY
    assert "no such function" in told.reason


def test_a_release_without_a_bundle_or_of_no_record_is_bad_input(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.release(bundle=False)
    with pytest.raises(BadInput, match="came to no bundle"):
        world.again(release)
    with pytest.raises(BadInput, match="knows no release"):
        world.again(ReleaseId("toy-0009"))
