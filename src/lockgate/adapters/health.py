"""How a process of the stack is known to be ready: it answers, or it reported to the orchestrator, or it stayed alive.

Plain `http.client`: the supervisor stays small, and no proxy of the environment stands between it and loopback.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

_TIMEOUT_S = 5.0


class HealthKind(StrEnum):
    """What is asked."""

    HTTP = "http"
    WORKER = "worker"
    ALIVE = "alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What makes a process ready.

    Attributes:
        kind: http: `url` answers 200. worker: `url` (a work pool's list of workers) shows a heartbeat that is younger
            than the process. alive: it ran for `alive_s`.
        url: What is asked.
        alive_s: How long it must have run; alive only.
    """

    kind: HealthKind
    url: str = ""
    alive_s: float = 1.0


def is_ready(health: Health, *, started: float, age_s: float) -> bool:
    """Ask once.

    Args:
        health: What makes it ready.
        started: When the process started, seconds since the epoch.
        age_s: For how long it has run, by the monotonic clock.
    """
    if health.kind is HealthKind.ALIVE:
        return age_s >= health.alive_s
    if health.kind is HealthKind.HTTP:
        return answers(health.url)
    body = ask("POST", health.url, body=b"{}")
    return body is not None and _fresh_worker(body, started)


def answers(url: str, *, timeout_s: float = _TIMEOUT_S) -> bool:
    """Tell whether a URL answers 200."""
    return ask("GET", url, timeout_s=timeout_s) is not None


def _fresh_worker(body: bytes, started: float) -> bool:
    try:
        workers = json.loads(body)
        beats = [datetime.fromisoformat(each["last_heartbeat_time"]) for each in workers]
    except (ValueError, TypeError, KeyError):
        return False
    return any(beat.timestamp() >= started for beat in beats)


def ask(method: str, url: str, *, body: bytes | None = None, timeout_s: float = _TIMEOUT_S) -> bytes | None:
    """Return what is answered with 200; None where nobody does in time."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    headers = {"content-type": "application/json"} if body else {}
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return content if answer.status == http.HTTPStatus.OK else None
