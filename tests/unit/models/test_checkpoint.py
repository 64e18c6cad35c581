"""A fit's state on disk: of one key, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.core.ids import Digest
from lockgate.models.checkpoint import Checkpoint, nowhere

KEY, OTHER = Digest("a" * 64), Digest("b" * 64)


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(folder=tmp_path / "state", key=KEY)
    assert checkpoint.load() is None
    checkpoint.save({"history": [0.5]}, b"model\nwith lines\n")
    checkpoint.save({"history": [0.5, 0.25]}, b"\n\x00later")
    assert checkpoint.load() == ({"history": [0.5, 0.25]}, b"\n\x00later")


def test_another_key_sees_nothing(tmp_path: Path) -> None:
    Checkpoint(folder=tmp_path, key=KEY).save({}, b"model")
    assert Checkpoint(folder=tmp_path, key=OTHER).load() is None


def test_a_write_that_was_cut_off_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(folder=tmp_path, key=KEY)
    checkpoint.save({"n": 1}, b"whole")
    next(tmp_path.glob("*.checkpoint")).with_suffix(".partial").write_bytes(b'{"n": 2')
    assert checkpoint.load() == ({"n": 1}, b"whole")


def test_nowhere_keeps_nothing() -> None:
    nowhere().save({"n": 1}, b"model")
    assert nowhere().load() is None


@pytest.mark.parametrize("kept", [b"", b"\n", b"{}", b"no hash\n{}\nmodel", b"0" * 64 + b"\n{}\nmodel"])
def test_what_is_no_checkpoint_is_thrown_away_with_a_word(kept: bytes, tmp_path: Path) -> None:
    checkpoint = Checkpoint(folder=tmp_path, key=KEY, what="the search")
    checkpoint.save({}, b"model")
    (path,) = tmp_path.glob("*.checkpoint")
    path.write_bytes(kept)
    assert checkpoint.load() is None
    assert not path.exists()
    assert checkpoint.notes == [
        "a checkpoint of the search is damaged; it was thrown away and the work is done from the start"
    ]
    assert checkpoint.load() is None


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    checkpoint = Checkpoint(folder=tmp_path, key=KEY)
    checkpoint.save({"n": 1}, b"the model")
    (path,) = tmp_path.glob("*.checkpoint")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert checkpoint.load() is None, f"byte {at}"


def test_a_checkpoint_under_the_name_of_another_is_not_taken(tmp_path: Path) -> None:
    near = Digest(KEY[:16] + "c" * 48)  # the file's name holds the first sixteen characters
    Checkpoint(folder=tmp_path, key=near).save({"n": 1}, b"model")
    checkpoint = Checkpoint(folder=tmp_path, key=KEY)
    assert checkpoint.load() is None
    assert "is of something else" in checkpoint.notes[0]


def test_going_on_is_told(tmp_path: Path) -> None:
    Checkpoint(folder=tmp_path, key=KEY).save({"n": 1}, b"model")
    checkpoint = Checkpoint(folder=tmp_path, key=KEY)
    checkpoint.load()
    assert checkpoint.notes == ["the fit had been interrupted and went on from its checkpoint"]
