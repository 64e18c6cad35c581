"""The three models of the demo, and one of a user's own, each through the real line on the real flights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.flights.source import write_batch
from lockgate.adapters.signer import ensure_keys
from lockgate.bootstrap import Services
from lockgate.config import load_settings
from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from lockgate.core.spec import ReleaseSpec
from lockgate.line import Line, run
from lockgate.stages.intake import take_in
from lockgate.stages.releasing import open_release
from tests.release_fakes import FakeFlowRuns, start

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
STAGES = (Stage.INGEST, Stage.VALIDATE_DATA, Stage.TRAIN, Stage.EVALUATE, Stage.PACKAGE, Stage.INFRA)


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("months")
    written = {name: folder / f"{name}.parquet" for name in ("2013-01", "2013-02", "2013-03")}
    for name, path in written.items():
        write_batch(name, path)
    return written


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = Services(load_settings({"LOCKGATE_PROJECT": str(ROOT), "LOCKGATE_HOME": str(tmp_path / "home")}))
    ensure_keys(made.settings)
    yield made
    made.ledger.close()


def through_the_line(services: Services, spec: ReleaseSpec, landed: list[Path]) -> Progress:
    line = Line(services=services, spec=spec)
    for path in landed:
        services.store.land(spec.name, path)
    take_in(line.ledger, services.store, spec)
    services.check(spec)
    so_far = open_release(line.ledger, FakeFlowRuns(), spec, start(code=services.code.digest))
    for stage in STAGES:
        if so_far.ended is None:
            so_far = run(line, stage, so_far).so_far
    return so_far


@pytest.mark.parametrize(
    ("model", "last"),
    [
        ("flight-delays", 2),
        pytest.param("flight-airtime", 2, marks=pytest.mark.soak),
        pytest.param("flight-outcome", 3, marks=pytest.mark.soak),
    ],
    ids=str,
)
def test_a_model_of_the_demo_passes_every_gate_up_to_the_sandbox(
    services: Services, months: dict[str, Path], model: str, last: int
) -> None:
    # Four classes need the third month: two hold one snowstorm, and the gate rightly cannot say.
    so_far = through_the_line(services, services.spec(model), list(months.values())[:last])
    assert (so_far.ended, so_far.reason) == (None, "")
    assert services.bundles.get(so_far.refs["bundle"]).contract.model == model  # type: ignore[arg-type]  # a digest as text


@pytest.mark.soak
def test_a_users_own_scikit_learn_estimator_goes_the_same_way(services: Services, months: dict[str, Path]) -> None:
    spec = services.spec("flight-delays")
    own = replace(
        spec.training, family="estimator", estimator="tests.flight_estimator:late_flights", parameters={"C": 0.1}
    )
    so_far = through_the_line(services, replace(spec, training=own), list(months.values())[:2])
    assert (so_far.ended, so_far.reason) == (None, "")


def test_the_leak_is_stopped_by_its_gate_with_nothing_forbidden(services: Services, months: dict[str, Path]) -> None:
    spec = services.spec("flight-delays")
    leaking = replace(spec.data, forbidden=(), numeric=(*spec.data.numeric, "dep_delay"))
    so_far = through_the_line(services, replace(spec, data=leaking), list(months.values())[:2])
    assert so_far.gate == "leakage"
    assert "dep_delay" in so_far.reason
