"""Messages over HTTP: who may send them, what is bounded, and what each answer says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from lockgate.adapters import webhook
from lockgate.adapters.webhook import Message, Reply, listening, read_trigger_token
from lockgate.config import load_settings, trigger_port
from lockgate.errors import ConfigError, TransientError
from lockgate.line import messages
from tests.unit.learning.test_asking import World

TOKEN = "t" * 32


class Asked:
    """Keeps every message; `trouble` is raised instead of an answer."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.trouble: Exception | None = None

    def __call__(self, message: Message) -> Reply:
        if self.trouble is not None:
            raise self.trouble
        self.messages.append(message)
        return Reply(status=HTTPStatus.ACCEPTED, answer="started", why="so it is", more={"run": "r1"})


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def client(asked: Asked) -> Iterator[httpx.Client]:
    with (
        listening("127.0.0.1", 0, TOKEN.encode(), asked) as port,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=60,
            trust_env=False,
        ) as http,
    ):
        yield http


def test_a_message_reaches_its_model_with_its_key(client: httpx.Client, asked: Asked) -> None:
    answer = client.post("/trigger/toy", json={"reason": "mended"}, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == HTTPStatus.ACCEPTED
    assert answer.json()["run"] == "r1"
    assert (asked.messages[0].model, asked.messages[0].reason, asked.messages[0].key) == ("toy", "mended", "k1")


def test_without_a_key_the_same_body_on_the_same_day_is_the_same_message(client: httpx.Client, asked: Asked) -> None:
    began = None
    while began != (today := datetime.now(UTC).date()):  # again where midnight came in between
        began = today
        asked.messages.clear()
        for reason in ("a", "a", "b"):
            client.post("/trigger/toy", json={"reason": reason})
    keys = [each.key for each in asked.messages]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_who_does_not_show_the_token_is_not_heard(client: httpx.Client, asked: Asked, header: str) -> None:
    answer = client.post("/trigger/toy", json={}, headers={"Authorization": header})
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer.json()["answer"] == "refused"
    assert asked.messages == []


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("/trigger/toy", b"{", {}, HTTPStatus.BAD_REQUEST),
        ("/trigger/toy", b"[1]", {}, HTTPStatus.BAD_REQUEST),
        ("/trigger/toy", b'{"reason": 1}', {}, HTTPStatus.BAD_REQUEST),
        ("/trigger/toy", b'{"model": "x"}', {}, HTTPStatus.BAD_REQUEST),
        ("/trigger/toy", b"[" * 10_000, {}, HTTPStatus.BAD_REQUEST),
        ("/trigger/toy", b"{}", {"Idempotency-Key": "k" * 201}, HTTPStatus.BAD_REQUEST),
        ("/trigger/toy", b" " * (webhook.MOST_BYTES + 1), {}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ("/elsewhere", b"{}", {}, HTTPStatus.NOT_FOUND),
        ("/trigger/toy/more", b"{}", {}, HTTPStatus.NOT_FOUND),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(
    client: httpx.Client, asked: Asked, *, path: str, content: bytes, headers: dict[str, str], status: HTTPStatus
) -> None:
    answer = client.post(path, content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["why"]
    assert asked.messages == []


def test_only_post_is_taken(client: httpx.Client) -> None:
    assert client.get("/trigger/toy").status_code == HTTPStatus.METHOD_NOT_ALLOWED


def test_a_body_without_a_length_is_refused(client: httpx.Client) -> None:
    assert client.post("/trigger/toy", content=iter([b"{}"])).status_code == HTTPStatus.LENGTH_REQUIRED


def test_more_messages_than_anybody_needs_are_told_to_wait(
    client: httpx.Client, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(webhook, "time", SimpleNamespace(monotonic=lambda: now[0]))
    answers = [client.post("/trigger/toy", json={}) for _ in range(webhook.MOST_A_MINUTE + 1)]
    assert answers[-1].status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert answers[-1].headers["Retry-After"] == "60"
    assert len(asked.messages) == webhook.MOST_A_MINUTE
    now[0] += 60.0
    assert client.post("/trigger/toy", json={}).status_code == HTTPStatus.ACCEPTED


def test_what_does_not_run_is_said_and_nothing_of_a_fault_is_shown(client: httpx.Client, asked: Asked) -> None:
    asked.trouble = TransientError("the orchestrator did not answer")
    answer = client.post("/trigger/toy", json={})
    assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "did not answer" in answer.json()["why"]
    asked.trouble = KeyError("a secret")
    answer = client.post("/trigger/toy", json={})
    assert answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "secret" not in answer.text


def test_a_port_that_somebody_has_is_told(asked: Asked) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen"), listening("127.0.0.1", port, b"t", asked):
            pass


def test_a_token_that_is_absent_empty_or_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(ConfigError, match="is not there"):
        read_trigger_token(path)
    path.touch(mode=0o600)
    with pytest.raises(ConfigError, match="is empty"):
        read_trigger_token(path)
    path.write_text(f"{TOKEN}\n")
    assert read_trigger_token(path) == TOKEN.encode()
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_trigger_token(path)


def test_no_port_no_messages(tmp_path: Path) -> None:
    given = {"LOCKGATE_PROJECT": str(tmp_path), "LOCKGATE_HOME": str(tmp_path)}
    settings = load_settings(given)
    assert trigger_port(settings, given) is None
    found = trigger_port(settings, {"LOCKGATE_TRIGGER_PORT": "8099"})
    assert found is not None
    assert found.token_file == tmp_path / "tokens" / "trigger.token"
    for wrong in ("http", "0", "70000", str(settings.ports["mlflow"])):
        with pytest.raises(ConfigError, match="LOCKGATE_TRIGGER_PORT"):
            trigger_port(settings, {"LOCKGATE_TRIGGER_PORT": wrong})


def test_the_policys_answer_is_the_status_of_the_message() -> None:
    world = World(cooldown_s=3600.0)
    services: Any = world.line.services
    services.specs, services.spec, services.ledger = lambda: ("toy",), lambda _: world.spec, world.ledger

    def send(key: str, model: str = "toy") -> Reply:
        body: Any = "b" * 64
        return messages.answer(services, Message(model=model, reason="mended", key=key, body=body))

    assert send("k0").status is HTTPStatus.CONFLICT, "nothing landed"
    world.take_in()
    assert send("k1").status is HTTPStatus.ACCEPTED
    assert send("k1").answer == "already started"
    world.end("run-1", world.release("run-1"))
    world.take_in("a" * 64)
    later = send("k2")
    assert later.status is HTTPStatus.TOO_MANY_REQUESTS
    assert later.retry_after_s is not None
    checks: Any = later.more["checks"]
    assert "cooldown" in {each["name"] for each in checks}
    assert send("k3", "moon").status is HTTPStatus.NOT_FOUND
    assert isinstance(services, SimpleNamespace)
