"""Clients that others wrote, each in an environment of its own, ask a real server; their answers are the golden ones.

An environment is made once from the exact pins in `tests/clients/` and kept in the user's cache folder. Where it cannot
be made (no package index in reach, a Python that the client does not have), its tests are skipped and say why.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lockgate.core.contract import TaskKind
from tests.bundles import golden
from tests.server_process import TOKEN, Server, World, serving

pytestmark = [pytest.mark.integration, pytest.mark.foreign_client, pytest.mark.timeout(900)]

CLIENTS = Path(__file__).parents[1] / "clients"
FAILURES = "lockgate_failures_total"
ARROW = "application/vnd.apache.arrow.stream"
ROWS: list[dict[str, Any]] = [
    {"amount": 12.5, "age": 41, "colour": "red", "shape": "disc"},
    {"amount": None, "age": 30, "colour": "green", "shape": "cube"},
    {"amount": 0.5, "age": 1, "colour": "ünseen", "shape": "disc"},
    {"amount": 99, "age": 77, "colour": "blue", "shape": "cube"},
]
WITH_NULLS = [*ROWS, {"amount": 3, "age": 5, "colour": None, "shape": "disc"}]


def kept_in() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockgate" / "test-clients"


def install(pins: Path, folder: Path) -> None:
    """Make an environment of these pins; a folder that is half made is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, "-r", str(pins)]):
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        except subprocess.SubprocessError as failed:
            why = str(getattr(failed, "stderr", None) or failed)[-400:]
            pytest.skip(f"{pins.name} cannot be installed on Python {sys.version.split()[0]}: {why}")
    (folder / "made").touch()


@pytest.fixture(scope="session")
def environment() -> Callable[[str], Path]:
    """Return the Python of a client's environment, by the client's name."""

    def of(name: str) -> Path:
        pins = CLIENTS / f"{name}.txt"
        key = hashlib.sha256(pins.read_bytes() + sys.version.encode() + sys.platform.encode()).hexdigest()[:16]
        folder = kept_in() / f"{name}-{key}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f"{name}-{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "made").exists():
                install(pins, folder)
        return folder / "bin" / "python"

    return of


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("foreign") / "world")


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        assert running.route(1, world.bundle()).status_code == 200
        yield running


@pytest.fixture(scope="module")
def digest(server: Server) -> str:
    found: str = server.admin.get("/admin/routing/toy").json()["champion"]
    return found


