"""`lockgate simulate` as a process: it finds the champion, asks it, and ends with its summary when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.adapters.signer import ensure_keys
from lockgate.bootstrap import Services
from lockgate.config import load_settings
from lockgate.core.ledger import Event
from tests.server_process import ENDS_WITHIN_S, TOKEN, World, serving, until

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
SPEC: dict[str, Any] = {
    "model": {"name": "toy"},
    "task": {"kind": "binary", "classes": ["no", "yes"]},
    "data": {
        "suite": "toy",
        "label": "late",
        "time": "when",
        "key": ["id", "leg"],
        "numeric": ["amount", "age"],
        "categorical": ["colour", "shape"],
        "sample": "tests.sample_source:write_batch",
        "sample_batches": ["first", "second"],
    },
}


def test_a_simulation_that_is_told_to_end_ends_well_and_says_what_became_of_its_requests(tmp_path: Path) -> None:
    home, project = tmp_path / "home", tmp_path / "project"
    world = World(home)
    (project / "deployments").mkdir(parents=True)
    (project / "deployments" / "toy.yaml").write_text(yaml.safe_dump(SPEC))
    (home / "tokens").mkdir()
    (home / "tokens" / "admin.token").write_text(TOKEN)
    with serving(world) as server:
        champion = world.bundle()
        assert server.route(1, champion).status_code == 200
        env = {
            **os.environ,
            "LOCKGATE_HOME": str(home),
            "LOCKGATE_PROJECT": str(project),
            "LOCKGATE_PRODUCTION_PORT": str(server.port),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
        }
        _note_champion(env, champion)
        process = subprocess.Popen(
            [sys.executable, "-m", "lockgate.cli", "simulate", "toy", "--rate", "60", "--labels-after", "0", "--json"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            assert "about 3 rows of first" in process.stderr.readline()
            until(lambda: server.metric("lockgate_requests_total") > 40)
            process.send_signal(signal.SIGTERM)  # Ctrl-C goes the same way
            out, _ = process.communicate(timeout=ENDS_WITHIN_S)
        finally:
            process.kill()
    told = json.loads(out)
    assert process.returncode == 0
    assert told["schema"] == "lockgate.simulate/1"
    # what a machine that stood still for a second kept from being sent in time is counted, and is no loss of an answer
    assert told["answered"] == told["due"] - told["unsent"] > 20
    assert told["errors"] == 0
    assert told["arms"] == {"champion": told["answered"]}
    assert 0 < told["seconds"] < 200
    assert 0 < told["labels"] + told["labels_waiting"] < told["answered"]  # one row of three has none


def _note_champion(env: dict[str, str], champion: str) -> None:
    settings = load_settings(env)
    ensure_keys(settings)
    services = Services(settings)
    told = {"environment": "production", "sequence": 1, "from": None, "to": champion, "answers": 5}
    services.ledger.append(services.specs()[0], Event.TRAFFIC_VERIFIED, told)
    services.ledger.close()
