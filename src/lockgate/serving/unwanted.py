"""Keeps pandas out of the server: pyarrow loads it, where it is installed, for its first look at numbers."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder


class WithoutPandas(MetaPathFinder):
    """Hides pandas from pyarrow, which needs nothing of it for what a server asks: 0.5 s and 40 MB a process."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Find everything but pandas elsewhere.

        Raises:
            ModuleNotFoundError: It is pandas.
        """
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not wanted here", name=fullname)


def hide_pandas() -> None:
    """Do so for the rest of this process's life."""
    sys.meta_path.insert(0, WithoutPandas())