def run(python: Path | str, program: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Run a client's program; return what it said."""
    command = [str(python), str(CLIENTS / program)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def agrees(answer: dict[str, Any], rows: list[dict[str, Any]], bias: float = 0.0) -> bool:
    """Tell whether an answer has the golden probability and label of every row."""
    wanted = [golden(row, bias)[0] for row in rows]
    labels = [("no", "yes")[each >= 0.5] for each in wanted]
    np.testing.assert_allclose(np.ravel(answer["probability"]), wanted, rtol=1e-5)
    return bool(np.ravel(answer.get("label", labels)).tolist() == labels)


def asked_of(server: Server, digest: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"url": f"http://127.0.0.1:{server.port}", "model": "toy", "rows": rows, "digest": digest, "token": TOKEN}


def test_tritonclient(server: Server, digest: str, environment: Callable[[str], Path]) -> None:
    said = run(environment("tritonclient"), "ask_with_tritonclient.py", asked_of(server, digest, ROWS))
    assert [said[name] for name in ("live", "ready", "model ready", "version ready")] == [True] * 4
    assert said["other model ready"] is False
    assert said["server"]["extensions"] == ["binary_tensor_data"]
    assert (said["model"]["name"], said["model"]["versions"]) == ("toy", [digest])
    answers = {name: each for name, each in said.items() if isinstance(each, dict) and "probability" in each}
    assert len(answers) == 37
    for name, answer in answers.items():
        rows = [{**row, "age": 1} for row in ROWS] if name == "true is one" else ROWS[: 1 if "one" in name else None]
        assert agrees(answer, rows), name
        assert (answer["id"], answer["version"]) == ("mine", digest)
    for inputs in (True, False):
        assert said[f"columns {inputs} float64 int64"]["binary"] == ["label", "probability"]
        assert said[f"binary outputs {inputs}"]["binary"] == ["label", "probability"]
        assert said[f"mixed outputs {inputs}"]["binary"] == ["label"]
        assert said[f"json outputs {inputs}"]["binary"] == []
        assert "label" not in said[f"json outputs {inputs}"]
    for name, status, words in (
        ("no such model", "404", "no model 'other'"),
        ("no token", "401", "admin token"),
        ("no such output", "400", "output 'other'"),
        ("compressed and refused", "400", "is missing"),
        ("wrong type", "400", "input 'age': datatype BYTES"),
        ("missing column", "400", "column 'amount' is missing"),
        ("unequal", "400", "column 'age' has 1 values"),
        ("no binary fractions", "400", "input 'amount': datatype BYTES"),
    ):
        assert said[name]["status"] == status
        assert words in said[name]["message"]


@pytest.mark.soak  # its environment takes a minute to install
def test_kserves_rest_client(server: Server, digest: str, environment: Callable[[str], Path]) -> None:
    said = run(environment("kserve"), "ask_with_kserve.py", asked_of(server, digest, ROWS))
    assert [said[name] for name in ("live", "ready", "model ready", "other model ready")] == [True, True, True, False]
    answers = {name: each for name, each in said.items() if isinstance(each, dict) and "probability" in each}
    assert len(answers) == 10
    for name, answer in answers.items():
        assert agrees(answer, ROWS), name
        assert answer["id"] == "mine"
    assert (said["no inputs"]["status"], said["no such model"]["status"]) == ("400", "404")
    assert "column 'colour' is missing" in said["missing column"]["message"]


@pytest.mark.soak  # its environment takes a minute to install
def test_kserves_rest_client_with_null_strings(server: Server, digest: str, environment: Callable[[str], Path]) -> None:
    asked = asked_of(server, digest, WITH_NULLS)
    said = run(environment("kserve"), "ask_with_kserve.py", asked | {"only": ["lists"]})
    assert agrees(said["lists"], WITH_NULLS)


@pytest.mark.soak  # its environment takes a minute to install
def test_mlservers_types_and_codecs(server: Server, digest: str, environment: Callable[[str], Path]) -> None:
    said = run(environment("mlserver"), "ask_with_mlserver.py", asked_of(server, digest, WITH_NULLS))
    assert said["server"]["name"] == "lockgate-sandbox"
    assert [each["name"] for each in said["model"]["inputs"]] == ["amount", "colour", "age", "shape"]
    whole = [row for row in WITH_NULLS if None not in row.values()]
    coloured = [row for row in WITH_NULLS if row["colour"] is not None]
    for name, rows in {
        "whole frame": whole, "null numbers": coloured, "json texts": WITH_NULLS, "rows": whole,
        "codecs float64": WITH_NULLS, "codecs float32": WITH_NULLS,
    }.items():  # fmt: skip
        assert agrees(said[name], rows), name
        assert said[name]["version"] == digest
    assert said["codecs float64"]["id"] == "mine"
    assert "probability" not in said["selected"]
    assert (said["wrong name"]["status"], said["no integer"]["status"]) == ("400", "400")
    assert "column 'age' is missing" in said["wrong name"]["message"]
    assert "input 'age', row 0: not an integer" in said["no integer"]["message"]


def test_mlflows_scoring_client(server: Server, digest: str) -> None:
    said = run(sys.executable, "ask_with_mlflow.py", asked_of(server, digest, WITH_NULLS))
    for name in ("frame", "indexed frame", "records", "strings", "instances", "columns", "params"):
        assert agrees(said[name], WITH_NULLS), name
        assert said[name]["flags"] == [{"flag": "unknown_category", "column": "colour", "rows": [2]}]
    assert agrees(said["one row"], WITH_NULLS[:1])
    assert said["params"]["ignored_params"] == ["temperature"]
    for name, words in (
        ("unnamed", "inputs[0] must be an object"),
        ("missing column", "column 'age' is missing"),
        ("two forms", "exactly one of"),
    ):
        assert "error code 400" in said[name]
        assert words in said[name]


# -- schemathesis: makes requests out of the API document and holds every answer against it ----------------------------


def probe(server: Server, python: Path, folder: Path, examples: int) -> str:
    """Let schemathesis ask every path so many times; return what it said."""
    shutil.copy(CLIENTS / "schemathesis.toml", folder)
    command = [
        *(str(python.with_name("st")), "run", f"http://127.0.0.1:{server.port}/openapi.json", "--no-color"),
        *("--max-examples", str(examples), "--header", f"Authorization: Bearer {TOKEN}", "--seed", "5"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def served_without_failure(server: Server) -> bool:
    """Tell whether the server lives, and never failed to answer."""
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return [sample.value for each in families for sample in each.samples if sample.name == FAILURES] == [0]


@pytest.mark.soak  # as above
def test_schemathesis(server: Server, environment: Callable[[str], Path], tmp_path: Path) -> None:
    said = probe(server, environment("schemathesis"), tmp_path, 20)
    paths = server.client.get("/openapi.json").json()["paths"].values()
    assert f"Tested: {sum(map(len, paths)) - 1}" in said  # all but the document, which it reads them from
    assert served_without_failure(server)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_schemathesis_at_length(server: Server, environment: Callable[[str], Path], tmp_path: Path) -> None:
    probe(server, environment("schemathesis"), tmp_path, 500)
    assert served_without_failure(server)


# -- Arrow: pyarrow is at home here ------------------------------------------------------------------------------------


def stream(*batches: pa.RecordBatch, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def arrow_table(answer: httpx.Response) -> pa.Table:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == ARROW
    with pa.ipc.open_stream(answer.content) as reader:
        return reader.read_all()


def post_arrow(server: Server, path: str, body: bytes, **headers: str) -> httpx.Response:
    return server.client.post(path, content=body, headers={"content-type": ARROW, **headers})


@pytest.mark.parametrize("path", ["/v2/models/toy/infer", "/invocations"])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_pyarrow_sends_batches_and_gets_a_table(
    server: Server, digest: str, path: str, compression: str | None
) -> None:
    batch = pa.RecordBatch.from_pylist(WITH_NULLS)
    coded = batch.set_column(2, "colour", batch["colour"].dictionary_encode())
    for sent in (batch, coded, batch.slice(0, 1)):
        answer = post_arrow(server, path, stream(sent, compression=compression))
        table = arrow_table(answer)
        assert agrees(table.to_pydict(), WITH_NULLS[: len(sent)])
        said = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
        assert (said["model"], said["release_digest"], said["arm"]) == ("toy", digest, "champion")
        assert said["prediction_id"] == answer.headers["x-lockgate-prediction-id"]
    several = arrow_table(post_arrow(server, path, stream(batch.slice(0, 2), batch.slice(2), compression=compression)))
    assert agrees(several.to_pydict(), WITH_NULLS)
    assert json.loads(several.schema.metadata[b"flags"]) == [
        {"flag": "unknown_category", "column": "colour", "rows": [2]}
    ]


def test_arrow_is_answered_with_json_where_json_is_accepted(server: Server) -> None:
    body = stream(pa.RecordBatch.from_pylist(WITH_NULLS))
    v2 = post_arrow(server, "/v2/models/toy/infer", body, accept="application/json").json()
    assert agrees({each["name"]: each["data"] for each in v2["outputs"]}, WITH_NULLS)
    rows = post_arrow(server, "/invocations", body, accept="application/json").json()["predictions"]
    assert agrees({name: [row[name] for row in rows] for name in rows[0]}, WITH_NULLS)


def test_arrow_that_does_not_fit_is_refused(server: Server) -> None:
    fits = pa.RecordBatch.from_pylist(WITH_NULLS)
    bomb = stream(pa.record_batch({"amount": np.zeros(10_000_000)}), compression="zstd")
    for body, status, said in (
        (b"", 400, "not an Arrow stream"),
        (stream(fits)[:-200], 400, "not an Arrow stream"),
        (bomb, 413, "10000000 rows, at most 10000"),
        (stream(fits.drop_columns("age")), 400, "column 'age' is missing"),
        (stream(fits.append_column("more", fits["age"])), 400, "column 'more' is not an input"),
        (stream(fits.set_column(1, "age", fits["shape"])), 400, "column 'age'"),
        (stream(fits.set_column(2, "colour", fits["age"])), 400, "column 'colour'"),
        (stream(fits.set_column(1, "age", pa.array([None] * 5, pa.int32()))), 400, "column 'age', row 0: null"),
        (stream(fits.slice(0, 0)), 400, "no rows"),
    ):
        for path in ("/v2/models/toy/infer", "/invocations"):
            answer = post_arrow(server, path, body)
            assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text


def test_all_tasks_have_arrow_outputs(world: World, server: Server) -> None:
    for task in (TaskKind.MULTICLASS, TaskKind.REGRESSION):
        digest = world.bundle(task=task, model=f"toy-{task}")
        assert server.route(1, digest, model=f"toy-{task}").status_code == 200
        body = stream(pa.RecordBatch.from_pylist(WITH_NULLS))
        table = arrow_table(post_arrow(server, f"/v2/models/toy-{task}/infer", body)).to_pydict()
        wanted = [golden(row, task=task) for row in WITH_NULLS]
        found = table["probabilities" if task is TaskKind.MULTICLASS else "value"]
        np.testing.assert_allclose(np.reshape(found, (len(wanted), -1)), wanted, rtol=1e-4)
        assert all(math.isfinite(each) for each in np.ravel(found))
