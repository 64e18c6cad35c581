"""A fit's state on disk: of one key, whole or not at all."""

from __future__ import annotations

from pathlib import Path

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
