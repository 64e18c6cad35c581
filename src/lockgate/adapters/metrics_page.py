"""A server's metrics page, as text."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

_TIMEOUT_S = 5.0


def metrics_page(url: str) -> str | None:
    """Return the page at `<url>/metrics`; None where nobody answers with one."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return content.decode(errors="replace") if answer.status == http.HTTPStatus.OK else None
