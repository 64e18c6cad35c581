"""What `lockgate reproduce` shows a person, and a program."""

from __future__ import annotations

import json

import pytest

from lockgate.cli.reproduce_command import EXIT, _tell
from lockgate.cli.surface import Surface
from lockgate.core.ids import Digest, ReleaseId
from lockgate.stages.reproduce_release import Part, Reproduced, Reproduction
from lockgate.stages.then_and_now import Changed

TOLD = Reproduction(
    release=ReleaseId("toy-0001"),
    verdict=Reproduced.CANNOT_SAY,
    reason="model.onnx came out otherwise",
    bundle=Digest("b" * 64),
    data=Digest("d" * 64),
    recorded=Digest("1" * 64),
    rebuilt=Digest("2" * 64),
    parts=(
        Part(name="model.onnx", recorded="a" * 64, rebuilt="c" * 64),
        Part(name="contract.json", recorded="e" * 64, rebuilt="f" * 64, where=("threshold",)),
    ),
    changed=(
        Changed(what="source", recorded="a" * 64, now="b" * 64),
        Changed(what="xgboost", recorded="3.4.0", now=None),
    ),
    notes=("the search was not repeated",),
)


def test_a_person_reads_the_verdict_the_parts_and_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    _tell(Surface("reproduce"), TOLD)
    shown = capsys.readouterr().out
    assert "toy-0001: cannot say" in shown
    for words in ("model.onnx came out otherwise", "threshold", "aaaaaaaaaaaa", "3.4.0", "none", "was not repeated"):
        assert words in shown
    assert "a" * 13 not in shown, "a digest is shown short"


def test_a_program_reads_whole_digests_and_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    _tell(Surface("reproduce", as_json=True), TOLD)
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "lockgate.reproduce/1"
    assert (told["verdict"], told["exit_code"]) == ("cannot_say", 6)
    assert told["parts"][0]["recorded"] == "a" * 64


def test_every_verdict_has_its_exit_code() -> None:
    assert {each.value for each in Reproduced} == set(EXIT)
