"""Which function runs which stage: the whole line readable in a dozen lines, at the bottom of this file.

Each runner reads the references it needs from the progress, calls one function of `lockgate.stages` with real parts,
and returns the measurements with the references it made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lockgate.core.blessing import Subjects
from lockgate.core.contract import ProbeSet
from lockgate.core.gates.registry import required_for_blessing
from lockgate.core.ids import Digest, Json, Stage, canonical_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.progress import Progress
from lockgate.core.records import read_record
from lockgate.line.model_line import Line, Measured, Runner, champion_of
from lockgate.line.scoring import examine, refold
from lockgate.ports import Snapshot
from lockgate.stages.releasing import opened_row

if TYPE_CHECKING:
    from lockgate.core.replay import LoggedRequest
    from lockgate.stages.stress import Contender

_REPLAYED = 200  # ours: enough to see a disagreement of a few percent, few enough to take a second


def ingest(line: Line, so_far: Progress) -> Measured:
    """Freeze the rows of this release and fix the champion it will be compared with."""
    from lockgate.line.reference import json_part
    from lockgate.stages.ingest import measure_ingest

    landed = _landed_for(line, so_far)
    champion = line.ledger.state(line.model).champion
    contract = json_part(line, champion, "contract.json")
    store = line.services.store
    measurements, snapshot = measure_ingest(store, line.spec, landed, champion=champion, contract=contract)
    refs = {"champion": champion or ""}
    if snapshot is None:
        return Measured(so_far=so_far.with_refs(Stage.INGEST, **refs), measurements=measurements)
    after = so_far.with_refs(Stage.INGEST, data=snapshot.digest, as_of=snapshot.as_of.isoformat(), **refs)
    return Measured(so_far=after, measurements=measurements, words=_rows_in_words(snapshot))


def _landed_for(line: Line, so_far: Progress) -> tuple[LedgerRow, ...]:
    """Return the batch rows between the release before this one and this one."""
    events = (Event.RELEASE_OPENED, Event.BATCH_INGESTED, Event.BATCH_QUARANTINED)
    rows = line.ledger.rows(line.model, events=events)
    mine = opened_row(line.ledger, line.spec, so_far.release).seq
    before = max((r.seq for r in rows if r.event is Event.RELEASE_OPENED and r.seq < mine), default=0)
    return tuple(r for r in rows if before < r.seq < mine and r.event is not Event.RELEASE_OPENED)


def _rows_in_words(snapshot: Snapshot) -> str:
    shown = [f"| {part} | {rows} | {snapshot.unlabelled.get(part, 0)} |" for part, rows in snapshot.rows.items()]
    table = ["| part | rows | without a label |", "|---|---|---|", *shown, "", f"As of {snapshot.as_of}."]
    if snapshot.quarantined:
        left = sum(snapshot.quarantined.get(part, 0) for part in ("train", "validation"))
        kept = snapshot.quarantined.get("holdout", 0)
        table.append(f"{left} rows of incident times left train and validation; {kept} stay in the holdout.")
    return "\n".join(table)


def validate(line: Line, so_far: Progress) -> Measured:
    """Hold the rows against the suite; look for leaks, drift, duplicates and skew."""
    from lockgate.line.production import production_skew
    from lockgate.line.reference import champion_rows, earlier_batches, json_part
    from lockgate.stages.validate_data import measure_validation

    champion = champion_of(so_far)
    docs = line.folder(so_far) / "data_docs"
    rows, gone = champion_rows(line, champion)
    measurements = measure_validation(
        line.services.store,
        line.services.validator,
        line.spec,
        _snapshot(line, so_far),
        champion=champion,
        reference_profile=json_part(line, champion, "reference_profile.json"),
        docs=docs,
        champion_rows=rows,
        champion_rows_gone=gone,
        history=earlier_batches(line, so_far),
    )
    words = f"Data Docs: open `{docs / 'index.html'}`"
    measured = {**measurements, "skew": production_skew(line, so_far)}
    return Measured(so_far=so_far, measurements=measured, words=words)


def train(line: Line, so_far: Progress) -> Measured:
    """Fit the spec's estimator in a process of its own, and see in another whether it can be done again."""
    from lockgate.adapters.trainer import IsolatedTrainer
    from lockgate.stages.reproducing import measure_reproducibility
    from lockgate.stages.train import train as fit

    trainer = IsolatedTrainer(line.services.settings.project)
    snapshot, folder = _snapshot(line, so_far), line.folder(so_far)
    trained = fit(trainer, line.spec, snapshot, folder)
    again = measure_reproducibility(trainer, line.spec, snapshot, trained.fit, folder)
    after = so_far.with_refs(Stage.TRAIN, fit=str(trained.fit.folder))
    return Measured(so_far=after, measurements={**trained.measurements, "reproducibility": again})


