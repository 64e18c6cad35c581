"""What connections cost and how long they may take: slow, many, broken and honest ones; TLS; inherited sockets."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from lockgate.serving.net.port import GRACE_S
from tests.server_process import ENDS_WITHIN_S, PATIENT, ROW, TOKEN, Server, World, serving, spawn, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
BODY = json.dumps({"dataframe_records": [ROW]}).encode()
PAGE = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(BODY)

# opens as many connections as it is told, sends the beginning of a request on each and a byte more now and then,
# until each is closed by the other side; says how many it had, and when the first and the last was closed
SLOW_CALLERS = """
import resource, select, socket, sys, time
port, count = int(sys.argv[1]), int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
poll, opened, closed = select.poll(), {}, []
for number in range(count):
    each, since = socket.socket(), time.monotonic()
    each.connect(("127.0.0.1", port))
    each.setblocking(False)
    try:
        each.send(b"POST /invocations HTTP/1.1\\r\\nhost: x\\r\\nx-slow: ")
    except OSError:
        pass
    opened[each.fileno()] = (each, since)
    poll.register(each, select.POLLIN | select.POLLHUP)
print("open", len(opened), flush=True)
deadline = time.monotonic() + 60
while opened and time.monotonic() < deadline:
    for descriptor, _ in poll.poll(500):
        each, since = opened.pop(descriptor)
        poll.unregister(descriptor)
        closed.append(time.monotonic() - since)
        each.close()
    for each, _ in list(opened.values())[:50]:
        try:
            each.send(b"a")
        except OSError:
            pass
print("closed", len(closed), len(opened), min(closed), max(closed), flush=True)
"""


def asked(connection: socket.socket, request: bytes) -> bytes:
    """Send a request and return the whole answer, or what came before the connection's end."""
    connection.settimeout(30)
    connection.sendall(request)
    said = b""
    while piece := connection.recv(65536):
        said += piece
        head, end, body = said.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if end and length and len(body) >= int(length[1]):
            break
    return said


def routed(world: World, server: Server) -> str:
    digest = world.bundle()
    assert server.route(1, digest).status_code == 200
    return digest


def metric(server: Server, name: str) -> dict[str, float]:
    lines = server.client.get("/metrics").text.splitlines()
    found = (line[len(name) :].rsplit(" ", 1) for line in lines if line.startswith(name))
    return {labels: float(value) for labels, value in found}


