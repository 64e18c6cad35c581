"""The composition root: which real part stands behind each port, decided once, built when first asked for.

Nothing is imported or opened before it is needed: `lockgate rollback` pays for a ledger and a client, not for Great
Expectations. Every part can be replaced by assigning to the attribute of a `Services`, which is how tests do it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockgate.config import Settings, load_settings
from lockgate.core.ids import ModelName
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import BundleStore, Clock, DatasetStore, DataValidator, Notifier, Registry

if TYPE_CHECKING:
    from lockgate.adapters.approvers import Approvers
    from lockgate.adapters.code_identity import CodeIdentity
    from lockgate.adapters.outbox import FileOutbox
    from lockgate.adapters.prefect_api import PrefectApi
    from lockgate.adapters.sandbox import Limits
    from lockgate.adapters.server_target import ServerTarget
    from lockgate.adapters.sql_ledger import SqlLedger
    from lockgate.stages.package import Packager
    from lockgate.stages.stress import ReachableSandboxes


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        return datetime.now(UTC)


def _clock(settings: Settings) -> Clock:
    if settings.clock_file is None:
        return SystemClock()
    from lockgate.adapters.virtual_clock import FileClock

    return FileClock(settings.clock_file)


class Services:
    """Every port of one installation, each built on first use.

    Args:
        settings: This machine's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock: Clock = _clock(settings)
        self._specs: dict[tuple[str, int], ReleaseSpec] = {}

    @cached_property
    def ledger(self) -> SqlLedger:
        """The append-only record, signed."""
        from lockgate.adapters.ledger_keys import ledger_signer
        from lockgate.adapters.sql_ledger import SqlLedger

        return SqlLedger(self.settings.ledger_url, self.clock, ledger_signer(self.settings))

    @cached_property
    def store(self) -> DatasetStore:
        """Landed files and the versioned table."""
        from lockgate.adapters.delta_store import DeltaDatasetStore

        return DeltaDatasetStore(self.settings, self.clock)

    @cached_property
    def validator(self) -> DataValidator:
        """The expectation suites."""
        from lockgate.adapters.gx_validator import GxValidator

        return GxValidator(self.settings)

    @cached_property
    def bundles(self) -> BundleStore:
        """Signed bundles by digest."""
        from lockgate.adapters.bundle_store import FileBundleStore

        return FileBundleStore(self.settings)

    @cached_property
    def packager(self) -> Packager[Any]:
        """Makes signed bundles of fits."""
        from lockgate.adapters.bundle_store import FileBundleStore
        from lockgate.adapters.packager import OnnxPackager

        return OnnxPackager(self.store, FileBundleStore(self.settings), self.settings.project / "requirements.lock")

    @cached_property
    def sandboxes(self) -> Callable[[Path, Limits | None], ReachableSandboxes]:
        """Makes the sandboxes of one stage, from the folder of their logs and their limits."""
        from lockgate.adapters.sandbox import Sandboxes

        return partial(Sandboxes, self.settings)

    @cached_property
    def registry(self) -> Registry:
        """The MLflow registry."""
        from lockgate.adapters.mlflow_registry import MlflowRegistry

        return MlflowRegistry(self.settings.url("mlflow"))

    @cached_property
    def notifier(self) -> Notifier:
        """Whoever must be told."""
        from lockgate.adapters.notifier import AppriseNotifier

        return AppriseNotifier(self.settings.notify)

    @cached_property
    def outbox(self) -> FileOutbox:
        """Messages on their way to whoever must be told."""
        from lockgate.adapters.outbox import FileOutbox

        return FileOutbox(self.settings.home / "outbox", self.settings.notify, self.clock)

    @cached_property
    def runs(self) -> PrefectApi:
        """The orchestrator's runs and events."""
        from lockgate.adapters.prefect_api import PrefectApi

        return PrefectApi(self.settings.prefect_api)

    @cached_property
    def approvers(self) -> Approvers:
        """The people who may decide, and their tokens."""
        from lockgate.adapters.approvers import Approvers

        return Approvers(self.settings, self.ledger, self.clock)

    @cached_property
    def code(self) -> CodeIdentity:
        """What program this is."""
        from lockgate.adapters.code_identity import code_identity

        return code_identity(self.settings.project)

    def target(self, environment: str) -> ServerTarget:
        """Return one of the environments that serve: "staging" or "production"."""
        from lockgate.adapters.server_target import ServerTarget

        return ServerTarget(
            environment,
            self.settings.url(environment),
            self.settings.url(f"{environment}_admin"),
            self.settings.admin_token_file,
            self.bundles,
        )

    def spec(self, model: str) -> ReleaseSpec:
        """Read a model's spec; again when its file changed.

        Raises:
            ConfigError: There is none, or it is wrong.
        """
        from lockgate.spec_file import read_spec

        path = self.settings.spec_file(model)
        version = (model, path.stat().st_mtime_ns if path.is_file() else 0)
        if version not in self._specs:
            self._specs[version] = read_spec(path)
        return self._specs[version]

    def check(self, spec: ReleaseSpec) -> None:
        """Refuse a spec whose estimator cannot be fitted or would not convert faithfully.

        Apart from `spec`, because building the user's estimator in a process of its own takes seconds.

        Raises:
            ConfigError: Says which part, why, and the alternative.
        """
        from lockgate.adapters.trainer import check_training

        check_training(spec, self.settings.project)

    def specs(self) -> tuple[ModelName, ...]:
        """Return the models that have a spec in deployments/."""
        return tuple(ModelName(path.stem) for path in sorted((self.settings.project / "deployments").glob("*.yaml")))


@lru_cache(maxsize=1)
def services() -> Services:
    """Return this process's services."""
    return Services(load_settings())
