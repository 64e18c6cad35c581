"""The admin token: who has it and who has not."""

from pathlib import Path

import pytest

from lockgate.errors import ConfigError
from lockgate.serving.private_files import widest_mode
from lockgate.serving.refusals import Reason, RequestRefused
from lockgate.serving.tokens import check_apart, check_bearer, read_token
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


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
@pytest.mark.parametrize("other", ["--tls-key", "--public-key", "--feedback-token-file"])
def test_a_token_may_not_be_another_file_of_the_server(tmp_path: Path, other: str, link: str | None) -> None:
    path = again = tmp_path / "token"
    write_secret(path, "a-token")
    if link is not None:
        again = tmp_path / "again"
        getattr(again, link)(path)
    tokens, others = {"--admin-token-file": path}, {"--tls-cert": tmp_path / "no such file"}
    (tokens if "token" in other else others)[other] = again
    with pytest.raises(ConfigError, match=r"--\S+ and --\S+ are one file, .*; give each a file of its own"):
        check_apart(tokens, others)


def test_two_tokens_may_not_be_the_same(tmp_path: Path) -> None:
    tokens = {"--admin-token-file": tmp_path / "admin", "--feedback-token-file": tmp_path / "feedback"}
    for path in tokens.values():
        write_secret(path, "a-token")
    with pytest.raises(ConfigError, match="file and --admin-token-file hold the same token; make another"):
        check_apart(tokens, {})
    tokens["--feedback-token-file"].write_text("another")
    check_apart(tokens, {"--tls-key": tmp_path / "no such file"})
    tokens["--feedback-token-file"].unlink()
    with pytest.raises(ConfigError, match=r"feedback token file .*: No such file"):
        check_apart(tokens, {})
