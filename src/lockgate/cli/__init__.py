"""The command line: what people and scripts type. It calls deployments and ports; it never imports the flows."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    from lockgate.cli.app import app

    app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="lockgate")
