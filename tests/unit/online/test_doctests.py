"""The worked examples in the docstrings are what the code says, and a rollback imports nothing slow with them."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

from lockgate.core import online

MODULES = [f"{online.__name__}.{module.name}" for module in pkgutil.iter_modules(online.__path__)]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_hold(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_importing_what_decides_loads_no_scipy() -> None:
    program = f"import sys, {', '.join(MODULES)}; sys.exit(any(name.startswith('scipy') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
