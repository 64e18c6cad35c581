"""Changes what all workers serve, as one: every worker agrees before any of them changes.

    put:   prepare on every worker ──> all agree, on the same ──> save once ──> publish on every worker ──> account
    lease: one end for all
    join:  a worker that was started again is brought to what the others serve, under the same lock

A worker that ends meanwhile neither agrees nor stands in the way: it comes back with what was saved. One that agreed
and does not publish is killed, so that it comes back with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from lockgate.core.ids import Json
from lockgate.errors import LedgerConflict, LockgateError
from lockgate.serving.fleet import messages
from lockgate.serving.fleet.member import WorkerGone
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.routing.control import Keeper
from lockgate.serving.routing.desired import Desired, check_lease
from lockgate.serving.routing.loading import LOAD_TIMEOUT_S
from lockgate.serving.routing.state import decode_desired, encode_desired

logger = logging.getLogger(__name__)

PREPARE_S: Final = LOAD_TIMEOUT_S + 10.0  # a worker refuses a bundle that takes longer; one that says nothing hangs
ANSWER_S: Final = 5.0  # anything that loads nothing
_OWN: Final[tuple[str, ...]] = (
    "sequence",
    "champion",
    "loaded",
    "refused",
    "lease_left_s",
    "since",
    "weights",
    "shares",
)
"""Of a worker's account: what it really does; the rest is what all were asked for."""

Account: TypeAlias = dict[str, Json]


class Asked(Protocol):
    """A worker, as far as routing goes; `Member` is one."""

    @property
    def number(self) -> int:
        """Which worker it is."""
        ...

    async def ask(self, message: messages.Message, timeout_s: float) -> msgspec.Raw:
        """Return the answer to a request; raises `WorkerGone` where there is none."""
        ...

    def kill(self, why: str) -> None:
        """End it at once."""
        ...


class Joining(Asked, Protocol):
    """A worker that may join."""

    joined: bool


