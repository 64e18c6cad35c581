"""`lockgate feedback`: what people say of a model's answers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import Model, Name, choose_model, either
from lockgate.cli.surface import Surface
from lockgate.config import ENVIRONMENTS, load_settings
from lockgate.core.ids import to_json
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.core.monitoring.feedback import FeedbackSummary

Days = Annotated[float, typer.Option("--days", min=0.01, max=36_500, help="How far back.")]
Where = Annotated[str, typer.Option("--environment", "-e", metavar="NAME", help="production or staging.")]


def feedback(
    surface: Surface, name: Name = None, model: Model = None, days: Days = 90.0, environment: Where = "production"
) -> None:
    """Show what people say of a model's answers: verdicts by arm and bundle, and the newest comments.

    Example: lockgate feedback flight-delays --days 7
    """
    from lockgate.adapters.feedback_log import read_feedback
    from lockgate.bootstrap import Services

    if environment not in ENVIRONMENTS:
        raise BadInput(f"there is no environment {environment!r}; it is one of {', '.join(ENVIRONMENTS)}")
    services = Services(load_settings())
    chosen = choose_model(services, either(name, model))
    since = services.clock.now() - timedelta(days=days)
    found = read_feedback(services.settings.serving(environment), chosen, since)
    _show(surface, found, f"{chosen} in {environment}")
    told = to_json(found)
    surface.result({"environment": environment, **(told if isinstance(told, dict) else {}), "said": found.said})


def _show(surface: Surface, found: FeedbackSummary, where: str) -> None:
    if found.said:
        share = "" if found.share_fraction is None else f", {found.share_fraction:.2%} of those given"
        surface.text(f"{where}: {found.said:,} verdicts on {found.rows:,} answers{share}")
    else:
        surface.text(f"{where}: nobody has said anything")
    verdicts = tuple(found.verdicts)
    for title, parts in (("arm", found.by_arm), ("bundle", found.by_bundle)):
        lines = [(part[:12] if title == "bundle" else part, *counts.values()) for part, counts in parts.items()]
        surface.table(f"By {title}", (title, *verdicts), lines)
    surface.table(
        "Newest comments",
        ("when", "verdict", "comment", "arm", "prediction"),
        [
            (f"{each.time:%Y-%m-%d %H:%M}", each.verdict, each.text, each.arm, f"{each.prediction_id}, row {each.row}")
            for each in found.comments
        ],
    )
    for count, what in (
        (found.contradicted, "answers that one person says right and another says otherwise"),
        (found.unknown, "words about answers that no log of this server knows"),
        (found.broken, "lines that are no feedback"),
    ):
        if count:
            surface.text(f"{count:,} {what}", "yellow")
