"""What a parent and its workers say to each other: one JSON line a message, typed on both sides.

    parent                                worker
      Begin    ── options, its sockets ──>
               <── Begun ── what it serves of the routing on disk
      Serve    ── which sockets ──────────>   accepts from these, and from no others
      Prepare  ── a desired routing ──────>   loads, proves, warms; publishes nothing
      Publish | Discard ── by its change ─>
      Lease, Read, Reload, Stop ──────────>
               <── Done | Failed ── the answer to each of these, by its number
               <── Alive ── once a second
               <── Leaving ── it ends by itself, and takes no more connections

Times are of the machine's monotonic clock, which all its processes share, so that a lease ends in all of them at once.
"""

from __future__ import annotations

import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from lockgate import errors
from lockgate.errors import LockgateError
from lockgate.serving.model.bundle import UnknownBundle
from lockgate.serving.options import ServerOptions
from lockgate.serving.refusals import RequestRefused

LINE_BYTES = 4 << 20  # ours: a routing with the largest constant anyone writes by hand is far below
ALIVE_EVERY_S = 1.0
SAY_WHERE = signal.SIGUSR2  # makes a worker write down what each of its threads is at, whatever they are at
TRACE_CHARACTERS = 8000


def trace_file(options: ServerOptions) -> Path:
    """Return where a worker writes down where it hangs."""
    return options.state / "workers" / f"{options.worker}.trace"


def read_trace(options: ServerOptions) -> str:
    """Take what a worker that has ended wrote there; empty when it did not hang."""
    try:
        text = trace_file(options).read_text(errors="replace")[:TRACE_CHARACTERS]
        trace_file(options).unlink()
    except OSError:
        return ""
    return text


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Any message.

    Attributes:
        number: Of a request, and of the answer to it; 0 where none is expected.
    """

    number: int = 0


class Begin(Message, frozen=True, kw_only=True):
    """The first message to a worker.

    Attributes:
        options: See `options_to_json`.
        sockets: Descriptors of the data port's listening sockets, inherited; a socket's place is its number.
    """

    options: msgspec.Raw
    sockets: tuple[int, ...]


class Begun(Message, frozen=True, kw_only=True):
    """A worker has loaded what was routed.

    Attributes:
        sequences: What it serves, by model.
        lacks: Why a bundle that should answer is not loaded, by model and digest.
    """

    sequences: dict[str, int]
    lacks: dict[str, dict[str, str]]


class Serve(Message, frozen=True, kw_only=True):
    """Accept from these sockets and no others.

    Attributes:
        sockets: By their numbers.
    """

    sockets: tuple[int, ...]


class Prepare(Message, frozen=True, kw_only=True):
    """Load, prove and warm what a desired routing needs; several may be under way.

    Attributes:
        change: Names it for `Publish` and `Discard`.
        model: Name of the model.
        desired: See `state.encode_desired`.
    """

    change: int
    model: str
    desired: msgspec.Raw


class Prepared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to `Prepare`.

    Attributes:
        changes: Whether it differs from what is served.
        desired: What is to be kept on disk; the same from every worker.
    """

    changes: bool
    desired: msgspec.Raw


class Publish(Message, frozen=True, kw_only=True):
    """Serve what was prepared; answered with the account of the model, see `account`.

    Attributes:
        change: Which of it.
        until: When its lease ends, on the monotonic clock, in seconds.
    """

    change: int
    until: float


class Discard(Message, frozen=True, kw_only=True):
    """Forget what was prepared.

    Attributes:
        change: Which of it.
    """

    change: int


class Lease(Message, frozen=True, kw_only=True):
    """Let weights and shadows of a model last; answered with its account.

    Attributes:
        model: Name of the model.
        sequence: What is to be served; another is refused.
        until: On the monotonic clock, in seconds.
    """

    model: str
    sequence: int
    until: float


class Read(Message, frozen=True):
    """Say what is served; answered with the accounts by model."""


class Reload(Message, frozen=True):
    """Read the certificate again."""


class Stop(Message, frozen=True):
    """Answer what was taken, write the log, and end."""


class Done(Message, frozen=True, kw_only=True):
    """The answer to a request that was fulfilled.

    Attributes:
        result: What was asked for.
    """

    result: msgspec.Raw


class Failed(Message, frozen=True, kw_only=True):
    """The answer to a request that was not, or instead of `Begun`.

    Attributes:
        kind: The error's class.
        message: What it says.
        data: Its facts.
    """

    kind: str
    message: str
    data: dict[str, Any]


class Alive(Message, frozen=True, kw_only=True):
    """The worker's event loop turns."""


class Leaving(Message, frozen=True, kw_only=True):
    """The worker ends by itself.

    Attributes:
        why: One sentence.
    """

    why: str


ToWorker: TypeAlias = Begin | Serve | Prepare | Publish | Discard | Lease | Read | Reload | Stop
ToParent: TypeAlias = Begun | Done | Failed | Alive | Leaving


def options_to_json(options: ServerOptions) -> msgspec.Raw:
    """Return a server's options as JSON."""
    return msgspec.Raw(msgspec.json.encode(asdict(options), enc_hook=str))


def options_from_json(data: msgspec.Raw) -> ServerOptions:
    """Read options back."""
    return msgspec.json.decode(data, type=ServerOptions, dec_hook=_to_path)


def _to_path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(f"no {kind}")


def failed(number: int, error: Exception) -> Failed:
    """Return the answer that says that a request failed, and why."""
    if isinstance(error, LockgateError):
        return Failed(number, kind=type(error).__name__, message=error.message, data=error.data)
    return Failed(number, kind=type(error).__name__, message=str(error), data={})


_KINDS = {
    kind.__name__: kind
    for kind in (UnknownBundle, RequestRefused, *vars(errors).values())
    if isinstance(kind, type) and issubclass(kind, LockgateError)
}


def error_of(failure: Failed, worker: int) -> LockgateError:
    """Return the error again; one that was not raised on purpose becomes a `LockgateError` that names it."""
    kind = _KINDS.get(failure.kind)
    if kind is None:
        return LockgateError(f"worker {worker}: {failure.kind}: {failure.message}", worker=worker)
    return kind(failure.message, **failure.data)