def test_ten_thousand_slow_connections_keep_nobody_from_being_answered(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(10_000, files - 512) if files != resource.RLIM_INFINITY else 10_000
    with serving(world, "--max-connections", "20000", "--header-timeout-s", "5") as server:
        routed(world, server)
        process = psutil.Process(server.process.pid)
        before = process.memory_full_info().pss
        with subprocess.Popen(
            [sys.executable, "-c", SLOW_CALLERS, str(server.port), str(count)], stdout=subprocess.PIPE, text=True
        ) as callers:
            assert callers.stdout is not None
            seconds = []
            peak = 0
            while callers.poll() is None:
                started = time.monotonic()
                with httpx.Client(timeout=30) as client:  # a new connection each time
                    answer = client.post(
                        f"http://127.0.0.1:{server.port}/invocations",
                        content=BODY,
                        headers={"content-type": "application/json"},
                    )
                assert answer.status_code == 200
                seconds.append(time.monotonic() - started)
                peak = max(peak, process.memory_full_info().pss)
                time.sleep(0.05)
            said = callers.stdout.read().splitlines()
        assert said[0] == f"open {count}"
        _, closed, left, first, last = said[1].split()
        assert (int(closed), int(left)) == (count, 0)
        assert float(first) >= 4.9, "nobody is dropped before the deadline while there is room"
        assert float(last) < 5 + 25, "everybody is dropped soon after it, and not as long as they send"
        assert sorted(seconds)[len(seconds) // 2] < 2.0, "whoever asks is answered while they are there"
        assert peak - before < count * 16_000, "bytes a connection; 7,000 when this was written"
        assert metric(server, "lockgate_connections_ended_total")['{why="timed_out"}'] == count


def test_a_full_server_gives_up_silent_connections_for_honest_ones_and_says_so_where_there_are_none(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "world")
    with serving(world, "--max-connections", "20") as server:
        routed(world, server)
        with contextlib.ExitStack() as opened:
            honest = [opened.enter_context(_connected(server)) for _ in range(20)]
            for each in honest:  # they stay open, and are never given up
                assert asked(each, HEAD + b"\r\n" + BODY).startswith(b"HTTP/1.1 200")
            said = _asked_anew(server)
            assert said.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in said
            for each in honest[1:]:
                each.close()
            until(lambda: asked(honest[0], PAGE).count(b"\nlockgate_connections 1.0\n") == 1)
            silent = [opened.enter_context(_connected(server)) for _ in range(19)]
            until(lambda: _asked_anew(server).startswith(b"HTTP/1.1 200"))  # once one of them was silent for a second
            assert asked(honest[0], HEAD + b"\r\n" + BODY).startswith(b"HTTP/1.1 200")
            silent[0].settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                assert silent[0].recv(1) == b"", "the oldest one was given up"
            # asked of one that is there: a new one might come before the server has heard of the end of these
            page = asked(honest[0], PAGE)
        assert b'\nlockgate_connections_ended_total{why="evicted"} 1.0\n' in page
        assert re.search(rb'\nlockgate_connections_ended_total{why="refused"} [1-9]', page)


def _connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def _asked_anew(server: Server) -> bytes:
    """Ask on a connection of its own; what came before its end."""
    with _connected(server) as connection, contextlib.suppress(ConnectionError):
        return asked(connection, HEAD + b"\r\n" + BODY)
    return b""


def test_a_head_that_never_ends_is_refused_by_its_size_and_count(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    with serving(world) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            said = asked(connection, HEAD + b"".join(b"x-%d: y\r\n" % number for number in range(200)) + b"\r\n" + BODY)
            assert said.startswith(b"HTTP/1.1 431"), said
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(HEAD)
            with pytest.raises(OSError, match=r"reset|Broken pipe"):
                _send_on_and_on(connection)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            assert asked(connection, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400")
        assert metric(server, "lockgate_connections_ended_total")['{why="malformed"}'] == 3
        assert not [line for line in server.lines if "Invalid HTTP" in line["message"]], "nobody may fill the log"


def _send_on_and_on(connection: socket.socket) -> None:
    connection.settimeout(30)
    for _ in range(20_000):  # where nobody refuses it, the buffers are full, and this waits in vain
        connection.sendall(b"x" * 1000)
        time.sleep(0.001)


def test_a_caller_that_offers_another_protocol_is_answered_on_and_on(tmp_path: Path) -> None:
    """Java's client offers h2c with every first request and then goes on with HTTP/1.1."""
    world = World(tmp_path / "world")
    offer = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"
    with serving(world) as server:
        routed(world, server)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            assert asked(connection, HEAD + offer + BODY).startswith(b"HTTP/1.1 200")
            assert asked(connection, HEAD + b"\r\n" + BODY).startswith(b"HTTP/1.1 200")
            get = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n"
            assert asked(connection, get + offer).startswith(b"HTTP/1.1 200")
            assert asked(connection, get + b"\r\n").startswith(b"HTTP/1.1 200")


def test_requests_sent_in_one_go_are_answered_in_order(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    with serving(world) as server:
        routed(world, server)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.settimeout(30)
            connection.sendall(b"".join(HEAD + b"x-request-id: r%d\r\n\r\n" % number + BODY for number in range(50)))
            said = b""
            while said.count(b"HTTP/1.1 200") < 50 or not said.endswith(b"}"):
                said += connection.recv(65536)
            places = [said.index(b"x-request-id: r%d\r\n" % number) for number in range(50)]
            assert places == sorted(places)


def test_a_caller_that_does_not_take_its_answer_is_dropped(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    with serving(world, "--max-in-flight", "4") as server:
        routed(world, server)
        many = json.dumps({"dataframe_records": [ROW] * 10_000}).encode()
        head = HEAD.replace(b"%d" % len(BODY), b"%d" % len(many)) + b"\r\n"
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect(("127.0.0.1", server.port))
        with stuck:
            for _ in range(40):
                stuck.setblocking(True)
                stuck.settimeout(2)
                try:
                    stuck.sendall(head + many)
                except TimeoutError:
                    break
            assert server.ask().status_code == 200, "one caller does not stand in the way of another"


def make_certificate(folder: Path, name: str = "server") -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1, signed by itself, and its key."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_file.chmod(0o600)
    return cert_file, key_file


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.soak)])
def test_both_ports_speak_tls_and_nothing_older_than_1_2(tmp_path: Path, workers: str) -> None:
    world = World(tmp_path / "world")
    cert, key = make_certificate(tmp_path)
    with serving(world, "--tls-cert", str(cert), "--tls-key", str(key), "--workers", workers) as server:
        trusted = ssl.create_default_context(cafile=str(cert))
        digest = world.bundle()
        with httpx.Client(verify=trusted, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
            admin, data = (f"https://127.0.0.1:{port}" for port in (server.admin_port, server.port))
            routing = client.put(f"{admin}/admin/routing/toy", json={"sequence": 1, "champion": digest})
            assert routing.status_code == 200
            assert client.post(f"{data}/invocations", json={"dataframe_records": [ROW]}).status_code == 200
        for port in (server.port, server.admin_port):
            with socket.create_connection(("127.0.0.1", port)) as plain:
                assert b"200" not in asked(plain, b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning, match="deprecated"):
                old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            with socket.create_connection(("127.0.0.1", port)) as connection, pytest.raises(ssl.SSLError):
                old.wrap_socket(connection)


def test_a_certificate_that_cannot_be_used_ends_the_start_with_code_2(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    cert, key = make_certificate(tmp_path)
    other_cert, _ = make_certificate(tmp_path, "other")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    for more, said in (
        (("--tls-cert", cert), "go together"),
        (("--tls-cert", cert, "--tls-key", tmp_path / "none"), "No such file"),
        (("--tls-cert", rubbish, "--tls-key", key), "PEM"),
        (("--tls-cert", other_cert, "--tls-key", key), "is not the key of"),
    ):
        process = spawn(world.options(*map(str, more)))
        _, log = process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 2, log
        assert said in log


def test_sockets_can_be_inherited_and_callers_wait_in_them_while_the_server_restarts(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    digest = world.bundle()
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as data,
        socket.create_server(("127.0.0.1", 0)) as admin,
    ):
        ports = data.getsockname()[1], admin.getsockname()[1]
        for workers in ("1", "2"):
            process = _spawn_with(world.options(*PATIENT, "--workers", workers), data, admin)
            waiting = socket.create_connection(("127.0.0.1", ports[0]))  # before anybody accepts
            with waiting:
                server = Server(process)
                try:
                    assert (server.port, server.admin_port) == ports
                    assert server.route(1, digest).status_code == 200
                    assert asked(waiting, HEAD + b"\r\n" + BODY).startswith(b"HTTP/1.1 200")
                finally:
                    assert server.stop() == 0


def _spawn_with(options: list[str], data: socket.socket, admin: socket.socket) -> "subprocess.Popen[str]":
    """Start a server as systemd does: descriptors 3 and 4, told by the environment."""
    launcher = (
        "import fcntl, os, sys; "
        "data, admin = (fcntl.fcntl(int(each), fcntl.F_DUPFD, 50) for each in sys.argv[1:3]); "
        "os.dup2(data, 3); os.dup2(admin, 4); "
        "os.environ.update(LISTEN_FDS='2', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='data:admin'); "
        "os.execv(sys.executable, [sys.executable, '-m', 'lockgate.serving', *sys.argv[3:]])"
    )
    from tests.server_process import SOURCE

    return subprocess.Popen(
        [sys.executable, "-c", launcher, str(data.fileno()), str(admin.fileno()), *options],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        pass_fds=(data.fileno(), admin.fileno()),
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_request_sent_while_the_server_stops_is_answered_as_the_last_of_its_connection(tmp_path: Path) -> None:
    for number in range(5):  # a caller that this machine kept waiting was too late to say anything
        if _asked_while_it_stops(World(tmp_path / f"world-{number}")):
            return
    raise AssertionError(f"in five times this machine let nobody ask within {GRACE_S} s")


def _asked_while_it_stops(world: World) -> bool:
    """Ask on an idle connection while another one is being answered; return whether that was still in time."""
    with serving(world, *PATIENT) as server:
        routed(world, server)
        with (
            socket.create_connection(("127.0.0.1", server.port)) as idle,
            socket.create_connection(("127.0.0.1", server.port)) as busy,
        ):
            for each in (idle, busy):
                assert asked(each, HEAD + b"\r\n" + BODY).startswith(b"HTTP/1.1 200")
            busy.sendall(HEAD + b"\r\n" + BODY[:20])
            until(lambda: server.metric("lockgate_in_flight") == 1)
            told_at = time.monotonic()
            server.process.terminate()
            until(lambda: not server.accepts())
            said, in_time = b"", False
            with contextlib.suppress(ConnectionError):
                idle.sendall(HEAD + b"\r\n" + BODY)  # it could not know yet
                in_time = time.monotonic() - told_at < GRACE_S
            with contextlib.suppress(ConnectionError):
                said = asked(idle, b"")
            assert asked(busy, BODY[20:]).startswith(b"HTTP/1.1 200")
        assert server.process.wait(ENDS_WITHIN_S) == 0
    if said or in_time:
        assert said.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in said
    return bool(said)


def test_a_server_that_uses_too_much_memory_is_not_ready_and_ends_with_code_1(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    with serving(world) as empty:
        used_mb = metric(empty, "process_resident_memory_bytes")[""] / 1e6
    with serving(world, "--max-memory-mb", str(int(used_mb) + 10)) as server:
        assert server.client.get("/v2/health/ready").status_code == 200
        routed(world, server)
        ready = server.client.get("/v2/health/ready")
        assert ready.status_code == 503
        assert "memory" in ready.text
        assert server.process.wait(ENDS_WITHIN_S) == 1


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.soak), "2"])
def test_a_renewed_certificate_is_taken_up_without_a_restart(tmp_path: Path, workers: str) -> None:
    world = World(tmp_path / "world")
    cert, key = make_certificate(tmp_path)
    other_cert, other_key = make_certificate(tmp_path, "other")
    with serving(world, "--tls-cert", str(cert), "--tls-key", str(key), "--workers", workers) as server:
        ports = [server.port] * 8 + [server.admin_port]
        first = {_certificate(port) for port in ports}
        cert.write_bytes(b"rubbish")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: any("certificate in use stays" in line["message"] for line in server.lines))
        assert {_certificate(port) for port in ports} == first
        cert.write_bytes(other_cert.read_bytes())
        key.write_bytes(other_key.read_bytes())
        server.process.send_signal(signal.SIGHUP)
        wanted = {ssl.PEM_cert_to_DER_cert(other_cert.read_text())}
        until(lambda: {_certificate(port) for port in ports} == wanted)


def _certificate(port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as connection:
        return connection.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.soak), "2"])
def test_callers_that_never_shake_hands_are_bounded_and_keep_honest_ones_out_for_no_longer_than_a_second(
    tmp_path: Path, workers: str
) -> None:
    world = World(tmp_path / "world")
    cert, key = make_certificate(tmp_path)
    limits = ("--max-connections", "20", "--header-timeout-s", "60", "--workers", workers)
    with (
        serving(world, "--tls-cert", str(cert), "--tls-key", str(key), *limits) as server,
        contextlib.ExitStack() as opened,
    ):
        trusted = ssl.create_default_context(cafile=str(cert))

        def ask() -> int:
            with httpx.Client(verify=trusted, timeout=30) as client:
                return client.get(f"https://127.0.0.1:{server.port}/v2/health/live").status_code

        processes = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children()]
        before = sum(each.num_fds() for each in processes)
        for _ in range(200):
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        answered, end = 0, time.monotonic() + 60
        while answered < 5:  # those who are silent for a second give way, one for each
            assert time.monotonic() < end
            try:
                answered += ask() == 200
            except httpx.TransportError:
                time.sleep(0.1)
        assert sum(each.num_fds() for each in processes) <= before + 20 * len(processes)


