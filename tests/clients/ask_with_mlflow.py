"""Asks a server with MLflow's ScoringServerClient; says on stdout what it got, as JSON."""

from __future__ import annotations

import json
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

ASKED = json.load(sys.stdin)
ROWS, URL = ASKED["rows"], urllib.parse.urlsplit(ASKED["url"])
FRAME = pd.DataFrame(ROWS)
client = ScoringServerClient(URL.hostname, URL.port)


def ask(data: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = client.invoke(data, params)
    frame = answer.get_predictions()
    return {**frame.to_dict("list"), **{name: said for name, said in answer.items() if name != "predictions"}}


def refused(ask_wrongly: Callable[[], Any]) -> str:
    try:
        ask_wrongly()
    except Exception as error:  # noqa: BLE001 - the client raises nothing more particular
        return str(error)
    raise AssertionError("the server took it")


def cases() -> Iterator[tuple[str, Any]]:
    client.wait_server_ready(timeout=10)
    yield "version", client.get_version()
    yield "frame", ask(FRAME)
    yield "indexed frame", ask(FRAME.set_index(pd.Index([f"r{number}" for number in range(len(FRAME))])))
    yield "one row", ask(FRAME[:1])
    yield "records", ask(ROWS)
    yield "strings", ask(json.dumps({"dataframe_records": ROWS}))
    yield "instances", ask(json.dumps({"instances": ROWS}))
    yield "columns", ask(json.dumps({"inputs": {name: [row[name] for row in ROWS] for name in ROWS[0]}}))
    yield "params", ask(FRAME, {"temperature": 0.5})
    yield "unnamed", refused(lambda: ask(FRAME.to_numpy()))
    yield "missing column", refused(lambda: ask(FRAME.drop(columns="age")))
    yield "two forms", refused(lambda: ask(json.dumps({"inputs": ROWS, "instances": ROWS})))


json.dump(dict(cases()), sys.stdout)
