"""The model's expectation suite, run by Great Expectations behind a strict gate.

The library fails open, in ways that were all seen on this version: an expectation whose type it does not know is
logged and dropped when the suite is loaded; one that raises is "not met" at whatever severity it has; an empty frame
meets everything but a row count. So this module compares what is on disk with what was loaded and with what was
evaluated, and reports raised exceptions as such.

It works on a copy of the context, because the library writes into its folder whenever it is opened. Importing it takes
seconds; it is imported once a process, here alone.
"""

from __future__ import annotations

import functools
import json
import logging
import tempfile
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lockgate.config import Settings
from lockgate.core.ids import Json, to_json
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, MeasurementError

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite
    from great_expectations.data_context.data_context.file_data_context import FileDataContext

_CONFIG = "great_expectations.yml"
_ROW_COUNTS = ("expect_table_row_count_to_be_between", "expect_table_row_count_to_equal")
_MOST_OBSERVED = 200
"""Characters of an observed value that are kept: evidence says what was wrong, and holds no rows."""


@dataclass(frozen=True, slots=True)
class GxValidator:
    """`ports.DataValidator` on Great Expectations' pandas engine.

    Attributes:
        settings: Says where the context is.
    """

    settings: Settings

    def validate(self, spec: ReleaseSpec, frames: Mapping[str, pd.DataFrame], docs: Path) -> Mapping[str, Json]:
        """Run the suite on each frame and build the Data Docs pages in `docs`.

        Returns:
            `suite`, `library` (its version), `expected` (expectations on disk), `row_count_expectations` (critical
            ones), `docs` (index page relative to the `docs` folder), and `frames`: by name `rows` and `results`, each
            with `id`, `type`, `column`, `severity`, `success`, `raised`, `observed`, `unexpected_fraction`.

        Raises:
            BadInput: There is no such suite, it is no suite, or it holds something the library drops.
            MeasurementError: The library broke on a frame as a whole.
        """
        document = _read_suite(self.settings.suites, spec.data.suite)
        on_disk: list[dict[str, Any]] = document["expectations"]
        gx = _library()
        with tempfile.TemporaryDirectory(prefix="lockgate-gx-") as folder:
            _write_context(self.settings.suites, document, Path(folder), docs)
            context = gx.get_context(mode="file", context_root_dir=folder)
            suite = _load_suite(context, spec.data.suite, on_disk)
            results: dict[str, list[dict[str, Json]]] = {}
            rows: dict[str, int] = {}
            for name in frames:  # one frame at a time: the next may be read only when it is asked for
                rows[name], results[name] = _run_whole(context, suite, name, frames)
            context.build_data_docs()
        index = docs / "index.html"
        return {
            "suite": spec.data.suite,
            "library": str(gx.__version__),
            "expected": len(on_disk),
            "row_count_expectations": sum(_is_row_count(e) for e in on_disk),
            "docs": index.name if index.is_file() else None,
            "frames": {name: {"rows": rows[name], "results": results[name]} for name in frames},
        }


