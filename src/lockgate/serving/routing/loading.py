"""Loads bundles away from the event loop, within a time: one that hangs keeps nobody else from being served."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lockgate.core.ids import Digest
from lockgate.errors import IntegrityError
from lockgate.serving.model.bundle import UnknownBundle
from lockgate.serving.model.dataplane import ServedModel

logger = logging.getLogger(__name__)

LOAD_TIMEOUT_S: Final = 45.0  # ours: a bundle loads in under a second; controllers wait a minute for the answer

OpenModel = Callable[[str, Digest], ServedModel]
"""Loads the bundle of a model, warm and proved; raises `UnknownBundle` or `IntegrityError`."""


class Loader:
    """Loads the bundles of one process, one after the other."""

    def __init__(self, open_model: OpenModel, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """Take what opens a bundle; one that has not loaded and proved itself in this time is refused."""
        self._open_model = open_model
        self._timeout_s = timeout_s
        self._stuck: set[Digest] = set()

    async def load(
        self, model: str, digests: Sequence[Digest], warm: Mapping[Digest, ServedModel], needed: Sequence[Digest]
    ) -> tuple[dict[Digest, ServedModel], dict[Digest, str]]:
        """Return the bundles that could be loaded, and why the others could not, both by digest.

        Args:
            model: The model they are to be of.
            digests: The bundles.
            warm: Those in memory already.
            needed: Those without which all is refused.

        Raises:
            UnknownBundle: The store has no folder of a needed digest.
            IntegrityError: A needed bundle is refused; says why.
        """
        loaded: dict[Digest, ServedModel] = {}
        refused: dict[Digest, str] = {}
        for digest in digests:
            try:
                loaded[digest] = warm.get(digest) or await self._open(model, digest)
            except (UnknownBundle, IntegrityError) as reason:
                if digest in needed:
                    loaded.clear()  # the error's traceback holds this frame, in cycles with the thread's
                    raise
                refused[digest] = reason.message
                logger.error("model %s: bundle %s refused: %s", model, digest, reason.message)  # noqa: TRY400 - said
        return loaded, refused

    async def _open(self, model: str, digest: Digest) -> ServedModel:
        if digest in self._stuck:
            raise IntegrityError(f"bundle {digest} hung when it was loaded before; restart the server to try it again")
        try:
            return await _in_thread(lambda: self._open_model(model, digest), self._timeout_s)
        except TimeoutError as late:
            self._stuck.add(digest)
            raise IntegrityError(
                f"bundle {digest} did not load and prove itself within {self._timeout_s:g} s"
            ) from late


async def _in_thread(work: Callable[[], ServedModel], timeout_s: float) -> ServedModel:
    """Run in a daemon thread of its own: one that hangs keeps neither later work nor the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[ServedModel] = loop.create_future()
    threading.Thread(target=_run, args=(work, loop, done), name="load", daemon=True).start()
    try:
        await asyncio.wait((done,), timeout=timeout_s)
        if not done.done():
            raise TimeoutError
        return done.result()
    finally:
        done.cancel()  # nothing, unless it is given up


def _run(work: Callable[[], ServedModel], loop: asyncio.AbstractEventLoop, done: asyncio.Future[ServedModel]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
        loop.call_soon_threadsafe(_settle, done, *_outcome(work))  # in no variable: the thread keeps nothing alive


def _outcome(work: Callable[[], ServedModel]) -> tuple[ServedModel | None, BaseException | None]:
    try:
        return work(), None
    except BaseException as broken:  # noqa: BLE001 - raised again where it is awaited
        return None, broken


def _settle(done: asyncio.Future[ServedModel], made: ServedModel | None, error: BaseException | None) -> None:
    if done.done():
        return  # given up
    if made is not None:
        done.set_result(made)
    elif error is not None:
        done.set_exception(error)
