"""`lockgate reproduce`: make a past release's model again from its record."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.cli.options import Release, model_of
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import Digest, Json, ReleaseId, to_json
from lockgate.errors import LockgateError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.core.spec import ReleaseSpec
    from lockgate.stages.reproduce_release import Means, Reproduction

EXIT = {"same": 0, "differs": 3, "cannot_say": 6}
_STYLE = {"same": "green", "differs": "bold red", "cannot_say": "yellow"}


def reproduce(surface: Surface, release: Release) -> int:
    """Make a release's model again from its record, and tell whether it is the same, bit by bit.

    Fits by the spec, the rows and the seed on record, and compares the graph, the contract and the reference profile.
    Nothing is written. Exit code 0: the same. 3: another. 6: another, or none, and nobody can say why, because the
    program, the libraries or the machine are not those of then, or what it was made of is gone.

    Example: lockgate reproduce flight-delays-0001
    """
    from lockgate.bootstrap import Services
    from lockgate.stages.reproduce_release import reproduce as again

    services = Services(load_settings())
    rows = services.ledger.rows(model_of(services.ledger, release))
    surface.say(f"making {release} again; this takes as long as its training did")
    with tempfile.TemporaryDirectory(prefix="lockgate-reproduce-") as scratch:
        told = again(_means(services), rows, ReleaseId(release), Path(scratch))
    _tell(surface, told)
    return EXIT[told.verdict.value]


def _means(services: Services) -> Means:
    from lockgate.adapters.bundle_store import FileBundleStore
    from lockgate.adapters.packager import OnnxPackager
    from lockgate.adapters.trainer import IsolatedTrainer
    from lockgate.stages.reproduce_release import Means
    from lockgate.stages.then_and_now import Program

    settings, code = services.settings, services.code
    lock = settings.project / "requirements.lock"
    return Means(
        bundles=services.bundles,
        store=services.store,
        trainer=IsolatedTrainer(settings.project),
        converter=OnnxPackager(services.store, FileBundleStore(settings), lock),
        program=Program(
            tree=code.tree,
            commit=code.commit,
            lock=lock.read_text() if lock.is_file() else "",
            platform=platform.platform(),
        ),
        specs=_specs(services),
    )


def _specs(services: Services) -> dict[Digest, ReleaseSpec]:
    found = {}
    for model in services.specs():
        try:
            spec = services.spec(model)
        except LockgateError:
            continue  # a spec that is broken today says nothing about an earlier release
        found[spec.digest] = spec
    return found


def _tell(surface: Surface, told: Reproduction) -> None:
    surface.text(f"{told.release}: {told.verdict.value.replace('_', ' ')}", _STYLE[told.verdict.value])
    surface.text(f"  {told.reason}")
    surface.table(
        "The model, part by part",
        ("part", "is", "recorded", "made again", "differs at"),
        [
            (p.name, "same" if p.recorded == p.rebuilt else "differs", p.recorded[:12], p.rebuilt[:12], _list(p.where))
            for p in told.parts
        ],
    )
    surface.table(
        "What is not what it was then",
        ("what", "recorded", "now"),
        [(each.what, _short(each.recorded), _short(each.now)) for each in told.changed],
    )
    for note in told.notes:
        surface.text(f"  {note}")
    fields = to_json(told)
    content: dict[str, Json] = dict(fields) if isinstance(fields, dict) else {}
    surface.result({**content, "exit_code": EXIT[told.verdict.value]})


def _list(paths: tuple[str, ...]) -> str:
    return ", ".join(paths)


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    return value[:12] if len(value) in (40, 64) and set(value) <= set("0123456789abcdef") else value
