"""wrk in a closed loop: prepared requests in turns over a fixed number of connections, one thread, on one core."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.forms import Call
from benchmarks.serving.processes import CLIENT_CPU, Unusable

CONNECTIONS = 32
_SCRIPT = """
local requests = dofile("%(requests)s")
local count, at = #requests, 0
request = function()
   at = at %% count + 1
   return requests[at]
end
done = function(summary, latency, requests)
   io.write(string.format(
      '\\n@{"requests":%%d,"duration_us":%%d,"connect":%%d,"read":%%d,"write":%%d,"status":%%d,"timeout":%%d,' ..
      '"p50_us":%%d,"p99_us":%%d}\\n',
      summary.requests, summary.duration, summary.errors.connect, summary.errors.read, summary.errors.write,
      summary.errors.status, summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


class Wrong(Exception):
    """An answer that voids a figure."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw.

    Attributes:
        requests: Answers that came whole.
        seconds: How long it ran.
        failed: Answers that were neither 2xx nor 3xx, and connections, reads, writes and waits that failed.
        p50_s: Of the closed loop: it says how long the queue of its own making is, not how fast the server is.
        p99_s: Likewise.
    """

    requests: int
    seconds: float
    failed: int
    p50_s: float
    p99_s: float

    def check(self) -> None:
        """Refuse a run in which a request failed.

        Raises:
            Wrong: Says how many.
        """
        if self.failed or not self.requests:
            raise Wrong(f"{self.failed} requests failed under load, {self.requests} were answered")


def write_script(folder: Path, calls: Sequence[tuple[Call, str | None]], port: int) -> Path:
    """Write the requests and the script that sends them; return the script.

    Args:
        folder: Where.
        calls: Each with the entity it is for, if it names one.
        port: Of the server.
    """
    requests = folder / "requests.lua"
    listed = ",\n".join(_quoted(raw_request(call, entity, port)) for call, entity in calls)
    requests.write_bytes(b"return {\n" + listed.encode("ascii") + b"\n}\n")
    script = folder / "script.lua"
    script.write_text(_SCRIPT % {"requests": requests})
    return script


def raw_request(call: Call, entity: str | None, port: int) -> bytes:
    """Return the bytes of a request; keep-alive is HTTP/1.1's default."""
    headers = {"host": f"127.0.0.1:{port}", **call.headers, "content-length": str(len(call.body))}
    if entity is not None:
        headers["x-lockgate-entity"] = entity
    head = f"POST {call.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + call.body


def _quoted(data: bytes) -> str:
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03d}" for b in data) + '"'


def run(script: Path, port: int, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Send requests for some whole seconds.

    Raises:
        Unusable: wrk did not run.
    """
    whole = max(1, round(seconds))
    command = ["taskset", "-c", str(CLIENT_CPU), "wrk", "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "10s"]
    done = subprocess.run(
        [*command, "-s", str(script), f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        timeout=whole + 60,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("@")]
    if done.returncode or not lines:
        raise Unusable(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    found = json.loads(lines[-1][1:])
    return Load(
        requests=found["requests"],
        seconds=found["duration_us"] / 1e6,
        failed=sum(found[name] for name in ("connect", "read", "write", "status", "timeout")),
        p50_s=found["p50_us"] / 1e6,
        p99_s=found["p99_us"] / 1e6,
    )