def evaluate(line: Line, so_far: Progress) -> Measured:
    """Judge the fit against floors, the naive model, the champion and the slices."""
    from lockgate.line.past import holdout_uses, past_champions
    from lockgate.stages.evaluate import evaluation_document, measure_evaluation
    from lockgate.stages.staleness import staleness_section

    examination = examine(line, so_far, holdout_uses(line, so_far, _snapshot(line, so_far)))
    measurements = measure_evaluation(examination)
    sections = {
        "staleness": staleness_section(examination, past_champions(line, so_far)),
        "folds": refold(line, so_far),
    }
    document = evaluation_document(examination, measurements, sections)
    path = line.folder(so_far) / "evaluation.json"
    path.write_bytes(canonical_json(document))
    return Measured(so_far=so_far.with_refs(Stage.EVALUATE, evaluation=str(path)), measurements=measurements)


def package(line: Line, so_far: Progress) -> Measured:
    """Convert, sign and compare the bundle with the native estimator over many rows."""
    from lockgate.adapters.trainer import read_fit
    from lockgate.line.production import personal_data
    from lockgate.stages.package import package as pack

    code = line.services.code
    packaged = pack(
        line.services.packager,
        line.services.sandboxes(line.folder(so_far) / "sandbox", None),
        line.spec,
        fit=read_fit(line.folder(so_far) / "fit"),
        snapshot=_snapshot(line, so_far),
        evaluation=json.loads((line.folder(so_far) / "evaluation.json").read_bytes()),
        code={"tree": code.tree, "commit": code.commit, "dirty": code.dirty},
        release_folder=line.folder(so_far),
    )
    bundle = packaged.bundle.digest
    known = line.ledger.rows(line.model, release=so_far.release, events=(Event.BUNDLE,))
    if not any(row.payload["bundle"] == bundle for row in known):
        facts: dict[str, Json] = {"bundle": bundle, "data": so_far.refs["data"]}
        line.ledger.append(line.model, Event.BUNDLE, facts, release=so_far.release)
    measured = {**packaged.measurements, "privacy": personal_data(line, so_far, bundle)}
    return Measured(so_far=so_far.with_refs(Stage.PACKAGE, bundle=bundle), measurements=measured)


def infra(line: Line, so_far: Progress) -> Measured:
    """Load the bundle in the production server, in a sandbox, and query it."""
    from lockgate.adapters.sandbox import Limits
    from lockgate.stages.infra import measure_infra

    bundle = line.services.bundles.get(Digest(so_far.refs["bundle"]))
    logs, asked = line.folder(so_far) / "sandbox", line.spec.gates["infra"]
    # the sandbox's own bound is a safety net above the gate's, which is the one that speaks
    limits = Limits(data_bytes=max(Limits().data_bytes, 2 * asked.memory_bytes))
    sandboxes = line.services.sandboxes(logs, limits)
    measured = measure_infra(sandboxes, bundle, _probes(line, bundle.digest), tries=asked.tries)
    return Measured(so_far=so_far, measurements={"infra": measured}, words=f"Server logs: `{logs}`")


