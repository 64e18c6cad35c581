"""The archive's run is killed at every call that changes the disk; the next run makes it as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.integration
@pytest.mark.soak
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next_one_with_every_row_once(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("archive_crashes.py")), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))},
        check=True,
        capture_output=True,
        timeout=200,
    )
    result = json.loads(told.stdout)
    rows, facts, labels, left, journal = result["expected"]
    assert rows["toy"] == [[f"toy-{number}", row, 0] for number in range(2) for row in range(2)]
    assert rows["toy.labels"] == [["toy-0", 0, 0], ["toy-1", 0, 0], ["toy-1", 0, 1]]
    assert (facts["requests"], facts["removed_rows"]) == (6, 4)
    assert labels == {"joined": 4, "corrected": 1, "duplicate": 0, "waiting": 1, "displaced": 1}
    assert (left, journal) == (["archive/waiting-labels.jsonl"], False)
    assert result["points"] > 80
    assert result["wrong"] == []
