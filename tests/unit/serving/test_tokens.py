"""The admin token: who has it and who has not."""

from pathlib import Path

import pytest

from lockgate.errors import ConfigError
from lockgate.serving.refusals import Reason, RequestRefused
from lockgate.serving.tokens import check_bearer, read_token

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
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(ConfigError, match="is empty"):
        read_token(tmp_path / "token")