class FleetRouting:
    """The routing of all workers."""

    def __init__(
        self,
        keeper: Keeper,
        members: Callable[[], Sequence[Asked]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what was saved last.

        Args:
            keeper: Keeps what is put.
            members: Returns the workers that answer callers.
            clock: What leases are measured with; the workers' own.

        Raises:
            IntegrityError: The state on disk cannot be read.
            ConfigError: It belongs to another environment.
        """
        self._keeper, self._members, self._clock = keeper, members, clock
        self._changing = asyncio.Lock()
        self._lease_until: dict[str, float] = {}
        self._desired: dict[str, Desired] = keeper.load()

    @property
    def desired(self) -> Mapping[str, Desired]:
        """What every worker serves, by model."""
        return self._desired

    async def put(self, model: str, desired: Desired) -> Account:
        """Put a routing in place on every worker and return what they really serve.

        Raises:
            RequestRefused: The routing breaks a rule, or no worker runs.
            LedgerConflict: A higher sequence was accepted before, or this one with other content.
            UnknownBundle: There is no such bundle in the store.
            IntegrityError: A worker refuses a bundle; says why.
            OSError: The routing could not be kept on disk. In every case what was served before still is.
        """
        async with self._changing:
            agreed, prepared = await self._prepare(model, desired)
            settled = decode_desired(prepared.desired)
            if prepared.changes:
                try:
                    await asyncio.to_thread(self._keeper.save, {**self._desired, model: settled})
                except OSError:
                    await _all(agreed, messages.Discard(), ANSWER_S)
                    raise
            self._desired[model] = settled
            self._lease_until[model] = self._clock() + settled.lease_s
            answers = await _all(agreed, messages.Publish(), ANSWER_S)
            for member, answer in answers.items():
                if isinstance(answer, Exception):
                    member.kill(f"sequence {settled.sequence} of {model!r} was prepared and not published: {answer}")
            return _one_account(model, answers)

    async def _prepare(self, model: str, desired: Desired) -> tuple[list[Asked], messages.Prepared]:
        """Return the workers that have prepared a routing, and what is to be kept of it: the same from all."""
        members = self._running()
        asked = messages.Prepare(model=model, desired=encode_desired(desired))
        answers = await _all(members, asked, PREPARE_S)
        for member, answer in answers.items():
            if isinstance(answer, WorkerGone):
                member.kill(answer.message)  # where it only did not answer
        agreed = [each for each in members if not isinstance(answers[each], Exception)]
        try:
            return agreed, _agreed(model, answers)
        except LockgateError:
            await _all(agreed, messages.Discard(), ANSWER_S)
            raise

    async def renew(self, model: str, sequence: int) -> Account:
        """Renew the lease of a model's challengers and shadows on every worker, to one end.

        Raises:
            RequestRefused: There is no such model, or no worker runs.
            LedgerConflict: Another sequence is served.
        """
        desired = self._find(model)
        check_lease(model, sequence, desired.sequence)
        until = self._clock() + desired.lease_s
        lease = messages.Lease(model=model, sequence=sequence, until=until)
        answers = await _all(self._running(), lease, ANSWER_S)
        refused = next((each for each in answers.values() if isinstance(each, LedgerConflict)), None)
        if refused is not None:
            raise refused  # a change came in between
        if self._desired[model] is desired:
            self._lease_until[model] = until
        return _one_account(model, answers)

    async def read(self, model: str) -> Account:
        """Return what every worker serves of a model.

        Raises:
            RequestRefused: There is no such model, or no worker runs.
        """
        self._find(model)
        return (await self.read_all())[model]

    async def read_all(self) -> dict[str, Account]:
        """Return what every worker serves, by model.

        Raises:
            RequestRefused: No worker runs.
        """
        answers = await _all(self._running(), messages.Read(), ANSWER_S)
        read = {member: _decoded(each) for member, each in answers.items() if not isinstance(each, Exception)}
        if not read:
            raise _no_worker()
        return {
            model: _merged({member.number: accounts[model] for member, accounts in read.items() if model in accounts})
            for model in sorted(self._desired)
            if any(model in accounts for accounts in read.values())
        }

    async def join(self, member: Joining, begun: messages.Begun) -> None:
        """Bring a worker that has just begun to what all serve, and let it join before anything else changes.

        Args:
            member: The worker; marked as joined once it serves the same as the others.
            begun: What it serves already.

        Raises:
            LockgateError: It cannot serve it.
        """
        async with self._changing:
            for model, desired in self._desired.items():
                if begun.sequences.get(model) != desired.sequence:
                    await member.ask(messages.Prepare(model=model, desired=encode_desired(desired)), PREPARE_S)
                    await member.ask(messages.Publish(), ANSWER_S)
            member.joined = True  # before the leases: one that is renewed from here on reaches it, too
            for model, desired in self._desired.items():
                until = self._lease_until.get(model, 0.0)
                await member.ask(messages.Lease(model=model, sequence=desired.sequence, until=until), ANSWER_S)

    def _find(self, model: str) -> Desired:
        desired = self._desired.get(model)
        if desired is None:
            known = ", ".join(sorted(self._desired)) or "none yet"
            raise refuse(Reason.UNKNOWN_MODEL, f"no model {model!r} is routed here; there are: {known}")
        return desired

    def _running(self) -> Sequence[Asked]:
        members = self._members()
        if not members:
            raise _no_worker()
        return members


async def _all(members: Sequence[Asked], message: messages.Message, timeout_s: float) -> dict[Asked, Any]:
    """Ask every member the same; return each one's answer, or the error instead of it."""
    answers = await asyncio.gather(*(each.ask(message, timeout_s) for each in members), return_exceptions=True)
    return dict(zip(members, answers, strict=True))


def _agreed(model: str, answers: Mapping[Asked, Any]) -> messages.Prepared:
    """Return what all workers prepared.

    Raises:
        LockgateError: One refuses it, they prepared different things, or none answered.
    """
    for answer in answers.values():
        if isinstance(answer, Exception) and not isinstance(answer, WorkerGone):
            raise answer
    prepared = [
        msgspec.json.decode(each, type=messages.Prepared)
        for each in answers.values()
        if not isinstance(each, Exception)
    ]
    if not prepared:
        raise _no_worker()
    if len({bytes(each.desired) for each in prepared}) > 1:
        raise LockgateError(f"the workers prepared different routings for model {model!r}; nothing was changed")
    return next((each for each in prepared if each.changes), prepared[0])


def _one_account(model: str, answers: Mapping[Asked, Any]) -> Account:
    accounts = {member.number: _decoded(each) for member, each in answers.items() if not isinstance(each, Exception)}
    if not accounts:
        raise refuse(
            Reason.NOT_LOADED, f"every worker ended meanwhile; read what is served of model {model!r}, and try again"
        )
    return _merged(accounts)


def _merged(accounts: Mapping[int, Account]) -> Account:
    """Return one account for all workers, with what each of them really serves."""
    first = next(iter(accounts.values()))
    served = {str(number): {field: each[field] for field in _OWN if field in each} for number, each in accounts.items()}
    return {**first, "workers": served}


def _decoded(answer: msgspec.Raw) -> Any:  # noqa: ANN401 - an account is JSON
    return msgspec.json.decode(answer)


def _no_worker() -> LockgateError:
    return refuse(Reason.NOT_LOADED, "no worker runs right now; they are being started again, try again")
