"""`lockgate simulate`: production is asked as users would ask it, from real rows, with labels that come later."""

from __future__ import annotations

import asyncio
import math
import signal
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import GREATEST_SEED, Model, Name, choose_model, either
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import Json
from lockgate.core.spec_sections.units import LONGEST_S
from lockgate.errors import BadInput, NotRunning

if TYPE_CHECKING:
    from lockgate.adapters.traffic_generator import Asked, TrafficGenerator
    from lockgate.bootstrap import Services
    from lockgate.cli.sample_rows import SampleRows
    from lockgate.core.simulation import Due, Simulation
    from lockgate.core.simulation_counts import Counts
    from lockgate.core.simulation_faults import Fault
    from lockgate.core.spec import ReleaseSpec

Rate = Annotated[
    float | None,
    typer.Option(
        "--rate", min=0, max=1_000_000, metavar="N", help="Requests a second, at random times. Left out: 100."
    ),
]
Speed = Annotated[
    float | None,
    typer.Option(
        "--speed",
        min=0,
        max=1_000_000_000,
        metavar="N",
        help="Instead of --rate: replay the rows' own times so many times as fast.",
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        "--duration",
        min=0,
        max=LONGEST_S,
        metavar="SECONDS",
        help="How long. Left out: 60; with --speed to the batch's end.",
    ),
]
Entities = Annotated[
    int, typer.Option("--entities", min=1, max=100_000_000, metavar="N", help="How many clients there are.")
]
Faults = Annotated[
    str,
    typer.Option(
        "--faults",
        metavar="LIST",
        help="What goes wrong, joined by commas: skew=COLUMN*FACTOR, dead_labels, late_labels=SECONDS, "
        "wrong_labels=SHARE, stop, burst=RATE; each may end in @FROM or @FROM+FOR, in seconds.",
    ),
]
LabelsAfter = Annotated[
    float | None,
    typer.Option(
        "--labels-after",
        min=0,
        max=LONGEST_S,
        metavar="SECONDS",
        help="From an answer to its label. Left out: 5; with --speed the spec's delay, as much faster.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, max=GREATEST_SEED, metavar="N", help="The same seed asks the same, of the same clients."
    ),
]
Batch = Annotated[
    str | None, typer.Option("--batch", metavar="BATCH", help="Which example batch. Left out: the next to be landed.")
]

RATE_RPS = 100.0
DURATION_S = 60.0
LABELS_AFTER_S = 5.0


def simulate(  # noqa: PLR0913 - each is an option
    surface: Surface,
    name: Name = None,
    *,
    model: Model = None,
    rate: Rate = None,
    speed: Speed = None,
    duration: Duration = None,
    entities: Entities = 5000,
    faults: Faults = "",
    labels_after: LabelsAfter = None,
    seed: Seed = 1,
    batch: Batch = None,
) -> None:
    """Ask production as users would: rows of the model's example data, by a pool of clients, labels later.

    Open loop: each request is sent when it is due, whatever became of those before; what could not be sent in time is
    counted. Rows without a label get none. Ends with a summary, also on Ctrl-C.

    Example: lockgate simulate flight-delays --rate 100 --duration 60 --faults stop@20+10
    """
    from lockgate.bootstrap import Services
    from lockgate.cli.sample_rows import next_batch, sample_rows
    from lockgate.core.simulation_faults import parse_faults

    services = Services(load_settings())
    spec = services.spec(choose_model(services, either(name, model)))
    simulation = _simulation(spec, speed, duration, entities, parse_faults(faults), labels_after, seed)
    _arrivals(rate, speed, (0.0,), seed)  # what is wrong with them is told before seconds are spent on rows
    asked = _asked(services, spec)
    _refuse_unknown_columns(simulation.faults, asked)
    sample = sample_rows(services, spec, batch or next_batch(services, spec))
    surface.say(
        f"asking {asked.host}:{asked.port} about {len(sample.rows):,} rows of {sample.batch}; Ctrl-C ends it", "bold"
    )
    _run(surface, spec, asked, sample, simulation, _arrivals(rate, speed, sample.times_s, seed))


def _simulation(  # noqa: PLR0913, PLR0917 - as many as options
    spec: ReleaseSpec,
    speed: float | None,
    duration: float | None,
    entities: int,
    faults: tuple[Fault, ...],
    labels_after: float | None,
    seed: int,
) -> Simulation:
    from lockgate.core.simulation import Simulation

    delay_s = LABELS_AFTER_S if speed is None or speed <= 0 else spec.data.label_delay_s / speed
    return Simulation(
        entities=entities,
        seed=seed,
        duration_s=duration if duration is not None else DURATION_S if speed is None else math.inf,
        label_delay_s=delay_s if labels_after is None else labels_after,
        faults=faults,
    )


