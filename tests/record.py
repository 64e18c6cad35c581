"""Values of the record that its tests share: a small spec, a bundle on disk, a toy gate, and a whole release."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

from lockgate.core.blessing import Blessing, Subjects
from lockgate.core.contract import GraphForm, ModelBundle, ModelContract, TaskKind
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, Stage, as_float, canonical_json, digest_bytes, to_json
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, TaskSection
from lockgate.core.verdict import Direction, GateReport, compare, report
from lockgate.ports import Ledger
from lockgate.stages.recording import bless_release, judge_and_record
from lockgate.stages.traffic import Switch, switch_traffic
from tests.fakes import FakeClock, FakeDeployTarget

MODEL = ModelName("flights")

_MLMODEL = """\
artifact_path: model
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.23.2
mlflow_version: 3.17.2
model_id: null
"""


def small_spec() -> ReleaseSpec:
    return ReleaseSpec(
        model=ModelSection(name=MODEL, description="Will this flight be late?"),
        task=TaskSection(kind=TaskKind.BINARY, classes=("no", "yes")),
        data=DataSection(suite="flights", label="late", time="at", key=("id",), numeric=("distance",)),
    )


def small_bundle(root: Path, content: bytes = b"a graph") -> tuple[ModelBundle, Path]:
    """Write a folder with the form of a bundle, and return it with its digest."""
    parts = {"model.onnx": content, "MLmodel": _MLMODEL.encode(), "evaluation.json": b"{}"}
    manifest = canonical_json(
        {"schema_version": 1, "model": MODEL, "parts": {n: digest_bytes(c) for n, c in parts.items()}}
    )
    folder = root / digest_bytes(manifest)
    folder.mkdir(parents=True)
    for name, each in (parts | {"manifest.json": manifest, "signature": b"signed"}).items():
        (folder / name).write_bytes(each)
    graph = GraphForm(
        numeric_input="numeric",
        numeric_columns=("distance",),
        string_input=None,
        string_columns=(),
        missing_string="__missing__",
        output="probability",
    )
    contract = ModelContract(
        model=MODEL, task=TaskKind.BINARY, inputs=(), classes=("no", "yes"), threshold=0.5, graph=graph
    )
    digests = {name: digest_bytes(each) for name, each in parts.items()}
    return ModelBundle(digest=digest_bytes(manifest), contract=contract, parts=digests), folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyThresholds:
    """What the toy gates compare with."""

    least: float = 0.5
    weights: tuple[float, ...] = (1, 2.5)
    direction: Direction = Direction.AT_LEAST


def judge_toy(evidence: Evidence, thresholds: ToyThresholds) -> GateReport:
    score = evidence.measurements.get("score")
    observed = as_float(score) if isinstance(score, int | float | str) else None
    check = compare("score", observed, thresholds.least, thresholds.direction, reason="train longer", n=10, n_min=5)
    return report(evidence.gate, evidence.stage, [check], evidence.digest)


def _toy(name: str, stage: Stage) -> Gate:
    return Gate(name=name, stage=stage, thresholds=ToyThresholds, judge=judge_toy, title=name)


TOY_GATES = (_toy("quality", Stage.EVALUATE), _toy("infra", Stage.INFRA), _toy("staging", Stage.STAGING))
REQUIRED = ("quality", "infra")


@dataclass
class Writer:
    """Writes a release into a ledger as the stages do, step by step."""

    ledger: Ledger
    clock: FakeClock
    release: ReleaseId
    bundle: Digest
    champion: Digest | None = None
    target: FakeDeployTarget = field(default_factory=FakeDeployTarget)
    spec: ReleaseSpec = field(default_factory=small_spec)
    spec_on_record: bool = False

    @property
    def subjects(self) -> Subjects:
        return Subjects(
            release=self.release,
            bundle=self.bundle,
            spec=self.spec.digest,
            data=digest_bytes(b"data"),
            champion=self.champion,
            code=digest_bytes(b"code"),
        )

    def add(self, event: Event, **payload: Json) -> LedgerRow:
        self.clock.advance(60)
        return self.ledger.append(MODEL, event, payload, release=self.release)

    def open(self) -> None:
        whole: dict[str, Json] = {"resolved_spec": to_json(self.spec)} if self.spec_on_record else {}
        facts: dict[str, Json] = {"run": "r", "reason": "new data", "started_by": "worker", "code": "c", **whole}
        self.add(Event.RELEASE_OPENED, spec=self.spec.digest, **facts)

    def judge(self, stage: Stage, score: Json = 0.9) -> tuple[GateReport, ...]:
        named = {name: str(value) for name, value in asdict(self.subjects).items() if value and name != "release"}
        return judge_and_record(
            self.ledger,
            self.clock,
            model=MODEL,
            release=self.release,
            stage=stage,
            gates=TOY_GATES,
            thresholds=self.spec.gates,
            measurements={gate.name: {"score": score} for gate in TOY_GATES if gate.stage is stage},
            subjects=named,
        )

    def bless(self) -> Blessing:
        self.judge(Stage.EVALUATE)
        self.judge(Stage.INFRA)
        return bless_release(self.ledger, MODEL, self.subjects, REQUIRED)

    def approve(self, blessing: Blessing) -> None:
        bound: dict[str, Json] = {"blessing": blessing.digest, "dossier": "d" * 64, "champion": self.champion}
        expires = (self.clock.time + timedelta(hours=1)).isoformat()
        self.add(Event.APPROVAL_ASKED, **bound, expires_at=expires, run="r")
        self.add(Event.APPROVAL_GIVEN, **bound, approver="Ada", reason="better", checklist=[])

    def promote(self) -> LedgerRow:
        switch = Switch(ledger=self.ledger, target=self.target, model=MODEL, readback_requests=3, timeout_s=0)
        return switch_traffic(switch, self.release, self.bundle, why="a better model")

    def whole(self) -> Self:
        """Write a release from its opening to its promotion."""
        self.open()
        blessing = self.bless()
        self.add(Event.REGISTERED, bundle=self.bundle, version="1", uri="fake://1")
        self.judge(Stage.STAGING)
        self.add(Event.STAGED, bundle=self.bundle, sequence=1)
        self.approve(blessing)
        self.promote()
        self.add(Event.RELEASE_ENDED, outcome=Outcome.PROMOTED.value, reason="verified in production", gate=None)
        return self
