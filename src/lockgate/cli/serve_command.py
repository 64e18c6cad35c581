"""`lockgate serve`: the model server, with the server's own options."""

from __future__ import annotations

from typing import Annotated

import typer

from lockgate.cli.surface import Surface

Options = Annotated[
    list[str] | None, typer.Argument(metavar="[SERVER OPTIONS]", help="Passed to the server as they are.")
]


def serve(surface: Surface, options: Options = None) -> int:
    """Serve models over the Open Inference Protocol; `lockgate up` starts two of these: staging and production.

    Server options: --environment NAME, --bundles DIR, --public-key FILE, --state DIR, --admin-token-file FILE,
    --host H, --port P, --admin-port A, --workers N, --tls-cert FILE, --tls-key FILE; all of them with what they mean:
    lockgate serve -- --help.

    Example: lockgate serve --environment sandbox --bundles .lockgate/bundles --public-key .lockgate/keys/signing.pub
    --state /tmp/sandbox --admin-token-file .lockgate/tokens/admin.token --port 8090 --admin-port 9090
    """
    from lockgate.serving.__main__ import main
    from lockgate.serving.__main__ import serve as run

    if not surface.as_json:
        return main(options or [])
    ended = run(options or [])
    surface.result({"exit_code": ended})
    return ended
