"""Segments: half a line is never seen, nor taken from its writer."""

import os
import resource
import signal
from pathlib import Path

import pytest

from lockgate.serving.log import segments as module
from lockgate.serving.log.segments import Segment, lines, newest_lines, segments, taken


def test_half_a_line_at_the_end_is_left_out_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1\n2\n3\n4, and the power w")
    assert list(lines(path)) == [b"1\n", b"2\n", b"3\n"]
    assert list(newest_lines(path)) == [b"3", b"2", b"1"]


@pytest.mark.parametrize("content", [b"", b"half", b"whole\n", b"\n\n"])
def test_short_files_read_alike_from_both_ends(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    assert list(newest_lines(path)) == [line[:-1] for line in reversed(list(lines(path)))]


def test_lines_longer_than_a_block_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    wanted = [b"x" * (module._BLOCK_BYTES * 2 + 5), b"short", b"y" * (module._BLOCK_BYTES - 1), b""]
    path.write_bytes(b"".join(line + b"\n" for line in wanted) + b"z" * 2_000_000)
    assert list(newest_lines(path)) == wanted[::-1]


def test_a_file_that_is_gone_has_no_lines(tmp_path: Path) -> None:
    assert list(lines(tmp_path / "gone.jsonl")) == list(newest_lines(tmp_path / "gone.jsonl")) == []
    assert segments(tmp_path / "no-folder") == []


def test_what_was_taken_and_removed_is_not_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"")
    with taken(path) as first:
        assert first
        with taken(path) as second:
            assert not second
        path.unlink()
    with taken(path) as late:
        assert not late


def test_many_pieces_are_written_whole_and_in_their_order(tmp_path: Path) -> None:
    pieces = [bytes([65 + number % 26]) * (number * 997 % 70_000) for number in range(60)]
    segment = Segment(tmp_path, worker=3, number=1)
    segment.write([b"first\n"])
    segment.write([*pieces, b"\n"])
    segment.close()
    (path,) = segments(tmp_path)
    assert path.read_bytes() == b"first\n" + b"".join(pieces) + b"\n"
    assert segment.size == path.stat().st_size
    assert path.name.endswith("-w3-000001.jsonl")


def test_a_write_that_fails_half_way_is_cut_off(tmp_path: Path) -> None:
    """Run where files may not grow beyond a size: the kernel takes part of a write, then refuses."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            segment = Segment(tmp_path, worker=0, number=1)
            segment.write([b"kept\n"])
            try:
                segment.write([b"x" * 200_000, b"\n"])
            except OSError:
                segment.write([b"after\n"])
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    (path,) = segments(tmp_path)
    assert path.read_bytes() == b"kept\nafter\n"
