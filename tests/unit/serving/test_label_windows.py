"""When a label is late: by the delay that the model's spec declares, unless a window was given by hand."""

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from lockgate.serving.log.archive_status import Kept
from lockgate.serving.log.label_windows import LabelWindows


def windows(specs: Path | None, by_hand: float | None = None) -> LabelWindows:
    return LabelWindows(Kept(label_window_days=by_hand, specs=specs))


def spec(folder: Path, model: str, text: str) -> None:
    (folder / f"{model}.yaml").write_text(text)


def test_each_models_window_is_the_delay_that_its_spec_declares(tmp_path: Path) -> None:
    spec(tmp_path, "toy", "data:\n  label_delay_s: 43200\n")
    spec(tmp_path, "other", "data:\n  label_delay_s: 1.5\n")
    found = windows(tmp_path)
    assert (found("toy"), found("other")) == (timedelta(hours=12), timedelta(seconds=1.5))


@pytest.mark.parametrize("text", ["data: {}\n", "model: {name: toy}\n", "data:\n  label_delay_s: 0\n"])
def test_a_spec_that_declares_no_delay_makes_no_label_late(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec(tmp_path, "toy", text)
    assert windows(tmp_path)("toy") is None
    assert caplog.records == []


def test_a_model_without_a_spec_and_a_server_without_specs_have_no_window(tmp_path: Path) -> None:
    assert windows(tmp_path)("toy") is None
    assert windows(None)("toy") is None


def test_a_window_given_by_hand_wins_over_every_spec(tmp_path: Path) -> None:
    spec(tmp_path, "toy", "data:\n  label_delay_s: 43200\n")
    assert windows(tmp_path, 2.0)("toy") == timedelta(days=2)
    assert windows(tmp_path, 0.0)("toy") is None, "0 says that none is late"


@pytest.mark.parametrize(
    "text",
    [
        "data: [", "[]", "data: 7", "data:\n  label_delay_s: soon\n", "data:\n  label_delay_s: true\n",
        "data:\n  label_delay_s: -1\n", "data:\n  label_delay_s: .nan\n", "data:\n  label_delay_s: 1e300\n",
        "data:\n  label_delay_s: null\n", "\0", "# " + "x" * 300_000,
    ],
    ids=lambda text: repr(text[:30]),
)  # fmt: skip
def test_a_spec_that_cannot_be_read_is_said_once_and_makes_no_label_late(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec(tmp_path, "toy", text)
    found = windows(tmp_path)
    assert [found("toy"), found("toy")] == [None, None]
    (said,) = caplog.records
    assert said.levelno == logging.ERROR
    assert str(tmp_path / "toy.yaml") in said.getMessage()
    assert "no label of toy counts as late" in said.getMessage()


def test_specs_that_have_gone_are_said_once_and_make_no_label_late(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = windows(tmp_path / "nowhere")
    assert [found("toy"), found("other"), found("toy")] == [None, None, None]
    (said,) = caplog.messages
    assert f"{tmp_path / 'nowhere'} is not a folder: no label counts as late" in said


def test_a_spec_that_may_not_be_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "toy.yaml").mkdir()
    assert windows(tmp_path)("toy") is None
    assert len(caplog.records) == 1
