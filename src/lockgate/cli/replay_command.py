"""`lockgate replay`: past months through the whole line, to see what a policy would have been worth."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lockgate.cli.options import Model, choose_model
from lockgate.cli.surface import Surface
from lockgate.config import load_settings

if TYPE_CHECKING:
    from lockgate.core.ids import Json

Since = Annotated[str, typer.Option("--from", metavar="MONTH", help="The first month, as the spec lists its batches.")]
Until = Annotated[str, typer.Option("--to", metavar="MONTH", help="The last month.")]
Over = Annotated[
    list[Path] | None,
    typer.Option("--policy", "-p", metavar="FILE", help="Sections of a spec to lay over it; replayed after it."),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Left out: a folder under the home.")
]


def replay(  # noqa: PLR0913 - each is an option
    surface: Surface,
    since: Since,
    until: Until,
    *,
    model: Model = None,
    policy: Over = None,
    output: Output = None,
) -> None:
    """Replay past months of a model through the whole line, and say what the policy was worth.

    A temporary stack of its own: the months before land at once and make the first champion; then each month is asked
    about, its labels come late, its file lands, and policy, gates and rollout do what they would have done. Nothing of
    this installation is changed. Some two minutes a month; killed, it goes on where it was with the same --output.

    Example: lockgate replay --model flight-delays --from 2013-03 --to 2013-05 --policy cautious.yaml
    """
    from lockgate.bootstrap import Services
    from lockgate.line.replay_policies import Wanted, replayed

    services = Services(load_settings())
    name = choose_model(services, model)
    wanted = Wanted(model=name, since=since, until=until, over=policy or (), output=output)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it, the stack is taken down

    def tell(text: str) -> None:
        surface.say(f"[{time.monotonic() - began:6.1f} s] {text}")

    result, page = replayed(services, wanted, tell)
    for each in _mappings(result["policies"]):
        _show(surface, each)
    surface.text(f"the whole of it: {page}, and as JSON: {page.with_suffix('.json')}")
    surface.result({**result, "report": str(page)})


def _show(surface: Surface, policy: Mapping[str, Any]) -> None:
    from lockgate.core.replay_words import failed_fits, headline, month_rows

    surface.table(f"{policy['policy']}: {headline(policy)}", *month_rows(policy))
    for each in failed_fits(policy):
        surface.text(each)


def _mappings(given: Json) -> list[Mapping[str, Any]]:
    return [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []
