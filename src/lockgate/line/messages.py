"""Messages that ask for a release, from the endpoint of `lockgate watch` to the policy and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus

from lockgate.adapters.webhook import Message, Reply, listening, read_trigger_token
from lockgate.bootstrap import Services
from lockgate.config import TriggerPort
from lockgate.core.ids import Json, to_json
from lockgate.line.learning import Answer, Told, on_message
from lockgate.line.model_line import Line

_STATUS = {
    Answer.STARTED: HTTPStatus.ACCEPTED,
    Answer.ALREADY: HTTPStatus.ACCEPTED,
    Answer.CONFLICT: HTTPStatus.CONFLICT,
    Answer.REFUSED: HTTPStatus.CONFLICT,
    Answer.LATER: HTTPStatus.TOO_MANY_REQUESTS,
}


@contextmanager
def messages(services: Services, asked: TriggerPort | None) -> Iterator[int | None]:
    """Take messages for the length of a block, if a port is set for them; yields it.

    Raises:
        ConfigError: The token is not there or not safe, or somebody else listens on the port.
    """
    if asked is None:
        yield None
        return
    token = read_trigger_token(asked.token_file)
    with listening(services.settings.host, asked.port, token, partial(answer, services)) as port:
        yield port


def answer(services: Services, message: Message) -> Reply:
    """Bring one message to its model's policy."""
    known = services.specs()
    if message.model not in known:
        why = f"there is no model {message.model[:50]!r}; models: {', '.join(known) or 'none'}"
        return Reply(status=HTTPStatus.NOT_FOUND, answer="refused", why=why)
    line = Line(services=services, spec=services.spec(message.model))
    return _reply(on_message(line, message.reason, key=message.key, body=message.body))


def _reply(told: Told) -> Reply:
    more: dict[str, Json] = {"run": told.run}
    if told.decision is not None:
        more["checks"] = to_json(told.decision.checks)
    return Reply(
        status=_STATUS[told.answer],
        answer=told.answer.value,
        why=told.why,
        next=told.next,
        retry_after_s=told.retry_after_s,
        more=more,
    )