def stress(line: Line, so_far: Progress) -> Measured:
    """Load the sandbox, champion and challenger in turns."""
    from lockgate.adapters.load_test import LoadTester
    from lockgate.stages.stress import measure_stress

    asked, folder = line.spec.gates["stress"], line.folder(so_far) / "stress"
    champion = champion_of(so_far)
    measured = measure_stress(
        line.services.sandboxes(folder, None),
        LoadTester(folder, line.services.settings.host),
        _contender(line, Digest(so_far.refs["bundle"])),
        None if champion is None else _contender(line, champion),
        asked=asked,
    )
    report = (folder / "locust.html").as_uri()
    words = f"[Locust's report]({report}); it lies with the logs in `{folder}`"
    return Measured(so_far=so_far, measurements={"stress": measured}, words=words, links={"Locust's report": report})


def _contender(line: Line, bundle: Digest) -> Contender:
    from lockgate.stages.stress import Contender

    return Contender(bundle=line.services.bundles.get(bundle), probes=_probes(line, bundle))


def register(line: Line, so_far: Progress) -> Measured:
    """Bless the bundle and list it as a version with its lineage."""
    from lockgate.stages.recording import bless_release
    from lockgate.stages.register import Lineage
    from lockgate.stages.register import register as list_version

    snapshot, code = _snapshot(line, so_far), line.services.code
    subjects = Subjects(
        release=so_far.release,
        bundle=Digest(so_far.refs["bundle"]),
        spec=so_far.spec,
        data=snapshot.digest,
        champion=champion_of(so_far),
        code=so_far.code,
    )
    blessing = bless_release(line.ledger, line.model, subjects, required_for_blessing(), actor="register_model")
    lineage = Lineage(
        commit=code.commit,
        parameters=line.spec.training.parameters,
        source=f"{line.services.settings.table(line.model)}@{snapshot.table_version}",
        rows=snapshot.rows,
        artifacts=(line.folder(so_far) / "evaluation.json",),
        head=line.services.ledger.head(line.model),
    )
    services = line.services
    listed = list_version(line.ledger, services.registry, services.bundles, line.spec, blessing, lineage=lineage)
    page = str(listed.get("page", ""))
    after = so_far.with_refs(
        Stage.REGISTER, blessing=blessing.digest, version=str(listed["version"]), version_page=page
    )
    return Measured(
        so_far=after, words=f"Version {listed['version']}: [{page}]({page})", links={"MLflow version": page}
    )


def staging(line: Line, so_far: Progress) -> Measured:
    """Serve the bundle in staging and test it there as a client would."""
    from lockgate.stages.recording import blessing_of
    from lockgate.stages.staging import deploy_staging
    from lockgate.stages.traffic import Switch

    target = line.services.target("staging")
    bundle = line.services.bundles.get(Digest(so_far.refs["bundle"]))
    measured = deploy_staging(
        Switch(ledger=line.ledger, target=target, model=line.model, actor="deploy_staging"),
        target,
        blessing_of(line.ledger, line.model, so_far.release),
        bundle,
        _probes(line, bundle.digest),
        champion=champion_of(so_far),
        recent=_recent(line),
    )
    page = f"{line.services.settings.url('staging')}/v2/models/{line.model}"
    return Measured(so_far=so_far, measurements={"staging": measured}, words=f"Staging answers at {page}")


def _recent(line: Line) -> tuple[LoggedRequest, ...]:
    """Return the newest production requests to replay, as production logged them."""
    from lockgate.adapters.logged_requests import recent_requests

    return recent_requests(line.services.settings.serving("production"), line.model, at_most=_REPLAYED)


def _snapshot(line: Line, so_far: Progress) -> Snapshot:
    return line.services.store.snapshot(Digest(so_far.refs["data"]))


def _probes(line: Line, bundle: Digest) -> ProbeSet:
    path = line.services.bundles.folder(bundle) / "probe_requests.json"
    return read_record(ProbeSet, json.loads(path.read_bytes()))


RUNNERS: Mapping[Stage, Runner] = {
    Stage.INGEST: ingest,
    Stage.VALIDATE_DATA: validate,
    Stage.TRAIN: train,
    Stage.EVALUATE: evaluate,
    Stage.PACKAGE: package,
    Stage.INFRA: infra,
    Stage.STRESS: stress,
    Stage.REGISTER: register,
    Stage.STAGING: staging,
}
