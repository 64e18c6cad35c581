"""A webhook on a real socket that can be away, slow or broken, and a program that delivers and is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lockgate.adapters.notifier import AppriseChannel
from lockgate.adapters.outbox import FileOutbox
from lockgate.core.alerting.messages import Message
from lockgate.core.ids import ModelName


@dataclass
class Receiver:
    """A webhook.

    Attributes:
        answer: The status it answers with.
        got: Every message that came, as JSON, with the idempotency key of its header; those it refused too.
    """

    answer: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._server: ThreadingHTTPServer | None = None
        self._answers = threading.Event()
        self._answers.set()
        self.up()

    def up(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.got.append({**body, "header": self.headers["Idempotency-Key"], "answer": receiver.answer})
                receiver._answers.wait()
                self.send_response(receiver.answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def hold(self) -> None:
        """Take messages and answer none."""
        self._answers.clear()

    def release(self) -> None:
        """Answer at once again, those that wait as well."""
        self._answers.set()

    def heard(self, n: int, *, within_s: float = 60.0) -> list[str]:
        """The keys of the messages that came, as soon as there are so many: a held one may be read late."""
        end = time.monotonic() + within_s
        while len(self.got) < n and time.monotonic() < end:
            time.sleep(0.01)
        return [str(each["header"]) for each in self.got]

    def down(self) -> None:
        self.release()
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    @property
    def taken(self) -> list[str]:
        """The ids it said yes to, in order."""
        return [str(each["idempotency_key"]) for each in self.got if each["answer"] == 200]

    def address(self, more: str = "") -> str:
        return f"json://127.0.0.1:{self.port}/hook{more}"


class Wall:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def message(number: int = 1, key: str = "toy:loss") -> Message:
    at = datetime(2013, 3, 1, 12, 0, number, tzinfo=UTC)
    return Message(id=f"{key}#{number}", model=ModelName("toy"), title=f"alert {number}", body="it is bad", at=at)


class Deadly(AppriseChannel):
    """Its process is killed as soon as the address took the message, before anybody can write that down."""

    def send(self, message: Message) -> bool:
        super().send(message)
        os.kill(os.getpid(), signal.SIGKILL)
        return True


if __name__ == "__main__":
    FileOutbox(Path(sys.argv[1]), [sys.argv[2]], Wall(), channel=Deadly).deliver()
