"""What may be set on a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a caller may ask for; with several workers each of them keeps these for itself.

    Attributes:
        body_bytes: A larger body is refused (413); one that comes compressed counts decompressed.
        rows: A request with more rows is refused (413).
        in_flight: While this many requests are being answered, further ones are refused (503, Retry-After).
        connections: While this many connections are open, further ones are told so (503, Retry-After) and closed;
            never more than the limit on open files allows.
        header_timeout_s: A connection whose request's headers have not arrived whole in this time is closed.
        read_timeout_s: A body that has not arrived whole in this time is refused (408).
        request_timeout_s: The longest a model may work on a request, where its routing does not say otherwise.
    """

    body_bytes: int = 16 << 20
    rows: int = 10_000
    in_flight: int = 512
    connections: int = 4096
    header_timeout_s: float = 10.0
    read_timeout_s: float = 10.0
    request_timeout_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How one server is started.

    Attributes:
        environment: The environment it is: `sandbox`, `staging`, `production`.
        bundles: The bundle store, one folder a digest.
        public_key: What bundles are verified with, PEM.
        state: Holds the routing and the prediction log; one server's own.
        admin_token_file: Holds the token that the admin port asks for.
        feedback_token_file: Holds a token that /feedback takes beside the admin's; None: the admin's alone will do.
        host: The address both ports listen on; only this machine reaches the default.
        port: The data port; 0 takes a free one, said in the ready line.
        admin_port: The admin port; 0 likewise.
        tls_cert: Certificate chain of both ports, PEM; None: plain HTTP.
        tls_key: Its private key, PEM, without a pass phrase; given together with `tls_cert` or not at all.
        limits: What a caller may ask for.
        workers: Processes that answer. 1: this one; more: a parent that holds admin port and state, and as many
            workers that share the data port.
        worker: Which of the workers this process is, from 1; 0 for the only process and for the parent. Names its
            files in the state folder, so that no two processes write one. No option of the command line.
        hang_s: A worker that has not said for this long that it is alive is killed and started again.
        access_log: Whether every answer leaves a line in the log of the process.
        self_probe_s: How often each served model is asked a golden request of its own, in seconds; 0: never.
        keep_warm_s: How often a model that is asked now and then runs one of its own probes meanwhile, so that it stays
            in the core's caches, in seconds; 0: never.
        log_inputs: Whether the prediction log holds the inputs of each request.
        log_flush_s: The longest an answered request waits in memory before it is written, in seconds.
        log_segment_bytes: A file of the prediction log that has grown to this size is closed.
        keep_log_days: Days of the prediction log that are kept; 0: all.
        max_log_bytes: Size of the prediction log beyond which its oldest part is deleted; 0: any.
        specs: Holds `<model>.yaml`, the spec that says how late a model's labels are due; None: there are none.
        label_window_days: A label that comes later than this after its prediction counts as late; 0: none does; None:
            the specs say.
        max_memory_mb: A process whose resident memory (1e6 bytes) is above this says it is not ready, answers what
            it has taken and ends with code 1, to be started again by whoever watches it; 0: any.
        stop_timeout_s: On SIGTERM, requests being answered get this long.
    """

    environment: str
    bundles: Path
    public_key: Path
    state: Path
    admin_token_file: Path
    feedback_token_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    admin_port: int = 9080
    tls_cert: Path | None = None
    tls_key: Path | None = None
    limits: Limits = field(default_factory=Limits)
    workers: int = 1
    worker: int = 0
    hang_s: float = 10.0
    access_log: bool = False
    self_probe_s: float = 10.0
    keep_warm_s: float = 0.004
    log_inputs: bool = True
    log_flush_s: float = 0.5
    log_segment_bytes: int = 64 << 20
    keep_log_days: int = 90
    max_log_bytes: int = 10 << 30
    specs: Path | None = None
    label_window_days: float | None = None
    max_memory_mb: int = 0
    stop_timeout_s: float = 10.0
