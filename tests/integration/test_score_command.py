"""`lockgate score` as a script runs it: the real command, a real bundle and ledger, kills and full disks."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockgate.bootstrap import Services
from lockgate.config import Settings, load_settings
from lockgate.core.ids import ModelName, ReleaseId
from lockgate.core.ledger import Event
from tests.bundles import COLOURS, SHAPES, golden, make_bundle

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
MODEL = ModelName("flight-delays")  # a spec of this checkout; its bundle here is the tests' small one


@dataclass(frozen=True)
class Place:
    """A home with a champion on record."""

    root: Path
    champion: str

    @property
    def environ(self) -> dict[str, str]:
        own = {"LOCKGATE_PROJECT": str(PROJECT), "LOCKGATE_HOME": str(self.root / "home")}
        path = os.pathsep.join(filter(None, (str(PROJECT / "src"), os.environ.get("PYTHONPATH"))))
        return {**os.environ, **own, "PYTHONPATH": path, "COLUMNS": "200"}

    @property
    def settings(self) -> Settings:
        return load_settings(self.environ)

    @property
    def source(self) -> Path:
        return self.root / "in.parquet"

    @property
    def target(self) -> Path:
        return self.root / "out.parquet"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "lockgate.cli", "score", str(self.source), str(self.target), *arguments]

    def score(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environ, capture_output=True, text=True, timeout=120, check=False, **how
        )

    def beside(self) -> list[str]:
        """What lies beside the input."""
        return sorted(each.name for each in self.root.iterdir() if each.name not in ("home", "in.parquet"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    home = tmp_path / "home"
    champion = make_bundle(home / "bundles", model=MODEL, key_dir=home / "keys")
    made = Place(tmp_path, champion)
    ledger = Services(made.settings).ledger
    change = {"environment": "production", "from": None, "to": champion, "why": "a test"}
    release = ReleaseId(f"{MODEL}-0001")
    intended = ledger.append(MODEL, Event.TRAFFIC_INTENDED, change, release=release)
    ledger.append(MODEL, Event.TRAFFIC_VERIFIED, {**change, "sequence": intended.seq, "answers": 5}, release=release)
    ledger.close()
    return made


def rows(count: int = 1000) -> pa.Table:
    rng = np.random.default_rng(5)
    return pa.table(
        {
            "key": pa.array(np.arange(count)),
            "amount": pa.array(rng.uniform(0, 101, count)),
            "colour": pa.array(np.array([*COLOURS, None], object)[rng.integers(0, 4, count)]),
            "age": pa.array(rng.integers(0, 120, count)),
            "shape": pa.array(np.array([*SHAPES], object)[rng.integers(0, 2, count)]),
        }
    )


def result_of(done: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    assert done.stdout.count("\n") == 1, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def test_production_s_champion_scores_a_file(place: Place) -> None:
    table = rows()
    pq.write_table(table, place.source)
    done = place.score("--model", MODEL, "--keep", "key", "--flags", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = result_of(done)
    assert (told["schema"], told["model"], told["bundle"]) == ("lockgate.score/1", MODEL, place.champion)
    assert told["rows"] == 1000
    out = pq.read_table(place.target)
    assert out.column_names == ["key", "probability", "label", "flags"]
    assert out.column("key").equals(table.column("key"))
    expected = [golden(row)[0] for row in table.to_pylist()]
    np.testing.assert_allclose(out.column("probability").to_numpy(), expected, atol=1e-5)
    over = sum(amount > 100 for amount in table.column("amount").to_pylist())
    assert told["flagged"] == {"out_of_range": {"amount": over}}
    assert place.beside() == ["out.parquet"]


def test_a_person_is_told_in_words_and_a_bundle_may_be_named_by_its_beginning(place: Place) -> None:
    other = make_bundle(place.settings.bundles, model=MODEL, key_dir=place.settings.home / "keys", bias=2.0)
    pq.write_table(rows(), place.source)
    done = place.score("--bundle", other[:12], "--limit", "10")
    assert done.returncode == 0, done.stderr
    assert "scored 10 rows in" in done.stdout
    assert f"by bundle {other[:12]} of {MODEL}" in done.stdout
    expected = [golden(row, bias=2.0)[0] for row in rows().slice(0, 10).to_pylist()]
    np.testing.assert_allclose(pq.read_table(place.target).column("probability").to_numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--model", "nonsense"), 2, "there is no spec of a model 'nonsense'"),
        (("--model", "flight-airtime"), 7, "production serves nothing for flight-airtime yet"),
        (("--bundle", "0123456789"), 2, "there is no one bundle '0123456789'"),
        (("--bundle", "abc"), 2, "at least its first 8 characters"),
        (("--model", MODEL, "--keep", "nonsense"), 2, "no column 'nonsense' to keep"),
    ],
)
def test_what_cannot_be_done_ends_with_its_code_and_a_sentence(
    place: Place, arguments: tuple[str, ...], code: int, said: str
) -> None:
    pq.write_table(rows(), place.source)
    done = place.score(*arguments, "--json")
    assert done.returncode == code, done.stderr
    assert said in result_of(done)["message"]
    assert place.beside() == []


def test_a_bundle_that_was_changed_scores_nothing(place: Place) -> None:
    pq.write_table(rows(), place.source)
    graph = place.settings.bundles / place.champion / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b" ")
    done = place.score("--model", MODEL)
    assert done.returncode == 1
    assert "part model.onnx: sha256 is" in done.stderr
    assert "Traceback" not in done.stderr
    assert place.beside() == []


def test_a_bundle_of_another_model_is_refused(place: Place) -> None:
    other = make_bundle(place.settings.bundles, model="other", key_dir=place.settings.home / "keys")
    pq.write_table(rows(), place.source)
    done = place.score("--model", MODEL, "--bundle", other)
    assert done.returncode == 2
    assert "is one of model 'other'" in done.stderr


def test_a_full_disk_leaves_nothing_behind_and_says_what_to_do(place: Place) -> None:
    pq.write_table(rows(400_000), place.source)

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = place.score("--model", MODEL, "--keep", "key", preexec_fn=little_room)
    assert done.returncode == 1
    assert "no room for out.parquet" in done.stderr
    assert "Free space there" in done.stderr
    assert place.beside() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_in_the_middle_leaves_no_half_file_and_the_next_one_is_whole(
    place: Place, number: signal.Signals
) -> None:
    pq.write_table(pa.concat_tables([rows(200_000)] * 30), place.source)
    running = subprocess.Popen(
        place.command("--model", MODEL, "--keep", "key", "--workers", "1"),
        env=place.environ,
        stderr=subprocess.DEVNULL,
        # a shell that runs the tests in its background has them, and what they start, ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread matters to it
    )
    try:
        end = time.monotonic() + 60
        while not any(each.stat().st_size > 1000 for each in place.root.glob(".out.parquet.*.partial")):
            assert running.poll() is None, "it was done before it could be ended"
            assert time.monotonic() < end
            time.sleep(0.01)  # the file system is asked; there is no event of another process to await
        running.send_signal(number)
        assert running.wait(timeout=60) != 0
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    assert not place.target.exists()
    done = place.score("--model", MODEL, "--limit", "5000", "--json")
    assert done.returncode == 0, done.stderr
    assert place.beside() == ["out.parquet"]
    assert pq.read_metadata(place.target).num_rows == 5000


def test_no_server_and_no_signing_key_is_needed(place: Place) -> None:
    pq.write_table(rows(), place.source)
    (place.settings.home / "keys" / "signing.key").unlink()
    shutil.rmtree(place.settings.home / "tokens", ignore_errors=True)
    assert place.score("--model", MODEL).returncode == 0
