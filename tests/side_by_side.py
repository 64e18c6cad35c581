"""Two processes for one run of the tests (`-p tests.side_by_side`): what waits for a whole stack beside what computes.

    pytest                 collects everything, runs modules from the front, shows every report, sums everything up
      └── pytest           first the modules marked `e2e`; then modules from the back, one by one, until none is left

One list of failures, one summary line, one exit code. The second process hands its reports on as lines of JSON. It goes
when the first goes, however that ends: the pipe between them closes, and that is an interrupt to it, so that its
fixtures take their stack down. A test that it did not finish fails the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from typing import IO, Any, Self

import psutil
import pytest

ENDED_WITHIN_S = 120.0  # ours: taking a stack down takes seconds, on a crowded machine tens of them
TAIL = 60
Module = tuple[str, ...]
"""The node ids of one file's tests, in their order."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the two pipes; given by the first process to the second alone."""
    parser.addoption("--second-of", metavar="READ,WRITE", help="the second process: its pipes to the first")


def pytest_configure(config: pytest.Config) -> None:
    """Take the one part or the other."""
    pipes = config.getoption("--second-of")
    config.pluginmanager.register(Second(config, *map(int, pipes.split(","))) if pipes else First(), "side-by-side")


def own_children() -> set[int]:
    """Return the living processes below this one, without the second process and what that has started."""
    found: set[int] = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if not any(each.startswith("--second-of=") for each in child.cmdline()):
                found |= {child.pid, *(each.pid for each in child.children(recursive=True))}
    return found


# -- the first process -------------------------------------------------------------------------------------------------


class First:
    """Runs its share, and shows what the second did between its own tests."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run all tests; returns None, and pytest does it, where there is nothing to run side by side."""
        alone, shared = by_module(session.items)
        if session.testsfailed or session.config.option.collectonly or not (alone and shared):
            return None
        pool = deque(shared)
        following = _items(session, pool)
        item = next(following, None)  # before the second may take what is left, however late this process is
        with Beside(session, alone, pool) as beside:
            while item is not None:
                upcoming = next(following, None)
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=upcoming)
                beside.show()
                item = upcoming
            beside.finish()
        return True


def by_module(items: list[pytest.Item]) -> tuple[list[Module], list[Module]]:
    """Return the modules that need a whole stack, and the others: the long ones first, so that both end together."""
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(str(item.path), []).append(item)
    alone = [group for group in modules.values() if _marked(group, "e2e")]
    alone.sort(key=lambda group: not all(_marked([item], "e2e") for item in group))  # the stack is taken down but once
    shared = [group for group in modules.values() if not _marked(group, "e2e")]
    shared.sort(key=lambda group: not _marked(group, "integration"))
    return [_ids(group) for group in alone], [_ids(group) for group in shared]


def _marked(group: list[pytest.Item], marker: str) -> bool:
    return any(item.get_closest_marker(marker) for item in group)


def _ids(group: list[pytest.Item]) -> Module:
    return tuple(item.nodeid for item in group)


def _items(session: pytest.Session, pool: deque[Module]) -> Iterator[pytest.Item]:
    named = {item.nodeid: item for item in session.items}
    with contextlib.suppress(IndexError):  # both processes take from the pool: empty is known by taking
        while True:
            yield from (named[each] for each in pool.popleft())


