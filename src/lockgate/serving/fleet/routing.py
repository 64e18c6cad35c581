"""Changes what all workers serve, as one: every worker agrees before any of them changes.

    put:   prepare on every worker ──> all agree, on the same ──> save once ──> publish on every worker ──> account
    lease: one end for all
    join:  a worker that was started again is brought to what the others serve, see `joining`

Several changes may be prepared at a time; what another one has overtaken, or a worker has joined meanwhile, is prepared
again, or refused where its sequence is behind by then.

A worker that ends meanwhile neither agrees nor stands in the way: it comes back with what was saved. One that agreed
and does not publish is killed, so that it comes back with it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from lockgate.errors import LedgerConflict, LockgateError
from lockgate.serving.fleet import messages
from lockgate.serving.fleet.accounts import Account, decoded, merged, one_account
from lockgate.serving.fleet.joining import check_even
from lockgate.serving.fleet.member import WorkerGone
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.routing.control import Keeper
from lockgate.serving.routing.desired import Desired, check_lease
from lockgate.serving.routing.loading import LOAD_TIMEOUT_S
from lockgate.serving.routing.state import decode_desired, encode_desired

logger = logging.getLogger(__name__)

PREPARE_S: Final = LOAD_TIMEOUT_S + 10.0  # a worker refuses a bundle that takes longer; one that says nothing hangs
ANSWER_S: Final = 5.0  # anything that loads nothing


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


class _Change(NamedTuple):
    """What all workers have prepared.

    Attributes:
        number: Names it.
        agreed: Those that have it.
        changes: Whether it differs from what is served.
        desired: What is to be kept.
    """

    number: int
    agreed: list[Asked]
    changes: bool
    desired: Desired


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
        self._numbers = itertools.count(1)
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
        while True:
            before, members = self._desired.get(model), self._running()
            change = await self._prepare(model, desired, members)
            async with self._changing:
                if self._desired.get(model) is before and not set(self._members()) - set(members):
                    return await self._put_in_place(model, change)
            await self._discard(change.agreed, change.number)

    async def _put_in_place(self, model: str, change: _Change) -> Account:
        """Keep what all have prepared, and have all serve it."""
        desired = change.desired
        if change.changes:
            try:
                await asyncio.to_thread(self._keeper.save, {**self._desired, model: desired})
            except OSError:
                await self._discard(change.agreed, change.number)
                raise
        self._desired[model] = desired
        until = self._lease_until[model] = self._clock() + desired.lease_s
        answers = await _all(change.agreed, messages.Publish(change=change.number, until=until), ANSWER_S)
        for member, answer in answers.items():
            if isinstance(answer, Exception):
                member.kill(f"sequence {desired.sequence} of {model!r} was prepared and not published: {answer}")
        return one_account(model, {member.number: answer for member, answer in answers.items()})

    async def _prepare(self, model: str, desired: Desired, members: Sequence[Asked]) -> _Change:
        """Let workers prepare a routing, and return what is to be kept of it: the same from all."""
        number = next(self._numbers)
        asked = messages.Prepare(change=number, model=model, desired=encode_desired(desired))
        answers = await _all(members, asked, PREPARE_S)
        for member, answer in answers.items():
            if isinstance(answer, WorkerGone):
                member.kill(answer.message)  # where it only did not answer
        agreed = [each for each in members if not isinstance(answers[each], Exception)]
        try:
            prepared = _agreed(model, answers)
        except LockgateError:
            await self._discard(agreed, number)
            raise
        return _Change(number, agreed, prepared.changes, decode_desired(prepared.desired))

    async def _discard(self, members: Sequence[Asked], change: int) -> None:
        await _all(members, messages.Discard(change=change), ANSWER_S)

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
        return one_account(model, {member.number: answer for member, answer in answers.items()})

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
        read = {member: decoded(each) for member, each in answers.items() if not isinstance(each, Exception)}
        if not read:
            raise _no_worker()
        return {
            model: merged({member.number: accounts[model] for member, accounts in read.items() if model in accounts})
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
            others = await _all(self._members(), messages.Read(), ANSWER_S)
            accounts = {each: decoded(told) for each, told in others.items() if not isinstance(told, Exception)}
            for model, desired in self._desired.items():
                served = {each: told[model] for each, told in accounts.items() if model in told}
                behind = check_even(model, desired.needed, begun.lacks.get(model, {}), served)
                if begun.sequences.get(model) != desired.sequence:
                    behind.append(member)
                for each in behind:
                    await self._bring(each, model, desired)
            member.joined = True  # before the leases: one that is renewed from here on reaches it, too
            for model, desired in self._desired.items():
                until = self._lease_until.get(model, 0.0)
                await member.ask(messages.Lease(model=model, sequence=desired.sequence, until=until), ANSWER_S)

    async def _bring(self, member: Asked, model: str, desired: Desired) -> None:
        """Bring one worker to what all serve, or should; its lease is theirs."""
        number = next(self._numbers)
        prepare = messages.Prepare(change=number, model=model, desired=encode_desired(desired))
        await member.ask(prepare, PREPARE_S)
        until = self._lease_until.get(model, 0.0)
        await member.ask(messages.Publish(change=number, until=until), ANSWER_S)

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


def _no_worker() -> LockgateError:
    return refuse(Reason.NOT_LOADED, "no worker runs right now; they are being started again, try again")
