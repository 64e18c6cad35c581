"""Personal data is found by its form wherever it lies, and what only looks like it is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.contract import LogPolicy, ProbeRequest, ProbeSet, TaskKind
from lockgate.core.gates import privacy
from lockgate.core.ids import Json, ModelName
from lockgate.core.personal_data import iban, luhn, named_like_personal, personal_kinds, personal_words
from lockgate.core.replay import LoggedRequest
from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, ServingSection, TaskSection
from lockgate.core.verdict import GateReport, Verdict
from lockgate.stages.privacy import measure_privacy
from tests.unit.data.toy import failing
from tests.unit.data.toy import judged as judge

SPEC = ReleaseSpec(
    model=ModelSection(name=ModelName("toy"), owner="ann@example.org"),
    task=TaskSection(kind=TaskKind.BINARY, classes=("no", "yes")),
    data=DataSection(
        suite="toy", label="label", time="time", key=("id",), numeric=("x",), categorical=("city", "contact")
    ),
)
PROBES = ProbeSet(absolute=1e-5, relative=1e-5, requests=(ProbeRequest(name="p", row={"city": "oslo"}, output=(0.5,)),))
MAIL = "bea@example.org"


def bundle(folder: Path, **parts: str) -> Path:
    kept = {"card.md": "# toy\nOwner: ann@example.org", "contract.json": '{"inputs": ["city"]}', "model.onnx": MAIL}
    for name, text in {**kept, **parts}.items():
        (folder / name).write_text(text)
    return folder


def judged(measured: dict[str, Json]) -> GateReport:
    return judge(privacy.GATE, measured)


CLEAN: dict[str, list[object]] = {"city": ["oslo", "rome", None], "contact": ["desk", "phone"]}


def measured(tmp_path: Path, spec: ReleaseSpec = SPEC, **changed: Any) -> dict[str, Json]:
    given: dict[str, Any] = {"columns": CLEAN, "logged": [], "probes": PROBES, "folder": None, **changed}
    folder = given["folder"] or bundle(tmp_path)
    return measure_privacy(spec, given["columns"], given["logged"], given["probes"], folder)


def test_clean_data_log_probes_and_bundle_pass_and_the_owner_is_no_finding(tmp_path: Path) -> None:
    report = judged(measured(tmp_path))
    assert report.verdict is Verdict.PASS
    assert not failing(report)


def test_an_address_in_the_data_is_stopped_and_the_message_names_the_column(tmp_path: Path) -> None:
    found = measured(tmp_path, columns={**CLEAN, "contact": [*(f"p{n}" for n in range(5_000)), MAIL]})
    report = judged(found)
    assert failing(report) == {"personal_data"}
    assert "contact: 1 x e-mail address" in report.reason
    assert MAIL not in str(found)


def test_a_declared_column_may_be_in_the_data_but_not_openly_in_the_log(tmp_path: Path) -> None:
    declared = replace(SPEC, data=replace(SPEC.data, personal=("contact",)))
    columns = {**CLEAN, "contact": [MAIL]}
    assert failing(judged(measured(tmp_path, declared, columns=columns))) == {"declared_and_logged"}
    hashed = replace(declared, serving=ServingSection(log=LogPolicy(hashed=("contact",))))
    assert judged(measured(tmp_path, hashed, columns=columns)).verdict is Verdict.PASS
    silent = replace(declared, serving=ServingSection(log=LogPolicy(inputs=False)))
    assert judged(measured(tmp_path, silent, columns=columns)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "request_",
    [
        LoggedRequest(rows=({"city": MAIL},), outputs={}),
        LoggedRequest(rows=({"city": "oslo"},), outputs={}, entity=MAIL),
        LoggedRequest(rows=({"city": "oslo"},), outputs={}, request_id=MAIL),
    ],
)
def test_an_address_in_the_log_is_stopped_wherever_it_stands(tmp_path: Path, request_: LoggedRequest) -> None:
    assert failing(judged(measured(tmp_path, logged=[request_]))) == {"personal_log"}


def test_a_log_that_was_not_read_is_an_error(tmp_path: Path) -> None:
    assert judged(measured(tmp_path, logged=None)).verdict is Verdict.ERROR


def test_an_address_in_a_probe_or_a_part_of_the_bundle_is_stopped(tmp_path: Path) -> None:
    probes = replace(PROBES, requests=(ProbeRequest(name="p", row={"city": MAIL}, output=(0.5,)),))
    assert failing(judged(measured(tmp_path, probes=probes))) == {"personal_probe_requests"}
    folder = bundle(tmp_path, **{"contract.json": f'{{"categories": ["{MAIL}", "oslo"]}}'})
    assert failing(judged(measured(tmp_path, folder=folder))) == {"personal_bundle"}


def test_a_column_named_as_if_personal_is_told_and_does_not_block(tmp_path: Path) -> None:
    spec = replace(SPEC, data=replace(SPEC.data, categorical=("city", "e_mail")))
    report = judged(measured(tmp_path, spec))
    assert report.verdict is Verdict.PASS
    (check,) = [each for each in report.checks if each.name == "named_like_personal"]
    assert check.verdict is Verdict.FAIL


@pytest.mark.parametrize("place", [*privacy.SOURCES, "declared_and_logged"])
def test_a_place_that_was_not_looked_at_never_passes(tmp_path: Path, place: str) -> None:
    found = measured(tmp_path)
    assert judged({name: value for name, value in found.items() if name != place}).verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        (["GB82 WEST 1234 5698 7654 32"], {"bank account (IBAN)"}),
        (["DE89370400440532013000"], {"bank account (IBAN)"}),
        (["+49 30 901820"], {"phone number"}),
        (["078-05-1120"], {"social security number"}),
        (["8.8.8.8", "2001:4860:4860::8888"], {"IP address"}),
        (["4111 1111 1111 1111", "5500-0000-0000-0004"], {"card number"}),
        (["EWR", "N14228", "2013-01-01", "1234567", "10.0.0.1", "a@b", "UA|1545", "DE00370400440532013000"], set()),
        ([str(4_000_000_000_000_000 + n) for n in range(2_000)], set()),  # identifiers: one in ten passes by chance
    ],
)
def test_kinds_are_told_by_form_and_check_digit(values: list[str], kinds: set[str]) -> None:
    assert set(personal_kinds(values)) == kinds


@given(st.integers(0, 10**15 - 1))
def test_every_number_has_one_check_digit(number: int) -> None:
    assert sum(luhn(f"{number}{digit}") for digit in range(10)) == 1


@given(st.integers(0, 10**18 - 1), st.integers(1, 96))
def test_a_wrong_check_number_is_no_account(account: int, off: int) -> None:
    body = f"{account:018d}"
    check = 98 - int(f"{body}131400") % 97  # ISO 13616: "DE00" moved to the end, letters as 10 to 35
    assert iban(f"DE{check:02d}{body}")
    assert not iban(f"DE{(check + off) % 97:02d}{body}") or (check + off) % 97 == check % 97


def test_digests_and_figures_in_a_text_are_no_finding() -> None:
    assert personal_words('{"digest": "9f86d081884c7d659a2feaa0c55ad015", "low": 0.123, "v": "1.2.3.4"}') == {}


@given(st.text())
def test_no_text_breaks_a_finder(text: str) -> None:
    personal_kinds([text])
    personal_words(text)
    named_like_personal([text])


@pytest.mark.parametrize("owner", ["@", "e", "example.org"])
def test_an_owner_that_is_a_piece_of_every_address_hides_none(tmp_path: Path, owner: str) -> None:
    spec = replace(SPEC, model=replace(SPEC.model, owner=owner))
    found = measured(tmp_path, spec, folder=bundle(tmp_path, **{"card.md": f"# toy\nOwner: {owner}\nask {MAIL}"}))
    assert failing(judged(found)) == {"personal_bundle"}


def test_an_address_in_a_part_without_an_ending_is_found(tmp_path: Path) -> None:
    found = measured(tmp_path, folder=bundle(tmp_path, MLmodel=f"author: {MAIL}"))
    assert failing(judged(found)) == {"personal_bundle"}