def test_a_caller_that_closes_its_half_of_a_connection_gets_every_answer_in_order(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    with serving(world) as server:
        routed(world, server)
        whole = HEAD + b"\r\n" + BODY
        for sent, statuses in (
            (whole, [b"200"]),
            (whole * 3, [b"200"] * 3),
            (whole * 3 + b"\x01 this is no request\r\n\r\n", [b"200", b"200", b"200", b"400"]),
            (whole * 2 + whole[:-1], [b"200", b"200", b"400"]),
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                said = b"".join(iter(lambda taken=connection: taken.recv(65536), b""))  # type: ignore[misc]
            assert re.findall(rb"HTTP/1.1 (\d+)", said) == statuses


def test_requests_that_come_faster_than_they_are_answered_do_not_pile_up(tmp_path: Path) -> None:
    request = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with serving(World(tmp_path / "world")) as server, socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", server.port))
        caller.settimeout(1)
        before = psutil.Process(server.process.pid).memory_info().rss
        sent = 0
        with contextlib.suppress(TimeoutError):  # it never reads, and so is not read from either
            while sent < 40_000_000:
                caller.sendall(request * 20_000)
                sent += 20_000 * len(request)
        assert sent < 40_000_000
        assert psutil.Process(server.process.pid).memory_info().rss < before + 100_000_000
