"""What a service manager is told, and when it is told nothing."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from lockgate.serving.fleet.service_manager import ServiceManager


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's address has room for 107 characters, and a folder may have more


class Listener:
    """Takes what is said, at an address in the folder of the test."""

    def __init__(self) -> None:
        self.address = "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.setblocking(False)

    def said(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(200).decode())
            except BlockingIOError:
                return found


def test_a_reload_is_told_from_its_beginning_to_its_end_and_only_while_the_server_serves() -> None:
    listener, during = Listener(), list[list[str]]()
    manager = ServiceManager({"NOTIFY_SOCKET": listener.address})
    with listener.socket:
        manager.reload(lambda: during.append([]))  # SIGHUP before anything is loaded must not pass for ready
        assert listener.said() == []
        manager.ready()
        listener.said()
        before_us = time.monotonic_ns() // 1000
        manager.reload(lambda: during.append(listener.said()))
        (begun,), ended = during[-1], listener.said()
        assert begun.startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert before_us <= int(begun.rpartition("=")[2]) <= time.monotonic_ns() // 1000
        assert ended == ["READY=1"]
        manager.stopping()
        listener.said()
        manager.reload(lambda: during.append([]))
        assert listener.said() == []
        assert len(during) == 3


def test_nobody_says_that_a_hanging_loop_turns() -> None:
    listener = Listener()
    manager = ServiceManager({"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "30000"})

    async def hang() -> tuple[list[str], list[str]]:
        keeping = asyncio.ensure_future(manager.keep())
        await asyncio.sleep(0.03)
        turning = listener.said()
        time.sleep(0.1)  # noqa: ASYNC251 - what must be seen
        hanging = listener.said()
        keeping.cancel()
        return turning, hanging

    with listener.socket:
        turning, hanging = asyncio.run(hang())
    assert set(turning) == {"WATCHDOG=1"}
    assert hanging == []