def _arrivals(rate: float | None, speed: float | None, times_s: Sequence[float], seed: int) -> Iterator[float]:
    """Return when requests are due.

    Raises:
        BadInput: Both or an impossible one was given.
    """
    from lockgate.core.simulation import replayed_arrivals, steady_arrivals

    if speed is None:
        return steady_arrivals(RATE_RPS if rate is None else rate, seed)
    if rate is not None:
        raise BadInput("--rate and --speed both say how fast; give one")
    return replayed_arrivals(times_s, speed)


def _asked(services: Services, spec: ReleaseSpec) -> Asked:
    """Return whom to ask, once it is sure that it answers.

    Raises:
        NotRunning: Nothing listens there, or the model is not served.
    """
    from lockgate.adapters.http_probe import HttpClient
    from lockgate.adapters.traffic_generator import Asked
    from lockgate.core.wire import Call, model_path
    from lockgate.errors import TransientError

    url = services.settings.url("production")
    try:
        with HttpClient(url, timeout_s=5.0) as client:
            status = client.send(Call(path=model_path(spec.name, "ready"))).status
    except TransientError as nobody:
        raise NotRunning(f"nothing answers at {url}; start the stack with: lockgate up", url=url) from nobody
    champion = services.ledger.state(spec.name).champion
    if status != 200 or champion is None:
        raise NotRunning(
            f"production serves nothing for {spec.name} yet; release it: lockgate release --model {spec.name}"
        )
    parts = urllib.parse.urlsplit(url)
    return Asked(
        host=parts.hostname or "127.0.0.1",
        port=services.settings.ports["production"],
        token=services.settings.admin_token_file.read_text().strip(),
        contract=services.bundles.get(champion).contract,
    )


def _refuse_unknown_columns(faults: tuple[Fault, ...], asked: Asked) -> None:
    from lockgate.core.contract import ColumnType

    numbers = [column.name for column in asked.contract.inputs if column.type is ColumnType.NUMBER]
    for fault in faults:
        if fault.column and fault.column not in numbers:
            raise BadInput(
                f"fault skew: {fault.column!r} is no number column of the model; there are {', '.join(numbers)}"
            )


def _run(  # noqa: PLR0913, PLR0917 - what, whom, and how it is shown
    surface: Surface,
    spec: ReleaseSpec,
    asked: Asked,
    sample: SampleRows,
    simulation: Simulation,
    arrivals: Iterator[float],
) -> None:
    import uvloop

    from lockgate.adapters.traffic_generator import Rows, TrafficGenerator
    from lockgate.core.simulation import requests

    rows = Rows(rows=sample.rows, keys=sample.keys, labels=sample.labels)
    generator = TrafficGenerator(asked, rows, simulation)
    due = requests(simulation, arrivals, len(sample.rows))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took_s = runner.run(_until_told(surface, generator, due))
    counts = generator.total
    content: dict[str, Json] = {"model": spec.name, "batch": sample.batch, "seconds": round(took_s, 3)}
    content |= counts.content | {"labels_waiting": generator.waiting}
    if counts.due and not counts.statuses:
        raise NotRunning(f"nothing answered at {asked.host}:{asked.port}; see: lockgate status", **content)
    surface.text(f"{took_s:.1f} s: {words(counts, took_s)}")
    surface.text(
        f"  labels told {counts.labels:,}, refused {counts.labels_refused:,}, not due yet {generator.waiting:,}"
    )
    surface.result(content)


async def _until_told(surface: Surface, generator: TrafficGenerator, due: Iterator[Due]) -> float:
    """Send until everything is sent, or Ctrl-C or SIGTERM; return for how long, in seconds."""
    stop, loop, before_s = asyncio.Event(), asyncio.get_running_loop(), 0.0
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def tell(now_s: float, counts: Counts) -> None:
        nonlocal before_s
        surface.say(f"[{now_s:6.1f} s] {words(counts, now_s - before_s)}")
        before_s = now_s

    return await generator.run(due, stop, tell)


def words(counts: Counts, took_s: float) -> str:
    """Say in one line what became of requests."""
    asked = counts.due - counts.unsent
    said = [f"asked {asked:,} ({asked / max(took_s, 0.001):.0f}/s)", f"answered {counts.answered:,}"]
    said += [f"{arm or 'no arm named'} {n:,}" for arm, n in sorted(counts.arms.items())]
    said += [f"errors {counts.errors:,}" + (f" {_which(counts)}" if counts.errors else "")]
    for what, n in (("not sent in time", counts.unsent), ("fell back", counts.fallbacks), ("broken", counts.broken)):
        said += [f"{what} {n:,}"] if n else []
    p50, p95 = counts.quantile_ms(0.5), counts.quantile_ms(0.95)
    return ", ".join(said) + ("" if p50 is None or p95 is None else f", p50 {p50:.1f} ms, p95 {p95:.1f} ms")


def _which(counts: Counts) -> str:
    statuses = [f"{n:,} of status {status}" for status, n in sorted(counts.statuses.items()) if status != 200]
    return f"({', '.join(statuses + [f'{n:,} {how}' for how, n in sorted(counts.lost.items())])})"
