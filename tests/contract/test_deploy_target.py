"""What every deploy target promises, held against the fake and against a real server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lockgate.adapters.sandbox import Sandboxes
from lockgate.adapters.server_target import ServerTarget
from lockgate.config import Settings, load_settings
from lockgate.core.ids import Digest, ModelName
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, LockgateError, NotRunning, TransientError
from lockgate.ports import DeployTarget
from tests.bundles import make_bundle, make_keys
from tests.fakes import FakeDeployTarget

MODEL = ModelName("toy")


@dataclass
class Case:
    """A target that serves nothing yet, with two bundles it can load and one it must refuse."""

    target: DeployTarget
    first: Digest
    second: Digest
    refused: Digest
    end: Callable[[], None]


@contextlib.contextmanager
def fake(folder: Path) -> Iterator[Case]:
    del folder
    first, second, refused = (Digest(letter * 64) for letter in "abc")
    target = FakeDeployTarget(known={first, second})

    def end() -> None:
        target.down = True

    yield Case(target=target, first=first, second=second, refused=refused, end=end)


class Folders:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def folder(self, digest: Digest) -> Path:
        return self._settings.bundles / digest


@contextlib.contextmanager
def real(folder: Path) -> Iterator[Case]:
    settings = load_settings({"LOCKGATE_HOME": str(folder), "LOCKGATE_PROJECT": str(folder)})
    keys = settings.signing_key.parent
    make_keys(keys)
    first, second, refused = (make_bundle(settings.bundles, key_dir=keys, bias=bias) for bias in (0.0, 1.0, 2.0))
    with (settings.bundles / refused / "model.onnx").open("r+b") as part:
        part.seek(40)
        byte = part.read(1)
        part.seek(40)
        part.write(bytes([byte[0] ^ 1]))
    with Sandboxes(settings, folder / "logs").open("target") as server:
        target = server_target(server.url, server.admin_url, server.token_file, settings)

        def end() -> None:
            server.stop()

        yield Case(target=target, first=first, second=second, refused=refused, end=end)
        target.close()


def server_target(url: str, admin_url: str, token_file: Path, settings: Settings) -> ServerTarget:
    return ServerTarget("production", url, admin_url, token_file, Folders(settings))


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with {"fake": fake, "real": real}[request.param](tmp_path) as made:
        yield made


def test_live_answers_carry_the_bundle_that_was_switched_to(case: Case) -> None:
    case.target.switch(MODEL, case.first, sequence=3, previous=None)
    seen = case.target.readback(MODEL, case.first, 4)
    assert seen.sequence == 3
    assert seen.answers == (case.first,) * 4


def test_more_answers_than_golden_requests_can_be_asked_for(case: Case) -> None:
    case.target.switch(MODEL, case.first, sequence=3, previous=None)
    assert len(case.target.readback(MODEL, case.first, 11).answers) == 11


def test_a_switch_replaces_the_champion_and_keeps_the_previous_loaded(case: Case) -> None:
    case.target.switch(MODEL, case.first, sequence=3, previous=None)
    case.target.switch(MODEL, case.second, sequence=5, previous=case.first)
    assert case.target.readback(MODEL, case.second, 2).answers == (case.second,) * 2
    told = case.target.serving(MODEL)
    assert (told["sequence"], told["champion"], told["previous"]) == (5, case.second, case.first)
    loaded = told["loaded"]
    assert isinstance(loaded, list)
    assert set(loaded) == {case.first, case.second}


def test_one_sequence_may_be_sent_twice(case: Case) -> None:
    for _ in range(2):
        case.target.switch(MODEL, case.first, sequence=3, previous=None)
    assert case.target.serving(MODEL)["sequence"] == 3


def test_a_lower_sequence_is_a_conflict_and_changes_nothing(case: Case) -> None:
    case.target.switch(MODEL, case.first, sequence=5, previous=None)
    with pytest.raises(LedgerConflict):
        case.target.switch(MODEL, case.second, sequence=4, previous=None)
    assert case.target.readback(MODEL, case.first, 1).answers == (case.first,)


def test_one_sequence_for_two_bundles_is_a_conflict(case: Case) -> None:
    case.target.switch(MODEL, case.first, sequence=5, previous=None)
    with pytest.raises(LedgerConflict):
        case.target.switch(MODEL, case.second, sequence=5, previous=None)


def test_a_bundle_that_does_not_verify_is_refused_and_changes_nothing(case: Case) -> None:
    case.target.switch(MODEL, case.first, sequence=3, previous=None)
    with pytest.raises(IntegrityError):
        case.target.switch(MODEL, case.refused, sequence=4, previous=case.first)
    assert case.target.serving(MODEL)["sequence"] == 3
    assert case.target.readback(MODEL, case.first, 1).answers == (case.first,)


def test_a_bundle_that_is_not_there_is_refused(case: Case) -> None:
    with pytest.raises(IntegrityError):
        case.target.switch(MODEL, Digest("9" * 64), sequence=3, previous=None)


def test_a_model_that_was_never_switched_is_not_served(case: Case) -> None:
    assert case.target.serving(MODEL) == {}
    with pytest.raises((TransientError, IntegrityError)):
        case.target.readback(MODEL, case.first, 1)


def test_a_target_that_is_gone_does_not_answer_and_is_not_running(case: Case) -> None:
    case.target.switch(MODEL, case.first, sequence=3, previous=None)
    case.end()
    with pytest.raises(TransientError):
        case.target.switch(MODEL, case.second, sequence=4, previous=None)
    with pytest.raises(TransientError):
        case.target.readback(MODEL, case.first, 1)
    with pytest.raises(NotRunning):
        case.target.serving(MODEL)


@pytest.mark.integration
def test_a_wrong_token_and_a_missing_one_are_told_apart_from_a_silent_server(tmp_path: Path) -> None:
    settings = load_settings({"LOCKGATE_HOME": str(tmp_path), "LOCKGATE_PROJECT": str(tmp_path)})
    make_keys(settings.signing_key.parent)
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent)
    wrong = tmp_path / "wrong.token"
    wrong.write_text("not it")
    with Sandboxes(settings, tmp_path / "logs").open("target") as server:
        for token_file in (wrong, tmp_path / "nowhere.token"):
            target = server_target(server.url, server.admin_url, token_file, settings)
            with pytest.raises(BadInput, match="token"):
                target.switch(MODEL, digest, sequence=1, previous=None)
            target.close()


@pytest.mark.integration
def test_live_answers_beyond_the_bundles_bounds_are_an_integrity_error(tmp_path: Path) -> None:
    settings = load_settings({"LOCKGATE_HOME": str(tmp_path), "LOCKGATE_PROJECT": str(tmp_path)})
    make_keys(settings.signing_key.parent)
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent)
    with Sandboxes(settings, tmp_path / "logs").open("target") as server:
        target = server_target(server.url, server.admin_url, server.token_file, settings)
        target.switch(MODEL, digest, sequence=1, previous=None)
        probes = settings.bundles / digest / "probe_requests.json"
        probes.write_bytes(probes.read_bytes().replace(b'"absolute":1e-05', b'"absolute":1e-09'))
        with pytest.raises(LockgateError, match=r"probe_requests\.json is not what the manifest says"):
            target.readback(MODEL, digest, 1)
        target.close()
