"""What holds for every test: properties are tried with the same examples each time, unless asked otherwise.

A machine that stalls fails no test: neither a property nor a model of the test's own process is asked to be fast.

A gate must answer alike for the same commit. `make soak` draws new examples (`--hypothesis-profile=default`); what it
finds becomes an `@example`, or a test of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# neither how long an example takes nor how long drawing it takes is what a property is about
settings.register_profile("gate", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gate")


@pytest.fixture(scope="session", autouse=True)
def _runs_may_take_their_time() -> Iterator[None]:
    """Give models that no server loaded a minute for a run: what ends them in time has tests with limits of its own."""
    from lockgate.serving.model import fence

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fence.DEFAULT, "limit_s", 60.0)
        yield