class Beside:
    """The second process, as the first sees it.

    Args:
        session: Of the first.
        alone: The modules that only the second runs.
        pool: The modules that both take from.
    """

    def __init__(self, session: pytest.Session, alone: list[Module], pool: deque[Module]) -> None:
        self._session = session
        self._alone, self._pool = deque(alone), pool
        self._owed: set[str] = set()
        self._told: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._over = False
        paths = sorted({str(item.path) for item in session.items})
        (theirs, self._orders), (self._reports, reports) = os.pipe(), os.pipe()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "-p", "tests.side_by_side", "-p", "no:cacheprovider"),
                *_kept(session.config),
                *(f"--second-of={theirs},{reports}", *paths),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs, reports),
            process_group=0,  # Ctrl-C reaches it once, by the pipe
        )
        os.close(theirs)
        os.close(reports)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until it has ended; what it still does when the block was left by an exception is interrupted."""
        with contextlib.suppress(OSError):
            os.close(self._orders)
        try:
            self._process.wait(timeout=ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._said.close()

    def show(self, *, wait: bool = False) -> None:
        """Hand what has been reported to pytest; `wait`: until its end."""
        with contextlib.suppress(queue.Empty):
            while not self._over:
                told = self._told.get(block=wait)
                self._over = told is None
                if told is not None:
                    self._hand_on(told)
                    self._stop_if_asked()
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)

    def finish(self) -> None:
        """Show everything until its end; what it owes then is a failure of the run."""
        self.show(wait=True)
        code = self._process.wait(timeout=ENDED_WITHIN_S)
        left = self._owed.union(*self._alone)
        if left:
            self._said.seek(0)
            tail = self._said.read().decode(errors="replace").splitlines()[-TAIL:]
            self._fail(left, "\n".join([f"the second process ended with {code} before this test did; it said:", *tail]))

    def _fail(self, left: set[str], why: str) -> None:
        hook = self._session.config.hook
        for item in self._session.items:
            if item.nodeid in left:
                report = pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")
                hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                hook.pytest_runtest_logreport(report=report)

    def _hand_on(self, told: dict[str, Any]) -> None:
        hook, config = self._session.config.hook, self._session.config
        report = hook.pytest_report_from_serializable(config=config, data=told)
        if report.when == "setup":
            hook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
        hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            self._owed.discard(report.nodeid)
            hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)

    def _listen(self) -> None:
        """Give it a module whenever it asks for one, and keep what it reports."""
        try:
            with os.fdopen(self._reports, encoding="utf-8") as lines:
                for line in lines:
                    told = json.loads(line)
                    if told == "more":
                        self._give()
                    else:
                        self._told.put(told)
        finally:
            self._told.put(None)

    def _give(self) -> None:
        try:
            module = self._alone.popleft() if self._alone else self._pool.pop()
        except IndexError:
            module = ()
        self._owed.update(module)
        with contextlib.suppress(OSError):  # it is gone, or the run is over: its end says so
            os.write(self._orders, json.dumps(module).encode() + b"\n")


def _kept(config: pytest.Config) -> list[str]:
    """Return the options that concern the second process too: those by which its tests get the same names."""
    kept = [f"--rootdir={config.rootpath}", *([f"--config-file={config.inipath}"] if config.inipath else [])]
    base = config.option.basetemp
    return [*kept, f"--basetemp={base}-second"] if base else kept


# -- the second process ------------------------------------------------------------------------------------------------


class Second:
    """Runs the modules it is given, and reports.

    Args:
        config: Of its run.
        orders: Descriptor: which modules come as lines of JSON. Closed too early, it is an interrupt.
        reports: Descriptor: what became of them.
    """

    def __init__(self, config: pytest.Config, orders: int, reports: int) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
        for each in (orders, reports):
            os.set_inheritable(each, False)
        self._config = config
        self._reports = os.fdopen(reports, "w", encoding="utf-8", buffering=1)
        self._modules: queue.SimpleQueue[Module] = queue.SimpleQueue()
        self._done = False
        threading.Thread(target=self._listen, args=(orders,), daemon=True).start()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run what it is given until it is given nothing."""
        named = {item.nodeid: item for item in session.items}
        self._tell("more")
        module = self._modules.get()
        while module:
            self._tell("more")  # known before this one's last test, whose teardown needs to know what comes next
            items, module = [named[each] for each in module], ()
            for number, item in enumerate(items, start=1):
                if number == len(items):
                    module = self._modules.get()
                upcoming = items[number] if number < len(items) else named[module[0]] if module else None
                if upcoming and _marked([item], "e2e") and not _marked([upcoming], "e2e"):
                    upcoming = None  # takes the stack down: what comes now has no use for it
                self._config.hook.pytest_runtest_protocol(item=item, nextitem=upcoming)
        self._done = True
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hand it on."""
        self._tell(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def _tell(self, what: Any) -> None:
        self._reports.write(json.dumps(what) + "\n")

    def _listen(self, orders: int) -> None:
        with os.fdopen(orders, encoding="utf-8") as lines:
            for line in lines:
                self._modules.put(tuple(json.loads(line)))
        if not self._done:
            os.kill(os.getpid(), signal.SIGINT)
