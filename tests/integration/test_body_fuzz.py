"""Whatever a body holds, the answer is one or a refusal in the protocol's shape: no failure, no growth, no end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GROWTH_MB = (
    40  # ours: what allocators keep back, with room; a leak of one kilobyte a case would be 30 MB in the long run
)

pytestmark = pytest.mark.integration


def fuzz(seed: int, cases: int) -> None:
    """Send so many broken bodies; see `body_fuzz.py`."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.body_fuzz", str(seed), str(cases)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=3000, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["failed"] == []
    assert said["grown_mb"] < GROWTH_MB
    assert sum(said["outcomes"].values()) == cases
    assert said["outcomes"]["200"] > cases // 100  # some changes are harmless: the bodies were near enough to good ones
    assert said["outcomes"]["400"] > cases // 4


def test_two_thousand_broken_bodies() -> None:
    fuzz(seed=1, cases=2000)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [11, 12])
def test_thirty_thousand_broken_bodies(seed: int) -> None:
    fuzz(seed, cases=30_000)
