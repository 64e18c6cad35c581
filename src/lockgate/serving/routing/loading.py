"""Loads bundles away from the event loop, within a time: one that hangs keeps nobody else from being served.

Those of one change are loaded side by side: however many of them hang, it is known within that one time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    """Loads the bundles of one process."""

    def __init__(self, open_model: OpenModel, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """Take what opens a bundle; one that has not loaded and proved itself in this time is refused."""
        self._open_model = open_model
        self._timeout_s = timeout_s
        self._hanging: dict[Digest, threading.Thread] = {}

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
        opening = {each: asyncio.ensure_future(self._open(model, each)) for each in digests if each not in warm}
        if opening:
            await asyncio.wait(opening.values())
        loaded: dict[Digest, ServedModel] = {}
        refused: dict[Digest, str] = {}
        try:
            for digest in digests:
                try:
                    loaded[digest] = warm[digest] if digest in warm else opening[digest].result()
                except (UnknownBundle, IntegrityError) as reason:
                    if digest in needed:
                        loaded.clear()  # the error's traceback holds this frame, in cycles with the thread's
                        raise
                    refused[digest] = reason.message
                    logger.error("model %s: bundle %s refused: %s", model, digest, reason.message)  # noqa: TRY400 - said
        finally:
            _forget(opening)
        return loaded, refused

    async def _open(self, model: str, digest: Digest) -> ServedModel:
        hanging = self._hanging.pop(digest, None)
        if hanging is not None and hanging.is_alive():
            self._hanging[digest] = hanging
            raise IntegrityError(
                f"bundle {digest} hung when it was loaded before, and still does; "
                "it can be tried again once that has ended, or after a restart of the server"
            )
        loop = asyncio.get_running_loop()
        done: asyncio.Future[ServedModel] = loop.create_future()
        work = partial(self._open_model, model, digest)
        # a daemon of its own: one that hangs keeps neither later work nor the end of the process
        thread = threading.Thread(target=_run, args=(work, loop, done), name="load", daemon=True)
        thread.start()
        try:
            await asyncio.wait((done,), timeout=self._timeout_s)
            if done.done():
                return done.result()
            self._hanging[digest] = thread
            raise IntegrityError(f"bundle {digest} did not load and prove itself within {self._timeout_s:g} s")
        finally:
            done.cancel()  # nothing, unless it is given up


def _forget(opening: dict[Digest, asyncio.Task[ServedModel]]) -> None:
    """Hold none of these any longer, and let nothing complain that nobody looked at an error."""
    for each in opening.values():
        if not each.cancelled():
            each.exception()
    opening.clear()


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
