"""A history of the tests' own: four batches of a small model's data, for a replay that takes minutes."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.e2e import toy_project

MODEL = "toy-months"
BATCHES = {"first": (0, 44), "second": (44, 14), "third": (58, 14), "fourth": (72, 14)}
"""Each batch's first day and number of days; the first holds what the split of a first release needs."""
MONTHS = [*BATCHES][1:]

SOURCE = f'''"""Rows of a batch, made by a seed."""

import numpy as np
import pandas as pd

BATCHES = {BATCHES!r}
PER_DAY = {toy_project.PER_DAY}


{inspect.getsource(toy_project.rows)}

def write_batch(batch, path):
    rows(*BATCHES[batch]).to_parquet(path, index=False)
'''


def make_history(folder: Path) -> Path:
    """Copy the program and write the one model's spec, suite, data source and deployments."""
    ignored = shutil.ignore_patterns("__pycache__", "flight-*.json", "uncommitted", "plugins", "*.egg-info")
    for name in toy_project.FOLDERS:
        shutil.copytree(toy_project.CHECKOUT / name, folder / name, ignore=ignored)
    shutil.copy(toy_project.CHECKOUT / "requirements.lock", folder)
    (folder / "deployments" / "months").mkdir()
    (folder / "deployments" / "months" / "source.py").write_text(SOURCE)
    (folder / "deployments" / f"{MODEL}.yaml").write_text(yaml.safe_dump(spec()))
    (folder / "great_expectations" / "expectations" / "toy.json").write_text(json.dumps(toy_project.suite()))
    (folder / "prefect.yaml").write_text(yaml.safe_dump(_deployments()))
    return folder


def spec() -> dict[str, Any]:
    """Return the toy's spec with a history, rolled out in steps that a replay's clients fill."""
    given = toy_project.spec(MODEL, toy_project.HUMAN)
    given["data"] |= {"sample": "deployments.months.source:write_batch", "sample_batches": [*BATCHES]}
    given["data"] |= {"label_delay_s": 3600}
    given["rollout"] = toy_project.ROLLOUTS["toy"]
    return given


def _deployments() -> dict[str, Any]:
    """Return the checkout's own deployments with this model in the place of one of theirs; nothing watches it."""
    shipped = yaml.safe_load((toy_project.CHECKOUT / "prefect.yaml").read_text())
    each = shipped["deployments"]
    kept = [one for one in each if not one["entrypoint"].endswith((":release_model", ":monitor_model"))]
    pattern = json.dumps(next(one for one in each if one["name"] == "flight-delays"))
    return {**shipped, "deployments": [*kept, json.loads(pattern.replace("flight-delays", MODEL))]}
