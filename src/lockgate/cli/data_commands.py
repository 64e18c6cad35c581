"""`lockgate land`, `sample`, `watch`: how data arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockgate.cli.options import Model, choose_model
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import Json

File = Annotated[Path, typer.Argument(metavar="FILE", help="A Parquet file.")]
BatchName = Annotated[str, typer.Argument(metavar="BATCH", help="Name of the batch, as the spec lists them.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write. Left out: BATCH.parquet")
]


def land(surface: Surface, file: File, model: Model = None) -> None:
    """Hand over a file of new data: it is copied into the model's landing folder, whole or not at all.

    The watcher sees it and a release starts by itself, if the spec says so. The same content landed twice is taken
    in once. Moving a file into the folder yourself does the same.

    Example: lockgate land flights-2013-03.parquet --model flight-delays
    """
    from lockgate.bootstrap import Services

    services = Services(load_settings())
    name = choose_model(services, model)
    services.check(services.spec(name))  # what is wrong with it is told now, not by the release that it stops
    batch = services.store.land(name, file)
    surface.text(f"landed {batch.name} for {name}; the release it starts: lockgate history --model {name}")
    surface.result({"model": name, "name": batch.name, "sha256": batch.sha256, "path": str(batch.path)})


def sample(surface: Surface, batch: BatchName, out: Out = None, model: Model = None) -> None:
    """Write one batch of the model's real example data to a file, to land it or to look at it.

    Example: lockgate sample 2013-03 --model flight-delays --out march.parquet
    """
    from lockgate.adapters.sample_batches import write_sample
    from lockgate.bootstrap import Services

    settings = load_settings()
    services = Services(settings)
    spec = services.spec(choose_model(services, model))
    path = out or Path(f"{batch}.parquet")
    write_sample(settings, spec, batch, path)
    surface.text(
        f"wrote {path} ({path.stat().st_size:,} bytes); land it with: lockgate land {path} --model {spec.name}"
    )
    content: dict[str, Json] = {"model": spec.name, "batch": batch, "path": str(path), "bytes": path.stat().st_size}
    surface.result(content)


def watch(surface: Surface) -> None:
    """Watch the landing folders and say so by event when data arrived; `lockgate up` runs this for you.

    With LOCKGATE_TRIGGER_PORT set it also takes messages that ask for a release: POST /trigger/MODEL.

    Example: lockgate watch
    """
    import logging
    import threading

    from lockgate.bootstrap import services
    from lockgate.config import trigger_port
    from lockgate.line.messages import messages
    from lockgate.line.watching import Watcher

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request
    watched = services()
    surface.say(f"watching for {', '.join(watched.specs()) or 'nothing'}; end with Ctrl-C")
    with messages(watched, trigger_port(watched.settings)) as port:
        if port is not None:
            surface.say(f"taking messages at http://{watched.settings.host}:{port}/trigger/MODEL")
        Watcher(watched).run(threading.Event())
