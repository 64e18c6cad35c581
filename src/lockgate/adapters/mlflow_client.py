"""The connection to MLflow: its client, bounded in time, and its errors in our words."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lockgate.errors import LockgateError, TransientError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_HEALTH_S = 5.0  # ours: /health answers in milliseconds; a minute of MLflow's own retries would hide that it is down
_OPTIONS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # DO_NOT_TRACK is not honoured
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default of 7 holds a stage for minutes; our task retries instead
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for our --json
}
_PASSING = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"})


def client(uri: str) -> MlflowClient:
    """Return a client of one MLflow; nothing global is set but MLflow's own options, where nobody set them.

    Raises:
        TransientError: MLflow did not answer.
    """
    for name, value in _OPTIONS.items():
        os.environ.setdefault(name, value)
    _require_answer(uri)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _require_answer(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=_HEALTH_S):  # noqa: S310 - MlflowRegistry takes http(s) only
            return
    except OSError as silent:  # refused, timed out, or an HTTP error
        raise TransientError(f"MLflow at {uri} did not answer ({silent}); see lockgate status") from silent


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turn MLflow's errors into ours: what may pass is a TransientError."""
    try:
        yield
    except LockgateError:
        raise
    except Exception as broken:
        explained = _explained(uri, broken)
        if explained is None:
            raise
        raise explained from broken


def _explained(uri: str, broken: Exception) -> LockgateError | None:
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    if isinstance(broken, MlflowException) and broken.error_code not in _PASSING:
        return LockgateError(f"MLflow at {uri} refused: {broken.message}", code=broken.error_code)
    if isinstance(broken, MlflowException | RequestException | OSError):
        return TransientError(f"MLflow at {uri} did not answer: {broken}")
    return None  # a programming error, ours or MLflow's
