"""The admin token: who has it and who has not."""

from pathlib import Path

import pytest

from lockgate.errors import ConfigError
from lockgate.serving.private_files import widest_mode
from lockgate.serving.refusals import Reason, RequestRefused
from lockgate.serving.tokens import check_bearer, read_token
from tests.server_process import write_secret

TOKEN = b"a-token"


@pytest.mark.parametrize("header", ["Bearer a-token", "bearer a-token", "BEARER  a-token "])
def test_the_scheme_may_be_written_in_any_case(header: str) -> None:
    check_bearer(TOKEN, header, "this")


@pytest.mark.parametrize(
    "header",
    [None, "", "a-token", "Bearer", "Bearer ", "Bearer A-TOKEN", "Bearer a-token2", "Bearer a-toke", "Basic a-token",
     "Bearer a token", "Bearera-token", "Bearer a-token, Bearer a-token", "Bearer \u20ac", "Bearer \xff"],
)  # fmt: skip
def test_nothing_else_is_the_token_and_the_refusal_does_not_say_what_was_sent(header: str | None) -> None:
    with pytest.raises(RequestRefused) as refused:
        check_bearer(TOKEN, header, "this")
    assert refused.value.reason is Reason.UNAUTHORIZED
    assert refused.value.message == "this needs 'Authorization: Bearer <admin token>'"


def test_a_token_file_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "token")
    write_secret(tmp_path / "token", " \n")
    with pytest.raises(ConfigError, match="is empty"):
        read_token(tmp_path / "token")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o660, 0o777])
def test_a_token_that_others_may_read_or_change_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    write_secret(path, "a-token")
    assert read_token(path) == TOKEN
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"admin token file .* \(mode {mode:o}, .*; run: chmod 6[04]0 {path}, and"):
        read_token(path)


def test_the_group_may_read_what_another_user_has_handed_to_the_server_and_nothing_of_its_own() -> None:
    server, root, other = 1000, 0, 1001
    assert [widest_mode(owner, server) for owner in (server, root, other)] == [0o600, 0o640, 0o640]
    assert widest_mode(root, root) == 0o640
