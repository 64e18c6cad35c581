"""The command line: what it takes, what it refuses, and that nothing of it is left undocumented."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from lockgate.errors import BadInput
from lockgate.serving.__main__ import main, parse
from lockgate.serving.fleet.messages import options_from_json, options_to_json
from lockgate.serving.options import Limits, ServerOptions

NEEDED = [
    *("--environment", "sandbox", "--bundles", "b", "--public-key", "k", "--state", "s", "--admin-token-file", "t"),
]
PAGE = Path(__file__).parents[3] / "docs/howto/serve.md"


def test_what_is_not_given_is_as_the_options_say() -> None:
    given = parse(NEEDED)
    assert given == ServerOptions(
        environment="sandbox", bundles=Path("b"), public_key=Path("k"), state=Path("s"), admin_token_file=Path("t")
    )
    assert given.host == "127.0.0.1", "nobody else reaches a server that was not told otherwise"


def test_every_option_reaches_the_server() -> None:
    given = parse(
        [
            *NEEDED,
            *("--workers", "4", "--max-connections", "100", "--header-timeout-s", "3", "--request-timeout-s", "0.5"),
            *("--tls-cert", "c.pem", "--tls-key", "k.pem", "--access-log", "on", "--self-probe-s", "0"),
            *("--keep-warm-s", "0.01"),
            *("--keep-log-days", "0", "--max-log-bytes", "1000", "--max-memory-mb", "500", "--hang-s", "2"),
            *("--stop-timeout-s", "7", "--no-log-inputs", "--read-timeout-s", "4", "--max-body-bytes", "9"),
        ]
    )
    assert (given.workers, given.worker, given.hang_s, given.max_memory_mb, given.stop_timeout_s) == (4, 0, 2, 500, 7)
    assert given.limits == Limits(
        connections=100, header_timeout_s=3, request_timeout_s=0.5, read_timeout_s=4, body_bytes=9
    )
    assert (given.tls_cert, given.tls_key) == (Path("c.pem"), Path("k.pem"))
    assert (given.access_log, given.self_probe_s, given.log_inputs) == (True, 0, False)
    assert given.keep_warm_s == 0.01
    assert (given.keep_log_days, given.max_log_bytes) == (0, 1000)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--workers", "0", "from 1 to 128"),
        ("--workers", "two", "from 1 to 128"),
        ("--workers", "1000", "from 1 to 128"),
        ("--port", "65536", "is no port"),
        ("--port", "-1", "is no port"),
        ("--max-connections", "0", "from 1"),
        ("--header-timeout-s", "0", "above 0"),
        ("--header-timeout-s", "inf", "above 0"),
        ("--request-timeout-s", "nan", "above 0"),
        ("--request-timeout-s", "soon", "above 0"),
        ("--self-probe-s", "-1", "from 0"),
        ("--keep-warm-s", "0.0001", "0, or a number from 0.001"),
        ("--keep-log-days", "-1", "from 0"),
        ("--max-memory-mb", "1.5", "from 0"),
        ("--access-log", "yes", "choose from 'off', 'on'"),
        ("--environment", "prod", "choose from 'sandbox', 'staging', 'production'"),
        ("--environment", "", "choose from"),
        ("--admin-port", "8080", "are both 8080"),
        ("--max-row", "5", "did you mean --max-rows?"),
        ("more", "words", "no option 'more'"),
        ("--tls-cert", "c.pem", "go together"),
        ("--tls-key", "k.pem", "go together"),
        ("--worker", "1", "no option '--worker'"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_says_what_is_allowed(option: str, value: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse([*NEEDED, option, value])
    assert said in refused.value.message
    assert refused.value.message.startswith((option, "there is no option", "--tls-cert and", "--port and"))
    assert "\n" not in refused.value.message
    assert refused.value.exit_code == 2


def test_a_server_that_is_started_wrong_says_so_in_one_line_and_ends_with_code_2(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(NEEDED[2:]) == 2
    assert [record.message for record in caplog.records] == [
        "the following arguments are required: --environment; 'lockgate serve -- --help' lists every option"
    ]
    assert "usage" not in capsys.readouterr().err


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    inner = {"limits", "worker", "log_inputs", "log_flush_s"}  # no options, or under another name
    for field in fields(ServerOptions):
        if field.name not in inner:
            assert f"--{field.name.replace('_', '-')}" in shown
    for field in fields(Limits):
        assert f"-{field.name.replace('_', '-')} " in shown


def test_the_page_of_the_server_tells_every_option_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    rows = re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", PAGE.read_text().partition("## Every option")[2], re.MULTILINE)
    told = {}
    for options, defaults in rows:
        told |= dict(zip(re.findall(r"`(.*?)`", options), defaults.split(", "), strict=True))
    assert told.keys() == shown
    given, words = parse(NEEDED), {"none": "None", "off": "False"}
    limits = {f.name: getattr(given.limits, f.name) for f in fields(Limits)}
    values = {f.name: getattr(given, f.name) for f in fields(given)} | limits | {"no_log_inputs": not given.log_inputs}
    for option, default in told.items():
        name = option.removeprefix("--").replace("-", "_")
        value = values.get(name, values.get(name.removeprefix("max_")))
        assert default == "needed" or words.get(default, default) == str(value), option


def test_options_reach_a_worker_as_they_are() -> None:
    given = parse([*NEEDED, "--workers", "3", "--tls-cert", "c.pem", "--tls-key", "k.pem", "--max-rows", "7"])
    assert options_from_json(options_to_json(given)) == given
    plain = parse(NEEDED)
    assert options_from_json(options_to_json(plain)) == plain