def _read_suite(folder: Path, name: str) -> dict[str, Any]:
    """Return a suite as it stands on disk, with an id for whatever a person wrote without one.

    The ids are the same each time, so that results of two releases can be laid side by side.
    """
    path = folder / "expectations" / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
        raise BadInput(f"there is no suite {name!r} in {path.parent}; suites there: {there}", suite=name)
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        expectations = [
            {**each, "id": each.get("id") or _id(name, f"{place}/{each['type']}")}
            for place, each in enumerate(document["expectations"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as broken:
        raise BadInput(f"{path} is no suite: {broken!r}; see great_expectations/expectations", suite=name) from broken
    if not expectations or len({each["id"] for each in expectations}) != len(expectations):
        raise BadInput(f"{path} holds {len(expectations)} expectations; at least one, each id once", suite=name)
    return {
        "meta": {},
        **document,
        "id": document.get("id") or _id(name, ""),
        "name": name,
        "expectations": expectations,
    }


def _id(suite: str, what: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"lockgate/{suite}/{what}"))


def _is_row_count(expectation: Mapping[str, Any]) -> bool:
    at_least = expectation.get("kwargs", {}).get("min_value", expectation.get("kwargs", {}).get("value"))
    critical = expectation.get("severity", "critical") == "critical"
    return critical and expectation.get("type") in _ROW_COUNTS and isinstance(at_least, int) and at_least >= 1


@functools.cache
def _library() -> Any:  # noqa: ANN401 - a module
    """Import Great Expectations, quiet, and mend its two expectations whose results cannot be stored.

    They return numpy's bool as `success`, which JSON has no word for: any run that holds one dies. KL has an open pull
    request upstream (#12248); drop this when both are released.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports modules of Python's that are going away
        import great_expectations as gx
        from great_expectations.expectations.core import expect_column_kl_divergence_to_be_less_than as kl
        from great_expectations.expectations.core import expect_column_quantile_values_to_be_between as quantile

    for logger in ("great_expectations", "py.warnings"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    _with_plain_bool(quantile.ExpectColumnQuantileValuesToBeBetween)
    _with_plain_bool(kl.ExpectColumnKLDivergenceToBeLessThan)
    return gx


def _with_plain_bool(expectation: Any) -> None:  # noqa: ANN401 - a class of an untyped library
    original = expectation._validate  # noqa: SLF001 - the one place where its result can be mended

    @functools.wraps(original)
    def validate(self: object, *args: object, **kwargs: object) -> object:
        result = original(self, *args, **kwargs)
        if isinstance(result, dict) and "success" in result:
            result["success"] = bool(result["success"])
        return result

    expectation._validate = validate  # noqa: SLF001 - see above


def _write_context(source: Path, suite: Mapping[str, Any], target: Path, docs: Path) -> None:
    """Write configuration and one suite, with the pages going to `docs`."""
    config = yaml.safe_load((source / _CONFIG).read_text(encoding="utf-8"))
    docs.mkdir(parents=True, exist_ok=True)
    for site in config["data_docs_sites"].values():
        site["store_backend"]["base_directory"] = str(docs.resolve())
    (target / _CONFIG).write_text(yaml.safe_dump(config), encoding="utf-8")
    (target / "expectations").mkdir()
    (target / "expectations" / f"{suite['name']}.json").write_text(json.dumps(suite), encoding="utf-8")


def _load_suite(context: FileDataContext, name: str, on_disk: Sequence[Mapping[str, Any]]) -> ExpectationSuite:
    """Load the suite and compare it with the file; what the library drops is refused by name."""
    from great_expectations.exceptions.exceptions import GreatExpectationsError

    try:
        suite = context.suites.get(name)
    except (GreatExpectationsError, ValueError, TypeError) as broken:
        raise BadInput(f"suite {name!r} cannot be loaded: {broken}", suite=name) from broken
    loaded = {str(each.id) for each in suite.expectations}
    dropped = [each for each in on_disk if str(each["id"]) not in loaded]
    if dropped or len(loaded) != len(on_disk):
        told = ", ".join(str(each.get("type")) for each in dropped) or "some"
        raise BadInput(
            f"suite {name!r} holds {len(on_disk)} expectations and {len(loaded)} were loaded; the library does not "
            f"know: {told}. Mend the spelling; an expectation that is dropped would count as met",
            suite=name,
        )
    return suite


def _run_whole(
    context: FileDataContext, suite: ExpectationSuite, name: str, frames: Mapping[str, pd.DataFrame]
) -> tuple[int, list[dict[str, Json]]]:
    """Run the suite on one frame and let the frame go: the library keeps what it was given until its source goes."""
    frame = frames[name]
    results = _run(context, suite, name, frame)
    context.data_sources.delete(f"{suite.name}-{name}")
    return len(frame), results


def _run(context: FileDataContext, suite: ExpectationSuite, name: str, frame: pd.DataFrame) -> list[dict[str, Json]]:
    from great_expectations.core import ValidationDefinition
    from great_expectations.exceptions.exceptions import GreatExpectationsError

    asset = context.data_sources.add_pandas(f"{suite.name}-{name}").add_dataframe_asset(name)
    data = asset.add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(ValidationDefinition(name=f"{name}", data=data, suite=suite))
    try:
        result = definition.run(batch_parameters={"dataframe": frame}, result_format="SUMMARY")
    except (GreatExpectationsError, TypeError, ValueError, KeyError, IndexError) as broken:
        raise MeasurementError(f"suite {suite.name!r} broke on frame {name!r}: {broken!r}", frame=name) from broken
    return [_told(each) for each in result.results]


def _told(result: Any) -> dict[str, Json]:  # noqa: ANN401 - a result of an untyped library
    config, found = result.expectation_config, result.result or {}
    percent = found.get("unexpected_percent")
    observed = found.get("observed_value", None if percent is None else f"{percent:.3g} % unexpected")
    return {
        "id": str(config.id),
        "type": str(config.type),
        "column": config.kwargs.get("column"),
        "severity": str(getattr(config.severity, "value", config.severity)),
        "success": bool(result.success),
        "raised": _raised(result.exception_info or {}),
        "observed": _short(observed),
        "unexpected_fraction": None if percent is None else float(percent) / 100,
    }


def _raised(info: Mapping[str, Any]) -> bool:
    """Tell whether an exception was raised; the library has two forms for it, flat and one a metric."""
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(bool(each.get("raised_exception")) for each in info.values() if isinstance(each, Mapping))


def _short(observed: object) -> Json:
    if observed is None or isinstance(observed, bool | int | float):
        return to_json(observed)
    return str(observed)[:_MOST_OBSERVED]
