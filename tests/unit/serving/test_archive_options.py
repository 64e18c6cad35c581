"""The archive's own command line: the bounds and the words of the server's, and code 2 in one line."""

from pathlib import Path

import pytest

from lockgate.serving.__main__ import main as serve
from lockgate.serving.__main__ import parse as parse_server
from lockgate.serving.fleet.process import kept_of
from lockgate.serving.log.archive import main, parse
from lockgate.serving.log.archive_status import Kept
from lockgate.serving.log.archiver import archive_options
from tests.unit.serving.test_options import NEEDED


def refused(caplog: pytest.LogCaptureFixture, state: Path, *words: str) -> str:
    assert main(["--state", str(state), "--once", *words]) == 2
    (said,) = caplog.messages
    caplog.clear()
    assert "\n" not in said
    assert not (state / "archive").exists(), "nothing is done with options that are wrong"
    return said


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--keep-days", "-1", "from 0 to 36500"),
        ("--keep-days", "36501", "from 0 to 36500"),
        ("--keep-days", "9" * 5000, "from 0 to 36500"),
        ("--keep-days", "1.5", "from 0 to 36500"),
        ("--max-bytes", "-1", "from 0 to"),
        ("--max-bytes", str(10**30), "from 0 to"),
        ("--max-bytes", "1e9", "from 0 to"),
        ("--label-window-days", "-0.5", "from 0 to 36500"),
        ("--label-window-days", "nan", "from 0 to 36500"),
        ("--label-window-days", "inf", "from 0 to 36500"),
        ("--label-window-days", "1e300", "from 0 to 36500"),
        ("--interval-s", "0", "above 0"),
        ("--interval-s", "nan", "above 0"),
        ("--interval-s", "1e300", "above 0 and at most 86400"),
        ("--keep-day", "3", "did you mean --keep-days?"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_says_what_is_allowed(
    option: str, value: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = refused(caplog, tmp_path, option, value)
    assert said in found
    assert len(found) < 300
    assert "'python -m lockgate.serving.log.archive --help' lists every option" in found


def test_a_state_folder_that_is_not_there_is_bad_input(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "is not a folder" in refused(caplog, tmp_path / "nowhere")


def test_a_server_is_not_started_with_specs_that_are_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert serve([*NEEDED, "--specs", str(tmp_path / "nowhere")]) == 2
    assert "--specs" in caplog.text
    assert "is not a folder" in caplog.text


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--keep-log-days", "36501", "from 0 to 36500"),
        ("--max-log-bytes", str(10**30), "from 0 to"),
        ("--label-window-days", "1e300", "from 0 to 36500"),
    ],
)
def test_the_server_has_the_same_bounds(option: str, value: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    assert serve([*NEEDED, option, value]) == 2
    assert said in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--keep-log-days", "7", "--max-log-bytes", "1000", "--label-window-days", "0.5"),
        ("--label-window-days", "0"),
    ],
    ids=" ".join,
)
def test_what_the_server_was_told_reaches_the_archives_process(words: tuple[str, ...], tmp_path: Path) -> None:
    for more in ((), ("--specs", str(tmp_path))):
        kept = kept_of(parse_server([*NEEDED, "--state", str(tmp_path), *words, *more]))
        given = parse(archive_options(tmp_path, kept))
        assert (given.state, given.kept, given.once, given.tethered) == (tmp_path, kept, True, True)


def test_what_is_not_given_is_as_the_archive_says(tmp_path: Path) -> None:
    given = parse(["--state", str(tmp_path)])
    assert (given.kept, given.once, given.interval_s) == (Kept(), False, 60.0)
