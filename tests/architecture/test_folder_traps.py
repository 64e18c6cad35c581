"""The required folders carry names of installed packages; each trap that follows is held by a test."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FLOW_FILES = sorted((ROOT / "flows").glob("*.py"))


def test_the_installed_great_expectations_is_imported_and_not_the_folder() -> None:
    import great_expectations

    assert great_expectations.__version__
    assert not Path(str(great_expectations.__file__)).is_relative_to(ROOT / "great_expectations")


def test_the_great_expectations_folder_holds_data_only() -> None:
    assert [path for path in (ROOT / "great_expectations").rglob("*.py") if "uncommitted" not in path.parts] == []


@pytest.mark.parametrize("flow_file", FLOW_FILES, ids=lambda path: path.stem)
def test_no_flow_file_is_named_like_a_module(flow_file: Path) -> None:
    # Prefect puts flows/ first on the path: flows/onnx.py would answer to `import onnx`.
    assert flow_file.stem not in sys.stdlib_module_names
    found = importlib.util.find_spec(flow_file.stem)
    assert found is None or Path(str(found.origin)).parent == ROOT / "flows"


@pytest.mark.parametrize("folder", ["flows", "tasks"])
def test_no_type_is_defined_in_flows_or_tasks(folder: str) -> None:
    # Prefect loads a flow file as a second module of another name, so a type defined there is two types.
    offenders = [p.name for p in (ROOT / folder).glob("*.py") if re.search(r"^class ", p.read_text(), re.MULTILINE)]
    assert offenders == []


def _deployments() -> list[dict[str, object]]:
    loaded = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    return list(loaded["deployments"])


@pytest.mark.parametrize("deployment", _deployments(), ids=lambda each: str(each["name"]))
def test_every_deployment_names_a_flow_that_loads_and_takes_its_parameters(deployment: dict[str, object]) -> None:
    from prefect.flows import load_flow_from_entrypoint

    # A broken import would be hidden behind a placeholder; ask for the real one.
    flow = load_flow_from_entrypoint(str(deployment["entrypoint"]), use_placeholder_flow=False)
    accepted = set(inspect.signature(flow.fn).parameters)
    given = dict(deployment.get("parameters", {}))  # type: ignore[call-overload]  # YAML has no types
    for extra in (*deployment.get("schedules", []), *deployment.get("triggers", [])):  # type: ignore[misc]  # the same
        given |= extra.get("parameters", {})
    assert set(given) <= accepted


def test_every_spec_has_its_deployment() -> None:
    named = {each["name"] for each in _deployments() if "release_model" in str(each["entrypoint"])}
    assert {path.stem for path in (ROOT / "deployments").glob("*.yaml")} == named


def test_a_flow_stays_a_story_of_at_most_120_lines() -> None:
    assert {p.name: n for p in FLOW_FILES if (n := len(p.read_text().splitlines())) > 120} == {}


def test_importing_the_flows_loads_no_heavy_library() -> None:
    # Heavy imports belong inside tasks: every run and every resume pays for what a flow file imports.
    heavy = ["mlflow", "sklearn", "xgboost", "great_expectations", "pandas", "onnx", "onnxruntime", "matplotlib"]
    program = (
        "import sys; sys.path[:0] = ['src', '.'];"
        "import flows.release_model, flows.roll_out_model, flows.reap_releases;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_no_file_names_a_package_index_or_a_path_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    offenders = []
    for name in listed:
        path = ROOT / name
        if path.suffix in (".png", ".svg", ".parquet") or path == Path(__file__) or not path.is_file():
            continue
        text = path.read_text(errors="ignore")
        if re.search(r"--(extra-)?index-url|--find-links|files\.pythonhosted", text) or str(ROOT) + "/" in text:
            offenders.append(name)
    assert offenders == []
