"""A project of the tests' own: the checkout's program, and small models whose whole line takes seconds.

The program is copied, so that a file that is edited while tests run voids no release of theirs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("src", "flows", "tasks", "deployments/environments", "great_expectations")
PER_DAY = 100
FIRST_DAYS = 40  # 14 to train on, 5 to validate, 21 to judge by: the least that intervals over days allow

HUMAN: dict[str, Any] = {"mode": "human"}
POLICY: dict[str, Any] = {"mode": "when_all_pass"}
APPROVALS = {
    "toy": HUMAN,
    "toy-waits": HUMAN,
    "toy-late": {"mode": "human", "timeout_s": 3, "remind_before_s": 1},
    "toy-retry": POLICY,
    "toy-crash": POLICY,
    "toy-form": HUMAN,
    "toy-press": POLICY,
    "toy-killed": POLICY,
    "toy-several": POLICY,
}
"""Each model has a ledger chain of its own, so that tests of one stack do not meet."""


ROLLOUTS: dict[str, dict[str, Any]] = {
    "toy": {
        "strategy": "canary",
        "steps": [{"shadow": 1.0, "bake_s": 2}, {"set_weight": 0.5, "bake_s": 5}],
        "guardrails": {"latency": None},
        "plan": {"margin": 0.35, "looks": [1.0], "harm": 0.9},
        "look_s": 1,
        "max_duration_s": 90,
    },
    "toy-killed": {
        "strategy": "canary",
        "steps": [{"set_weight": 0.5, "bake_s": 20}],
        "guardrails": {"latency": None},
        "plan": {"margin": 0.35, "looks": [1.0], "harm": 0.9},
        "look_s": 1,
        "max_duration_s": 300,
    },
    "toy-several": {
        "strategy": "a_b",
        "challengers": 2,
        "steps": [{"set_weight": 0.6, "bake_s": 12}],
        "guardrails": {"latency": None},
        "plan": {"metric": "errors", "margin": 0.35, "looks": [1.0], "harm": 0.9},
        "look_s": 1,
        "max_duration_s": 240,
    },
}
"""How a challenger takes over, where not at once; the traffic is what a test asks, some ten requests a second."""

WATCHED = ("toy",)
"""Their monitor has a deployment whose schedule a test sets; a message or harm starts a release without new rows."""
NEVER = {"interval": 86_400.0, "slug": "look", "active": False}


def make_project(folder: Path) -> Path:
    """Copy the program and write the models' specs, suites and deployments."""
    ignored = shutil.ignore_patterns("__pycache__", "flight-*.json", "uncommitted", "plugins", "*.egg-info")
    for name in FOLDERS:
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
    shutil.copy(CHECKOUT / "requirements.lock", folder)
    for model, approval in APPROVALS.items():
        (folder / "deployments" / f"{model}.yaml").write_text(yaml.safe_dump(spec(model, approval)))
    (folder / "great_expectations" / "expectations" / "toy.json").write_text(json.dumps(suite()))
    (folder / "prefect.yaml").write_text(yaml.safe_dump(deployments()))
    return folder


def spec(model: str, approval: dict[str, Any]) -> dict[str, Any]:
    """Return a spec whose gates ask little of speed: how fast this machine is, is not under test here."""
    slow = {"p95_ms": 5000, "p99_ms": 5000, "champion_ratio": 1000, "generator_floor_fraction": 1.0}
    # Shorter, server and generators no longer count the same requests on a crowded machine: each reads its count
    # at the edges of the steady half, and 0.1 s of lateness there is as much as the gate allows them to differ by.
    short = {"duration_s": 8, "requests_min": 20, "achieved_fraction": 0.1, **slow}
    return {
        "model": {"name": model, "description": "Will it be yes?"},
        "task": {"kind": "binary", "classes": ["no", "yes"]},
        "data": {
            "suite": "toy",
            "key": ["id"],
            "time": "t",
            "label": "y",
            "numeric": ["a", "b"],
            "categorical": ["c"],
        },
        "split": {"validation_days": 5, "holdout_days": 21},
        "training": {
            "family": "xgboost",
            "parameters": {"n_estimators": 30, "max_depth": 2, "learning_rate": 0.2, "min_child_weight": 20},
            "early_stopping_rounds": 10,
        },
        # Whether one fit is as good as another is judged elsewhere; here every release must get through.
        "gates": {"stress": short, "infra": {"tries": 1}, "champion": {"margin_fraction": 0.5}},
        "approval": approval,
        "rollout": ROLLOUTS.get(model, {}),
        "retraining": {"min_new_rows": 0} if model in WATCHED else {},
    }


def suite() -> dict[str, Any]:
    """Return the least suite the gate takes."""
    columns = ["id", "t", "a", "b", "c", "y"]
    return {
        "name": "toy",
        "expectations": [
            _expect("expect_table_row_count_to_be_between", min_value=100),
            _expect("expect_table_columns_to_match_set", column_set=columns, exact_match=False),
            _expect("expect_column_values_to_not_be_null", column="id"),
        ],
    }


def _expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "meta": {}, "severity": "critical"}


def deployments() -> dict[str, Any]:
    """Return the checkout's own deployments, with ours in the place of a model's."""
    content = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())
    shipped = content["deployments"]
    of_a_model = (":release_model", ":monitor_model")
    ours = [each for each in shipped if not each["entrypoint"].endswith(of_a_model)]
    for suffix, models in zip(of_a_model, (APPROVALS, WATCHED), strict=True):
        pattern = json.dumps(next(each for each in shipped if each["entrypoint"].endswith(suffix)))
        ours += [json.loads(pattern.replace("flight-delays", model)) for model in models]
    for each in ours:
        if each["entrypoint"].endswith(":monitor_model"):
            each["schedules"] = [dict(NEVER)]
    return {**content, "deployments": ours}


def rows(first_day: int, days: int) -> pd.DataFrame:
    """Return labelled rows of some days, counted from the first of 2024; the same every time."""
    draw = np.random.default_rng(first_day)
    n = days * PER_DAY
    a, b = draw.normal(size=n), draw.normal(size=n)
    start = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=first_day)
    return pd.DataFrame(
        {
            "id": [f"{first_day}-{number}" for number in range(n)],
            "t": start + pd.to_timedelta(np.arange(n) * (86_400 // PER_DAY), unit="s"),
            "a": a,
            "b": np.where(draw.random(n) < 0.1, np.nan, b),
            "c": draw.choice(["x", "y", "z"], size=n),
            "y": np.where(a + b + 1.5 * draw.normal(size=n) > 0, "yes", "no"),
        }
    )
