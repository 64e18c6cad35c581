"""A server's metrics page, as text."""

from __future__ import annotations

from lockgate.adapters.health import ask

_TIMEOUT_S = 5.0


def metrics_page(url: str) -> str | None:
    """Return the page at `<url>/metrics`; None where nobody answers with one."""
    content = ask("GET", f"{url}/metrics", timeout_s=_TIMEOUT_S)
    return None if content is None else content.decode(errors="replace")
