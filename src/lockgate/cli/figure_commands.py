"""`lockgate diff`, `maturity`, `delivery`: two releases side by side, and the figures of a model over all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import Model, Name, choose_model, either, model_of
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.core.delivery import Delivery, Durations
    from lockgate.stages.difference import Difference, Sheet

First = Annotated[str, typer.Argument(metavar="RELEASE", help="The one.")]
Second = Annotated[str, typer.Argument(metavar="RELEASE", help="The other, of the same model.")]
All = Annotated[bool, typer.Option("--all", "-a", help="Also what is equal.")]
Tests = Annotated[bool, typer.Option("--tests", "-t", help="Also each of the 28 tests, with its evidence.")]

_SHORT = 32  # characters of a digest or version in a table; --json holds all of it
_SCALES = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))
_MARKS = {0.0: "no", 0.5: "half", 1.0: "yes"}


def _services() -> Services:
    from lockgate.bootstrap import Services

    return Services(load_settings())


def diff(surface: Surface, first: First, second: Second, everything: All = False) -> None:
    """Show in what two releases of one model differ: spec, data, code, lock, parameters, metrics, verdicts, sizes.

    Example: lockgate diff flight-delays-0001 flight-delays-0002
    """
    from lockgate.stages.difference import diff as read

    services = _services()
    name = model_of(services.ledger, first)
    if model_of(services.ledger, second) != name:
        raise BadInput(f"{first} and {second} are of different models; compare two releases of one model")
    rows = services.ledger.rows(name)
    found = read(
        rows,
        ReleaseId(first),
        ReleaseId(second),
        first_sheet=_sheet(services, rows, first),
        second_sheet=_sheet(services, rows, second),
        everything=everything,
    )
    for group in dict.fromkeys(each.group for each in found):
        surface.table(
            group.capitalize(),
            ("what", first, second, "differs"),
            [_line(each) for each in found if each.group == group],
        )
    if not found:
        surface.text(f"{first} and {second} do not differ in anything on record")
    surface.result({"first": first, "second": second, "differences": [to_json(each) for each in found]})


def _sheet(services: Services, rows: Iterable[LedgerRow], release: str) -> Sheet:
    from lockgate.adapters.bundle_facts import bundle_sheet

    made = [row for row in rows if row.release == release and row.event is Event.BUNDLE]
    return bundle_sheet(services.bundles.folder(Digest(str(made[-1].payload.get("bundle"))))) if made else {}


def _line(each: Difference) -> tuple[str, str, str, str]:
    first, second = _cell(each.first, each.first_interval), _cell(each.second, each.second_interval)
    return each.what, first, second, "differs" if each.differs else ""


def _cell(value: str | float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "none"
    text = value[:_SHORT] if isinstance(value, str) else f"{value:.6g}"
    return text if interval is None else f"{text} [{interval[0]:.4g}, {interval[1]:.4g}]"


def maturity(surface: Surface, name: Name = None, model: Model = None, tests: Tests = False) -> None:
    """Show the ML Test Score of the newest releases: 28 tests computed from records, the least of four areas.

    Example: lockgate maturity flight-delays --tests
    """
    from lockgate.core.maturity import Area, meaning, trend
    from lockgate.line.assessing import records

    services, chosen = _chosen(name, model)
    assessed = trend(records(services, chosen, services.ledger.rows(chosen)))
    if not assessed:
        surface.text(f"{chosen}: no release was judged yet, so there is nothing to score")
        surface.result({"model": chosen, "releases": []})
        return
    surface.table(
        f"ML Test Score of {chosen}, 0 to 7 an area",
        ("release", "score", *Area),
        [(each.release, f"{each.score:g}", *(f"{each.areas[area]:g}" for area in Area)) for each in assessed],
    )
    newest = assessed[-1]
    if tests:
        surface.table(
            f"The tests of {newest.release}",
            ("test", "answer", "what", "why", "evidence"),
            [(f.id, _MARKS[f.answer.value], f.title, f.why, "; ".join(f.evidence)) for f in newest.findings],
        )
    surface.text(f"{newest.release}: {newest.score:g} of 7, {meaning(newest.score)}")
    told = [{**_fields(each), "meaning": meaning(each.score)} for each in assessed]
    surface.result({"model": chosen, "releases": told})


def metrics(surface: Surface, name: Name = None, model: Model = None) -> None:
    """Show how often, how fast and how safely releases reach production, and how soon a bad one was taken back.

    Example: lockgate metrics flight-delays
    """
    from lockgate.core.delivery import delivery as read

    services, chosen = _chosen(name, model)
    found = read(services.ledger.rows(chosen))
    surface.table(f"Delivery of {chosen}", ("figure", "value", "from"), _figures(found))
    surface.result({"model": chosen, **_fields(found)})


def _figures(found: Delivery) -> list[tuple[str, str, str]]:
    often = "less than a day of record" if found.per_30_days is None else f"{found.per_30_days:.3g} in 30 days"
    share = "none yet"
    if found.failure_fraction is not None and found.failure_interval is not None:
        low, high = found.failure_interval
        share = f"{found.failure_fraction:.0%} [{low:.0%}, {high:.0%}]"
    promotions = f"{found.promotions} promotions of {found.releases} releases"
    return [
        ("deployment frequency", often, promotions),
        ("lead time", *_durations(found.lead_time)),
        ("of it, waiting for a decision", *_durations(found.waited)),
        ("change failure share", share, f"{found.failures} of {found.changes} changes"),
        ("time to restore", *_durations(found.restore)),
        ("from bad switch to restored", *_durations(found.exposed)),
    ]


def _durations(found: Durations | None) -> tuple[str, str]:
    if found is None:
        return "none yet", ""
    return f"median {_time(found.median_s)}", f"{found.n}, longest {_time(found.longest_s)}"


def _time(seconds: float) -> str:
    return next((f"{seconds / size:.3g} {unit}" for size, unit in _SCALES if seconds >= size), f"{seconds:.3g} s")


def _chosen(name: str | None, model: str | None) -> tuple[Services, ModelName]:
    services, given = _services(), either(name, model)
    known = services.ledger.models()
    if given in known:  # a model whose spec is gone still has its record
        return services, ModelName(str(given))
    return services, choose_model(services, given)


def _fields(value: object) -> dict[str, Json]:
    told = to_json(value)
    return dict(told) if isinstance(told, dict) else {}
