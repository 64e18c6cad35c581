"""`lockgate demo`: the example model from landed data to live answers, and its challenger through a canary, live."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.demo_fault import show_drill
from lockgate.cli.following import Follower
from lockgate.cli.live_answers import send_requests
from lockgate.cli.live_traffic import QUIET_RPS, ROLLOUT_RPS, LiveTraffic, summary_words
from lockgate.cli.options import Model, Yes, choose_model, person
from lockgate.cli.release_commands import answer_form, ask, finish, give_answer, run_url
from lockgate.cli.stack_commands import start_stack
from lockgate.cli.surface import OUTCOME_EXIT, Surface
from lockgate.config import load_settings
from lockgate.core.ids import Json, ModelName, digest_bytes
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.errors import TransientError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

Fault = Annotated[
    bool, typer.Option("--fault", help="Instead: plant a fault beside the champion and watch it taken away.")
]

EXAMPLE = "flight-delays"
APPROVER = "demo-approver"
_FIRST_BATCHES = 2  # a split by time needs some weeks of training, validation and holdout
_STARTED_WITHIN_S = 120.0


def demo(surface: Surface, model: Model = None, yes: Yes = False, fault: Fault = False) -> int:
    """Take a model of real flights from landed data to production, then its challenger through a canary.

    Starts the local stack, lands the first two months, follows the release that this starts through every gate, asks
    you to approve it, and sends live requests. Then simulated clients ask production, the next month lands, and its
    release is rolled out step by step under your eyes. About six minutes; leaves the stack up, `lockgate down` ends it.
    Run again, it lands the next month. With --fault: plants a broken copy of the champion and shows it taken away.

    Example: lockgate demo --yes
    """
    from lockgate.bootstrap import Services

    settings = load_settings()
    services = Services(settings)
    name = choose_model(services, model or EXAMPLE)
    story = Story(surface=surface, services=services, model=name, yes=yes)
    story.headline("The local stack")
    start_stack(settings, surface, story.began)
    surface.say(f"  Prefect {settings.url('prefect')}   MLflow {settings.url('mlflow')}")
    with LiveTraffic(settings, name) as traffic:
        if fault:
            return show_drill(surface, services, name, traffic, story.headline)
        story.traffic = traffic
        first = services.ledger.state(name).champion is None
        code = story.release()
        if code is None and first:
            story.show_answers()
            code = story.release()
        return story.end() if code is None else code


@dataclass(kw_only=True)
class Story:
    """The demo as it goes on.

    Attributes:
        surface: Where it is told.
        services: What it is about.
        model: Which model.
        yes: Whether nobody is asked.
        began: When it began, monotonic.
        traffic: Simulated clients; asked for once there is a champion.
        chapter: How many headlines there were.
        landed: What was landed.
        run: The last release's run.
        answers: What live requests were answered.
        seen: What simulated clients saw of the last rollout.
    """

    surface: Surface
    services: Services
    model: ModelName
    yes: bool
    began: float = field(default_factory=time.monotonic)
    traffic: LiveTraffic | None = None
    chapter: int = 0
    landed: list[str] = field(default_factory=list)
    run: str | None = None
    answers: list[dict[str, Json]] = field(default_factory=list)
    seen: Mapping[str, Json] = field(default_factory=dict)

    def headline(self, text: str) -> None:
        """Begin a chapter."""
        self.chapter += 1
        self.surface.say(f"\n{self.chapter}. {text}", "bold")

    def release(self) -> int | None:
        """Land what comes next and follow the release that this starts; returns an exit code where it ends the demo."""
        surface, services = self.surface, self.services
        self._ask_for(QUIET_RPS)  # so that the gates have real requests to look at
        state = services.ledger.state(self.model)
        before, first = state.releases, state.champion is None
        landed = self._land()
        self.landed += landed
        run = _awaited_run(surface, services, self.model, before if landed else None)
        if run is None:
            return None
        self.run = run
        self.headline(f"The release, gate by gate: {run_url(services, run)}")
        followed = Follower(services, surface, self.model, run).until_end(self._decide)
        self._tell_what_clients_saw()
        if followed.outcome is Outcome.PROMOTED:
            if first:
                surface.say("  the first champion has nobody to be compared with: it was switched to at once")
            return None
        _next_steps(surface, services, self.model, stopped=True)
        return finish(surface, self.model, followed)

    def show_answers(self) -> None:
        """Ask production about a few rows it has not seen."""
        self.headline(f"Live requests to {self.services.settings.url('production')}")
        self.answers = send_requests(self.surface, self.services, self.services.spec(self.model))

    def end(self) -> int:
        """Tell how it ended and what to try next."""
        if not self.answers:
            self.show_answers()
        _next_steps(self.surface, self.services, self.model)
        seconds = round(time.monotonic() - self.began, 1)
        self.surface.say(f"done in {seconds} s", "green")
        content: dict[str, Json] = {"model": self.model, "landed": list(self.landed), "run": self.run}
        content |= {"release": self.services.ledger.state(self.model).serving["production"].release}
        self.surface.result(content | {"answers": list(self.answers), "clients": dict(self.seen), "seconds": seconds})
        return OUTCOME_EXIT[Outcome.PROMOTED]

    def _ask_for(self, rate_rps: float) -> None:
        """Let simulated clients ask from now on, if there is a champion to ask and rows to ask about."""
        state, spec = self.services.ledger.state(self.model), self.services.spec(self.model)
        if self.traffic is not None and state.champion is not None and spec.data.sample_batches:
            self.surface.say(f"  simulated clients ask production, {rate_rps:g} requests a second")
            self.traffic.ask(rate_rps)

    def _tell_what_clients_saw(self) -> None:
        if self.traffic is None:
            return
        problem = self.traffic.problem
        self.seen = self.traffic.end()
        words = summary_words(self.seen)
        if problem is not None:
            self.surface.say(f"  the simulated clients ended before: {problem}", "yellow")
        elif words:
            self.surface.say(f"  what simulated clients saw meanwhile: {words}", "green")

    def _land(self) -> list[str]:
        """Land the first batches, or the next one when the first are in; nothing while a release is under way."""
        from lockgate.adapters.sample_batches import write_sample

        services, surface = self.services, self.surface
        state = services.ledger.state(self.model)
        if state.open is not None:
            surface.say(f"\n{state.open.release} is under way; nothing is landed before it ends", "yellow")
            return []
        spec, wanted = services.spec(self.model), 1 if state.ingested else _FIRST_BATCHES
        self.headline(f"New data into {services.settings.landing(self.model)}")
        landed: list[str] = []
        with tempfile.TemporaryDirectory(prefix="lockgate-demo-") as folder:
            for batch in spec.data.sample_batches:
                path = Path(folder) / f"{self.model}-{batch}.parquet"
                write_sample(services.settings, spec, batch, path)
                if digest_bytes(path.read_bytes()) in state.ingested:
                    continue  # by its content: under whatever name it was landed before
                taken = services.store.land(self.model, path)
                surface.say(f"  landed {taken.name}  ({taken.path.stat().st_size:,} bytes, sha256 {taken.sha256[:12]})")
                landed.append(batch)
                if len(landed) == wanted:
                    break
        if not landed:
            surface.say("  every example batch was landed before; asking the champion instead", "yellow")
        return landed

    def _decide(self, row: LedgerRow) -> None:
        """Answer the approval's question, or ask who watches."""
        release, surface, services = str(row.release), self.surface, self.services
        self.headline(f"{release} waits for approval")
        surface.say(f"  the paused run:  {run_url(services, str(row.payload['run']))}  (button Resume)")
        if row.release is not None:
            surface.say(f"  the evidence:    {services.settings.release(row.release) / 'dossier.html'}")
        items = services.spec(self.model).approval.checklist
        for item in items:
            surface.say(f"  you confirm:     {item}")
        if self.yes:
            who, decision = APPROVER, "approve"
            surface.say(f"  approving as {APPROVER}, because of --yes")
        elif surface.interactive:
            who, decision = person(None), "approve" if ask(surface, "Let it take over production?") else "reject"
        else:
            surface.say(
                f"  no terminal to ask in: approve in the Prefect UI, or with: lockgate approve {release}", "yellow"
            )
            self._ask_for(ROLLOUT_RPS)  # whenever somebody answers, the rollout needs it
            return
        if decision == "approve":
            self._ask_for(ROLLOUT_RPS)  # before the rollout starts: it plans on what it sees of the traffic
        reason = "approved in the demo" if decision == "approve" else "rejected in the demo"
        give_answer(services, surface, self.model, release, answer_form(decision, who, reason, items))


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


def _next_steps(surface: Surface, services: Services, model: ModelName, *, stopped: bool = False) -> None:
    taken = len(services.ledger.rows(model, events=(Event.BATCH_INGESTED,)))
    batches = services.spec(model).data.sample_batches
    upcoming = batches[min(taken, len(batches) - 1)] if batches else "BATCH"
    surface.say("\nWhat to try next", "bold")
    why = "read why not, and what to do first" if stopped else "read why it was let in"
    again = [("then try again", f"lockgate release --model {model}")] if stopped else []
    for what, line in (
        (why, f"lockgate explain {_last_release(services, model)}"),
        *again,
        ("see what serves, and why", "lockgate status"),
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
