"""A server under a service manager, with real processes and real signals: what it says, and in which order."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.server_process import PATIENT, World, serving, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_manager_hears_ready_reload_and_stop_in_this_order_and_a_reload_ends_nothing(
    tmp_path: Path, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "world")
    bundle = world.bundle()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with serving(world, "--workers", workers) as server:
            assert server.route(1, bundle).is_success
            assert manager.recv(100) == b"READY=1"
            server.process.send_signal(signal.SIGHUP)  # as `systemctl reload` does, of a server without a certificate
            assert manager.recv(100).startswith(b"RELOADING=1\n")
            assert manager.recv(100) == b"READY=1"
            assert server.ask().status_code == 200
            assert server.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"
            manager.setblocking(False)
            with pytest.raises(BlockingIOError):
                manager.recv(100)
            assert [line for line in server.lines if line["level"] != "info"] == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_end_at_once_says_so_and_leaves_no_traceback(tmp_path: Path, workers: str) -> None:
    world = World(tmp_path / "world")
    more = (*PATIENT, "--workers", workers)
    with serving(world, *more) as server, socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        until(lambda: server.metric("lockgate_in_flight") == 1)  # it is being read
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not server.accepts())  # this signal was heard: two that wait together are one
        assert server.stop() == 0
        assert server.lines[-1]["message"] == "stopped: at once, as asked"
        assert [line for line in server.lines if "exception" in line] == []
