"""Options and arguments that several commands share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.core.ids import ModelName, ReleaseId
from lockgate.core.ledger import Event
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.ports import Ledger

_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{0,4}){0,3}(-[0-9a-f]{0,12})?")
"""A run's id (a UUID), whole or cut short: no release is named so, for a release's id begins with its model's name."""

LONGEST_DAYS = 36_500
"""A hundred years: as far back as a spec may reach."""
LONGEST_HOURS = 24 * LONGEST_DAYS
MOST_ROWS = 1_000_000_000
GREATEST_SEED = 2**32 - 1  # what numpy and scikit-learn take
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME", help="Which model: the name of its spec in deployments/."),
]
Name = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="The same as --model.")]
Release = Annotated[str, typer.Argument(metavar="RELEASE", help="Which release, e.g. flight-delays-0001.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", envvar="YES", help="Answer every question yes.")]
Reason = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why, in your words. It goes on record.")]
Person = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Who you are; it goes on record. Left out: your login name.")
]


def either(name: str | None, option: str | None) -> str | None:
    """Return what was given, as an argument or as an option.

    Raises:
        BadInput: Both were given, and differ.
    """
    if name is not None and option is not None and name != option:
        raise BadInput(f"{name!r} and --model {option!r} name two things; give one")
    return name if name is not None else option


def choose_model(services: Services, given: str | None) -> ModelName:
    """Return the model that is meant: the one given, or the only one there is.

    Raises:
        BadInput: There is no such model, or there are several and none was given.
    """
    known = services.specs()
    if given is not None:
        if given not in known:
            raise BadInput(f"there is no spec of a model {given!r}; models: {', '.join(known) or 'none'}")
        return ModelName(given)
    if len(known) != 1:
        raise BadInput(
            f"say which model with --model; models: {', '.join(known) or 'none: write deployments/NAME.yaml'}"
        )
    return known[0]


def model_of(ledger: Ledger, release: str) -> ModelName:
    """Return the model whose chain holds a release.

    Raises:
        BadInput: The ledger knows no such release.
    """
    from lockgate.stages.history import closest

    model = release.rpartition("-")[0]
    known = ledger.models()
    if model in known and ledger.rows(ModelName(model), release=ReleaseId(release)):
        return ModelName(model)
    there = tuple(dict.fromkeys(str(row.release) for name in known for row in ledger.rows(name) if row.release))
    raise BadInput(
        f"the ledger knows no release {release!r}; {closest(release, there)}. See: lockgate history", release=release
    )


def release_of(ledger: Ledger, given: str) -> ReleaseId:
    """Return the release that is meant: by its id, or by the id of a Prefect run that carried it (or its first part).

    Raises:
        BadInput: The ledger knows neither such a release nor such a run, or several runs begin so.
    """
    if not _RUN.fullmatch(given):
        model_of(ledger, given)
        return ReleaseId(given)
    carried = (Event.RELEASE_OPENED, Event.RELEASE_RESUMED)
    rows = [row for name in ledger.models() for row in ledger.rows(name, events=carried)]
    found = dict.fromkeys(row.release for row in rows if str(row.payload.get("run")).startswith(given) and row.release)
    if len(found) == 1:
        return next(iter(found))
    said = (
        f"several runs begin with {given!r}: {', '.join(found)}"
        if found
        else f"no release was carried by run {given!r}"
    )
    raise BadInput(f"{said}. See: lockgate history", run=given)


def person(given: str | None) -> str:
    """Return who acts: the name given, or the login name."""
    import getpass

    return given or getpass.getuser()
