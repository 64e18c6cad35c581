"""Listening sockets: bound here, shared by several workers, or inherited from whoever started the server.

A supervisor that holds the sockets itself (systemd's socket activation, sd_listen_fds(3)) passes them as descriptors
3 and up, told by LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES; callers then wait in their queue while the server
restarts, and none is turned away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import MutableMapping
from typing import Final

from lockgate.errors import BadInput, ConfigError

BACKLOG: Final = 2048
FIRST_INHERITED: Final = 3  # SD_LISTEN_FDS_START
DATA: Final = "data"
ADMIN: Final = "admin"


def listen(host: str, port: int, option: str) -> socket.socket:
    """Return a listening socket.

    Args:
        host: An address of this machine.
        port: 0 for any free one.
        option: What sets the port, for the message.

    Raises:
        BadInput: The port is taken, or the host is no address of this machine.
    """
    return _bound(host, port, option, shared=False)


def listen_shared(host: str, port: int, option: str, count: int) -> list[socket.socket]:
    """Return several sockets that listen on one port, between which the kernel spreads new connections.

    Raises:
        BadInput: The port is taken, or the host is no address of this machine.
    """
    # alone first: with SO_REUSEPORT a second server of the same user would quietly take part of the callers
    with _bound(host, port, option, shared=False) as alone:
        port = alone.getsockname()[1]
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(_bound(host, port, option, shared=True)) for _ in range(count)]
        opened.pop_all()
    return listeners


def inherited(environment: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """Return the sockets that this process was started with, by the name `data` or `admin`.

    The variables are taken from the environment, so that no child process mistakes them for its own. Without
    LISTEN_FDNAMES the first is the data port, the second the admin port.

    Raises:
        ConfigError: A descriptor has another name, or is no listening TCP socket.
    """
    count = environment.pop("LISTEN_FDS", "0")
    names = [name for name in environment.pop("LISTEN_FDNAMES", "").split(":") if name]
    if environment.pop("LISTEN_PID", None) != str(os.getpid()) or not count.isdecimal():
        return {}
    descriptors = range(FIRST_INHERITED, FIRST_INHERITED + int(count))
    if not set(names) <= {DATA, ADMIN} or len(set(names)) != len(names):
        names = []  # systemd names sockets after their unit where the unit says nothing
    taken = dict(zip(names or (DATA, ADMIN), descriptors, strict=False))
    if len(descriptors) > len(taken):
        raise ConfigError(
            f"{len(descriptors)} sockets were passed in (LISTEN_FDS); pass at most two, named 'data' and 'admin'"
        )
    return {name: _adopted(name, descriptor) for name, descriptor in taken.items()}


def _adopted(name: str, descriptor: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=descriptor)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as broken:
        raise ConfigError(f"the inherited {name} socket, descriptor {descriptor}: {broken.strerror}") from broken
    if not listening or listener.family not in (socket.AF_INET, socket.AF_INET6):
        listener.close()
        raise ConfigError(f"the inherited {name} socket, descriptor {descriptor}, is no listening TCP socket")
    listener.set_inheritable(False)
    return listener


def _bound(host: str, port: int, option: str, *, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as broken:
        raise BadInput(
            f"cannot listen on {host!r}: {broken.strerror}; --host takes an address of this machine, 0.0.0.0 for all"
        ) from broken
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as broken:
        listener.close()
        if broken.errno == errno.EADDRINUSE:
            raise BadInput(
                f"port {port} on {host} is taken by another process: end that one, or give another {option}"
            ) from broken
        raise BadInput(
            f"cannot listen on {host}:{port}: {broken.strerror}; give another --host or {option}"
        ) from broken
    return listener
