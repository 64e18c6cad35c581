"""The MLflow server, slim: one process, no jobs, no command-line parent (which alone would hold 190 MB).

    python -m lockgate.adapters.mlflow_server --host H --port P --folder <home>/mlflow

It does what `mlflow server --workers 1` does: makes or upgrades the database, then serves the same application.
The variables are MLflow's own between its command line and its workers (3.17, `mlflow/server/constants.py`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="lockgate.adapters.mlflow_server")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args(arguments)
    _prepare(given.folder)
    import uvicorn

    uvicorn.run("mlflow.server.fastapi_app:app", host=given.host, port=given.port, log_level="warning")
    return 0


def _prepare(folder: Path) -> None:
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    database = f"sqlite:///{folder / 'mlflow.db'}"
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_ENABLE_WORKSPACES": "false",
    }
    # After the variables: MLflow reads them when it is imported.
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(database, database, "mlflow-artifacts:/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
