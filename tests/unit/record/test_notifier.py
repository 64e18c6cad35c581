"""A real receiver on a socket; nothing is patched."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lockgate.adapters.notifier import AppriseNotifier
from tests.ports import free_port

SECRET = "t0ps3cr3t"


class _Receiver(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[dict[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Receiver)
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[_Receiver]:
    server = _Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _address(receiver: _Receiver) -> str:
    return f"json://127.0.0.1:{receiver.server_port}/hook/{SECRET}"


def _deaf() -> str:
    return f"json://user:{SECRET}@127.0.0.1:{free_port()}/hook"


def test_a_message_reaches_its_address(receiver: _Receiver) -> None:
    assert AppriseNotifier([_address(receiver)]).notify("flights-0001 waits", "Decide until Friday.") is True
    (got,) = receiver.got
    assert (got["title"], got["message"]) == ("flights-0001 waits", "Decide until Friday.")


def test_one_address_that_takes_it_is_enough(receiver: _Receiver) -> None:
    assert AppriseNotifier([_deaf(), _address(receiver), "nonsense://x"]).notify("a", "b") is True
    assert len(receiver.got) == 1


@pytest.mark.parametrize("addresses", [[], ["nonsense://x"], [""], ["not an address at all"]])
def test_without_an_address_that_takes_it_the_answer_is_false(addresses: list[str]) -> None:
    assert AppriseNotifier(addresses).notify("a", "b") is False


def test_an_address_that_does_not_answer_holds_nobody_up() -> None:
    def held_up_s(notifier: AppriseNotifier) -> float:
        began = time.monotonic()
        assert notifier.notify("a", "b") is False
        return time.monotonic() - began

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        notifier = AppriseNotifier([f"json://127.0.0.1:{silent.getsockname()[1]}/"], timeout_s=0.1)
        assert any(held_up_s(notifier) < 1 for _ in range(10))  # once is enough: a busy machine may add to it


def test_no_log_line_holds_an_address(receiver: _Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    notifier = AppriseNotifier([_address(receiver), _deaf(), f"nonsense://{SECRET}"])
    assert notifier.notify("a", "b") is True
    assert SECRET not in caplog.text
    assert SECRET not in repr(notifier)
    assert "2 of 3 addresses" in caplog.text
