"""Keeps modules out of the server that libraries load where they are installed, and that it needs nothing of."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder


class Hidden(MetaPathFinder):
    """Hides modules from whoever would import them."""

    def __init__(self, *names: str) -> None:
        """Take the names of what is to be hidden."""
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Find everything else elsewhere.

        Raises:
            ModuleNotFoundError: It is hidden.
        """
        del path, target
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is not wanted here", name=fullname)


def hide_pandas() -> None:
    """Hide it for the rest of this process's life: pyarrow loads it for its first look at numbers, 0.5 s and 40 MB."""
    sys.meta_path.insert(0, Hidden("pandas"))


@contextlib.contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Hide modules for the length of a block."""
    finder = Hidden(*names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
