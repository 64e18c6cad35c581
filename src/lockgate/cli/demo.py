"""`lockgate demo`: one release of the example model, from landed data to live answers, shown step by step."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.cli.data_commands import see_project, write_sample
from lockgate.cli.following import Follower
from lockgate.cli.options import Model, Yes, choose_model, person
from lockgate.cli.release_commands import answer_form, ask, finish, give_answer, run_url
from lockgate.cli.stack_commands import start_stack
from lockgate.cli.surface import OUTCOME_EXIT, Surface
from lockgate.config import load_settings
from lockgate.core.ids import Json, ModelName, digest_bytes
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.errors import BadInput, TransientError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.core.spec import ReleaseSpec

EXAMPLE = "flight-delays"
APPROVER = "demo-approver"
_FIRST_BATCHES = 2  # a split by time needs some weeks of training, validation and holdout
_STARTED_WITHIN_S = 120.0
_REQUESTS = 6


def demo(surface: Surface, model: Model = None, yes: Yes = False) -> int:
    """Take a model of real flights from landed data to production, and ask it for answers. About three minutes.

    Starts the local stack, lands the first two months, follows the release that this starts through every gate, asks
    you to approve it, then sends live requests. Leaves the stack up; `lockgate down` ends it.
    Run it again: it lands the next month, and the champion gets a challenger.

    Example: lockgate demo --yes
    """
    from lockgate.bootstrap import Services

    settings = load_settings()
    services = Services(settings)
    name = choose_model(services, model or EXAMPLE)
    began = time.monotonic()
    _headline(surface, 1, "The local stack")
    start_stack(settings, surface, began)
    surface.say(f"  Prefect {settings.url('prefect')}   MLflow {settings.url('mlflow')}")
    before = services.ledger.state(name).releases
    landed = _land(surface, services, name)
    run = _awaited_run(surface, services, name, before if landed else None)
    if run is not None:
        _headline(surface, 3, f"The release, gate by gate: {run_url(services, run)}")
        follower = Follower(services, surface, name, run)
        followed = follower.until_end(lambda row: _decide(surface, services, name, row, yes=yes))
        if followed.outcome is not Outcome.PROMOTED:
            _next_steps(surface, services, name)
            return finish(surface, name, followed)
    answers = _send_requests(surface, services, services.spec(name))
    _next_steps(surface, services, name)
    seconds = round(time.monotonic() - began, 1)
    surface.say(f"done in {seconds} s", "green")
    outcome = Outcome.PROMOTED
    release = services.ledger.state(name).serving["production"].release
    surface.result(
        {"model": name, "landed": landed, "run": run, "release": release, "answers": answers, "seconds": seconds}
    )
    return OUTCOME_EXIT[outcome]


def _headline(surface: Surface, number: int, text: str) -> None:
    surface.say(f"\n{number}. {text}", "bold")


def _land(surface: Surface, services: Services, model: ModelName) -> list[str]:
    """Land the first batches, or the next one when the first are in; nothing while a release is under way."""
    state = services.ledger.state(model)
    if state.open is not None:
        surface.say(f"\n{state.open.release} is under way; nothing is landed before it ends", "yellow")
        return []
    spec, wanted = services.spec(model), 1 if state.ingested else _FIRST_BATCHES
    _headline(surface, 2, f"New data into {services.settings.landing(model)}")
    landed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lockgate-demo-") as folder:
        for batch in spec.data.sample_batches:
            path = Path(folder) / f"{model}-{batch}.parquet"
            write_sample(services.settings, spec, batch, path)
            if digest_bytes(path.read_bytes()) in state.ingested:
                continue  # by its content: under whatever name it was landed before
            taken = services.store.land(model, path)
            surface.say(f"  landed {taken.name}  ({taken.path.stat().st_size:,} bytes, sha256 {taken.sha256[:12]})")
            landed.append(batch)
            if len(landed) == wanted:
                break
    if not landed:
        surface.say("  every example batch was landed before; asking the champion instead", "yellow")
    return landed


def _awaited_run(surface: Surface, services: Services, model: ModelName, before: int | None) -> str | None:
    """Return the run that the landed data started, by event and by nothing else; or the one that is under way.

    Args:
        before: How many releases there were before something was landed; None when nothing was.

    Raises:
        TransientError: None started.
    """
    held = services.ledger.state(model).open
    if held is not None:
        return held.run
    if before is None:
        return None
    surface.say("  waiting for the release that this starts by itself")
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        opened = services.ledger.rows(model, events=(Event.RELEASE_OPENED,))
        if len(opened) > before:
            return str(opened[-1].payload["run"])
        time.sleep(0.5)
    logs = services.settings.logs
    raise TransientError(
        f"no release started in {_STARTED_WITHIN_S:.0f} s; look into {logs}/watcher.log and worker.log"
    )


def _decide(surface: Surface, services: Services, model: ModelName, row: LedgerRow, *, yes: bool) -> None:
    release, run = str(row.release), str(row.payload["run"])
    _headline(surface, 4, f"{release} waits for approval")
    surface.say(f"  the paused run:  {run_url(services, run)}  (button Resume)")
    if row.release is not None:
        surface.say(f"  the evidence:    {services.settings.release(row.release) / 'dossier.html'}")
    items = services.spec(model).approval.checklist
    for item in items:
        surface.say(f"  you confirm:     {item}")
    if yes:
        who, decision = APPROVER, "approve"
        surface.say(f"  approving as {APPROVER}, because of --yes")
    elif surface.interactive:
        who, decision = person(None), "approve" if ask(surface, "Let it take over production?") else "reject"
    else:
        surface.say(
            f"  no terminal to ask in: approve in the Prefect UI, or with: lockgate approve {release}", "yellow"
        )
        return
    reason = "approved in the demo" if decision == "approve" else "rejected in the demo"
    give_answer(services, surface, model, release, answer_form(decision, who, reason, items))


def _send_requests(surface: Surface, services: Services, spec: ReleaseSpec) -> list[dict[str, Json]]:
    """Ask production about rows of the next month that it has not seen, and show what it answers."""
    from lockgate.adapters.http_probe import HttpClient
    from lockgate.core.wire import infer_call, read_infer

    champion = services.ledger.state(spec.name).champion
    if champion is None:
        raise BadInput(f"{spec.name} has no champion yet, so there is nobody to ask; land data: lockgate land FILE")
    contract = services.bundles.get(champion).contract
    rows, labels = _unseen_rows(services, spec)
    began = time.monotonic()
    with HttpClient(services.settings.url("production"), timeout_s=10.0) as client:
        answer = client.send(infer_call(contract, rows))
    if answer.status != 200:
        raise TransientError(f"production answered {answer.status}: {answer.body[:300]!r}")
    took_ms = (time.monotonic() - began) * 1000
    _headline(surface, 5, f"{len(rows)} live requests to {services.settings.url('production')}: {took_ms:.1f} ms")
    shown = [column.name for column in contract.inputs][:4]
    predicted = read_infer(contract, answer)
    answers: list[dict[str, Json]] = [
        {"row": {name: row.get(name) for name in shown}, "answer": [round(each, 4) for each in numbers], "label": label}
        for row, numbers, label in zip(rows, predicted, labels, strict=True)
    ]
    head = (
        ", ".join(contract.classes[1:]) if len(contract.classes) == 2 else ", ".join(contract.classes) or spec.task.unit
    )
    surface.table(
        f"Answered by {str(answer.digest)[:12]}",
        (*shown, f"answer ({head})", "what happened"),
        [
            (*(row.get(name) for name in shown), "  ".join(f"{each:.3f}" for each in numbers), label)
            for row, numbers, label in zip(rows, predicted, labels, strict=True)
        ],
    )
    return answers


def _unseen_rows(services: Services, spec: ReleaseSpec) -> tuple[list[dict[str, Json]], Sequence[Json]]:
    import pandas as pd

    from lockgate.adapters.isolated import load_function

    see_project(services.settings)
    taken = services.ledger.rows(spec.name, events=(Event.BATCH_INGESTED,))
    batch = spec.data.sample_batches[min(len(taken), len(spec.data.sample_batches) - 1)]
    with tempfile.TemporaryDirectory(prefix="lockgate-demo-") as folder:
        path = Path(folder) / f"{batch}.parquet"
        write_sample(services.settings, spec, batch, path)
        landed = pd.read_parquet(path)
    prepared = load_function(spec.data.prepare)(landed) if spec.data.prepare else landed
    chosen = prepared[prepared[spec.data.label].notna()].sample(_REQUESTS, random_state=spec.training.seed)
    features = chosen[list(spec.data.features)]
    rows = [_plain(row) for row in features.to_dict("records")]
    return rows, [str(value) for value in chosen[spec.data.label]]


def _plain(row: Mapping[object, object]) -> dict[str, Json]:
    """Return a row as JSON: null for missing, plain numbers for numpy's."""
    plain: dict[str, Json] = {}
    for name, value in row.items():
        bare = value.item() if hasattr(value, "item") else value
        missing = bare is None or bare != bare  # noqa: PLR0124 - NaN is the one value that differs from itself
        plain[str(name)] = None if missing else bare if isinstance(bare, bool | int | float) else str(bare)
    return plain


def _next_steps(surface: Surface, services: Services, model: ModelName) -> None:
    taken = len(services.ledger.rows(model, events=(Event.BATCH_INGESTED,)))
    batches = services.spec(model).data.sample_batches
    upcoming = batches[min(taken, len(batches) - 1)] if batches else "BATCH"
    surface.say("\nWhat to try next", "bold")
    for what, line in (
        ("see what serves, and why", "lockgate status"),
        ("read why it was let in", f"lockgate explain {_last_release(services, model)}"),
        (
            "land the next month, and a release starts",
            f"lockgate sample {upcoming} -m {model} -o next.parquet && lockgate land next.parquet -m {model}",
        ),
        ("go back to the champion before", f"lockgate rollback -m {model} --reason 'trying it'"),
        ("check the whole record", "lockgate verify"),
        ("end everything", "lockgate down"),
    ):
        surface.say(f"  {what + ':':<44} {line}")


def _last_release(services: Services, model: ModelName) -> str:
    opened = services.ledger.rows(model, events=(Event.RELEASE_OPENED,))
    return str(opened[-1].release) if opened else "RELEASE"
