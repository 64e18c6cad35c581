"""What holds for every test: properties are tried with the same examples each time, unless asked otherwise.

A gate must answer alike for the same commit. `make soak` draws new examples (`--hypothesis-profile=default`); what it
finds becomes an `@example`, or a test of its own.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate")
