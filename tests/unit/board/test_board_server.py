"""The board's server: three paths, nothing else, no other site's pages, and one look at a time."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lockgate.adapters.board_page import policy
from lockgate.adapters.board_server import AT_ONCE, BoardServer, Kept, Made
from lockgate.bootstrap import Services
from lockgate.cli.app import app
from tests.unit.board.scene import history, settings_of

MADE = Made(page=b"<p>the page</p>", content=b"{}")


@contextmanager
def serving(make: Callable[[], Made] = lambda: MADE, fresh_s: float = 60.0) -> Iterator[int]:
    with BoardServer("127.0.0.1", 0, Kept(make, fresh_s=fresh_s, wait_s=60.0), policy(live=True)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as found:
        yield found


@pytest.mark.parametrize(("path", "body"), [("/", MADE.page), ("/board.json", MADE.content), ("/health", b"ok\n")])
def test_a_path_of_three_is_answered(port: int, path: str, body: bytes) -> None:
    assert ask(port, path)[::2] == (200, body)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/../../etc/passwd", "/%2e%2e/etc/passwd", "/board.html", "/health/", "/%00"]
)
def test_any_other_path_is_not_found(port: int, path: str) -> None:
    assert ask(port, path)[0] == 404


def test_a_head_has_no_body_and_nothing_can_be_changed(port: int) -> None:
    status, headers, body = ask(port, method="HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(MADE.page)), b"")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert ask(port, method=method)[0] == 501


def test_a_page_may_not_be_framed_sniffed_or_kept(port: int) -> None:
    headers = ask(port)[1]
    rules = headers["content-security-policy"]
    assert rules.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in rules
    assert "unsafe" not in rules
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8070", "127.0.0.1.evil.example", ""])
def test_a_browser_that_was_led_here_under_another_name_is_refused(port: int, host: str) -> None:
    assert ask(port, "/board.json", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:9", "[::1]:9", "192.168.1.5"])
def test_an_address_is_no_name_that_another_site_could_have(port: int, host: str) -> None:
    assert ask(port, Host=host)[0] == 200


def test_within_its_time_it_is_made_once_however_many_ask() -> None:
    made = []

    def make() -> Made:
        made.append(1)
        return MADE

    with serving(make) as found:
        threads = [threading.Thread(target=ask, args=(found,)) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert made == [1]


def test_while_it_is_made_anew_the_one_before_is_shown() -> None:
    go_on, looks = threading.Event(), iter([MADE])

    def make() -> Made:
        return next(looks, None) or (go_on.wait(60), Made(page=b"new", content=b"{}"))[1]

    kept = Kept(make, fresh_s=0.0, wait_s=0.05)
    assert kept.get().page == MADE.page
    assert kept.get().page == MADE.page
    go_on.set()
    assert Kept(make, fresh_s=60.0).get().page == b"new"


def test_what_cannot_be_made_is_said_and_the_page_before_is_not_shown_for_it() -> None:
    looks = iter([MADE])

    def make() -> Made:
        try:
            return next(looks)
        except StopIteration:
            raise RuntimeError("the disk is gone") from None

    with serving(make, fresh_s=0.0) as found:
        assert ask(found)[0] == 200
        status, headers, body = ask(found)
        assert (status, headers["content-type"]) == (503, "text/plain; charset=utf-8")
        assert b"the disk is gone" in body
        assert b"lockgate board --once" in body


def test_connections_that_say_nothing_do_not_fill_the_machine() -> None:
    with serving() as found:
        idle = [http.client.HTTPConnection("127.0.0.1", found, timeout=5) for _ in range(AT_ONCE)]
        for each in idle:
            each.connect()
        with pytest.raises((http.client.HTTPException, OSError)):
            [ask(found) for _ in range(3)]  # the last of the idle ones may not have been taken yet
        for each in idle:
            each.close()


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a history, and ports at which nothing runs."""
    services = Services(settings_of(tmp_path))
    from tests.fakes import FakeClock

    services.clock = FakeClock()
    history(services, 60)
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    for number, name in enumerate(("PREFECT", "MLFLOW", "PRODUCTION", "PRODUCTION_ADMIN", "STAGING", "STAGING_ADMIN")):
        monkeypatch.setenv(f"LOCKGATE_{name}_PORT", str(number + 1))
    return tmp_path


def test_the_command_gives_the_content_to_a_program_with_the_stack_down(home: Path) -> None:
    result = CliRunner().invoke(app, ["board", "--json"])
    told = json.loads(result.stdout)
    assert (result.exit_code, told["schema"], told["light"]) == (0, "lockgate.board/1", "bad")
    assert told["home"] == str(home)
    assert "flights" in [model["model"] for model in told["models"]]
    assert told["needs"][0]["next"] == "lockgate up"


@pytest.mark.usefixtures("home")
def test_the_command_says_it_once() -> None:
    result = CliRunner().invoke(app, ["board", "--once"])
    assert result.exit_code == 0
    assert "lockgate up" in result.stdout
    assert "flights-0003" in result.stdout


@pytest.mark.usefixtures("home")
def test_the_command_writes_a_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "out" / "board.html"
    result = CliRunner().invoke(app, ["board", "--output", str(target)])
    assert result.exit_code == 0
    assert target.read_text().endswith("</html>")
    assert [path.name for path in target.parent.iterdir()] == ["board.html"]


@pytest.mark.usefixtures("home")
def test_a_file_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["board", "--output", str(tmp_path / "file" / "board.html")])
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


@pytest.mark.usefixtures("home")
def test_a_port_that_is_taken_is_bad_input_with_another_way(port: int) -> None:
    result = CliRunner().invoke(app, ["board", "--port", str(port)])
    assert result.exit_code == 2
    assert "lockgate board --port 0" in result.stderr
