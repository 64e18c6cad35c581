"""Tells the service manager that started this process how it is: sd_notify(3), as systemd and several others take it.

    READY=1 once both ports answer      WATCHDOG=1 as long as the event loop turns
    RELOADING=1, then READY=1 on SIGHUP      STOPPING=1 on SIGTERM

Without one (no NOTIFY_SOCKET in the environment) it says nothing to nobody.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

logger = logging.getLogger(__name__)


class ServiceManager:
    """Whoever started this process and wants to know."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take its address out of the environment, so that no child process speaks for this one."""
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        interval_us = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._serves = False
        self._interval_s = int(interval_us) / 1e6 if interval_us.isdecimal() and meant else 0.0

    def ready(self) -> None:
        """Say that requests are answered."""
        self._serves = True
        self._say("READY=1")

    def reload(self, do: Callable[[], None]) -> None:
        """Do what a reload is, and say when it begins and ends; before READY and after STOPPING nobody is told."""
        if self._serves:
            self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        do()
        if self._serves:
            self._say("READY=1")

    def stopping(self) -> None:
        """Say that it ends."""
        self._serves = False
        self._say("STOPPING=1")

    async def keep(self) -> None:
        """Say that the event loop turns, as often as it is wanted, until cancelled."""
        while self._interval_s:
            self._say("WATCHDOG=1")
            await asyncio.sleep(self._interval_s / 3)

    def _say(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_manager:
                to_manager.setblocking(False)
                to_manager.sendto(state.encode(), self._address)
        except OSError as broken:  # serving does not depend on who listens
            logger.warning("the service manager at NOTIFY_SOCKET does not take %s: %s", state, broken)
