"""What may be set on a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a caller may ask for.

    Attributes:
        body_bytes: A larger body is refused (413).
        rows: A request with more rows is refused (413).
        in_flight: While this many requests are being answered, further ones are refused (503, Retry-After).
        read_timeout_s: A body that has not arrived whole in this time is refused (408).
    """

    body_bytes: int = 16 << 20
    rows: int = 10_000
    in_flight: int = 512
    read_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How one server is started.

    Attributes:
        environment: The environment it is: `sandbox`, `staging`, `production`.
        bundles: The bundle store, one folder a digest.
        public_key: What bundles are verified with, PEM.
        state: Holds the routing and the prediction log; one server's own.
        admin_token_file: Holds the token that the admin port asks for.
        host: The address both ports listen on.
        port: The data port; 0 takes a free one, said in the ready line.
        admin_port: The admin port; 0 likewise.
        limits: What a caller may ask for.
        log_inputs: Whether the prediction log holds the inputs of each request.
        log_flush_s: The longest an answered request waits in memory before it is written, in seconds.
        log_segment_bytes: A file of the prediction log that has grown to this size is closed.
        stop_timeout_s: On SIGTERM, requests being answered get this long.
    """

    environment: str
    bundles: Path
    public_key: Path
    state: Path
    admin_token_file: Path
    host: str = "127.0.0.1"
    port: int = 8080
    admin_port: int = 9080
    limits: Limits = field(default_factory=Limits)
    log_inputs: bool = True
    log_flush_s: float = 0.5
    log_segment_bytes: int = 64 << 20
    stop_timeout_s: float = 10.0
