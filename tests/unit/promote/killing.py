"""Ports that end the process around their n-th call, for tests of what is left behind and how it is taken up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


@dataclass
class Killer:
    """Counts the calls of every port it guards and ends the process around one of them.

    Attributes:
        at: The number of the call, from 0; None: never.
        after: Whether the call still takes effect.
    """

    at: int | None = None
    after: bool = False
    calls: int = 0
    names: list[str] = field(default_factory=list)

    def guard(self, port: Any) -> Any:
        return _Guarded(port, self)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            mine, self.calls = self.calls, self.calls + 1
            self.names.append(name)
            if mine == self.at and not self.after:
                raise Killed(name)
            result = call(*args, **kwargs)
            if mine == self.at:
                raise Killed(name)
            return result

        return guarded


class _Guarded:
    def __init__(self, port: Any, killer: Killer) -> None:
        self._port, self._killer = port, killer

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        return self._killer.around(name, value) if callable(value) else value
