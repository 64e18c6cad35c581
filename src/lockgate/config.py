"""Where things are and what may be set: the environment file, the environment variables, and the release specs.

The only module that reads environment variables. Nothing happens at import.

Precedence: environment variable, then `deployments/environments/<name>.yaml`, then the default here. All state lives
under one folder, `LOCKGATE_HOME`, which can be moved as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lockgate.core.ids import ModelName, ReleaseId
from lockgate.errors import ConfigError

PORTS = {
    "prefect": 4200,
    "mlflow": 5000,
    "production": 8080,
    "production_admin": 9080,
    "staging": 8081,
    "staging_admin": 9081,
    "board": 8070,
}
ENVIRONMENTS = ("staging", "production")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that differs from one machine to the next.

    Attributes:
        project: The checkout: holds prefect.yaml, flows/, tasks/, deployments/, great_expectations/.
        home: All state.
        host: The address everything listens on; loopback unless told otherwise.
        ports: Port by process name, see `PORTS`.
        notify: Apprise addresses; they may hold secrets, so they are never printed.
        ledger_url: SQLAlchemy URL of the ledger.
        clock_file: Says what time it is, in a replay's home; None: the machine does.
    """

    project: Path
    home: Path
    host: str
    ports: Mapping[str, int]
    notify: tuple[str, ...]
    ledger_url: str
    clock_file: Path | None = None

    @property
    def prefect_api(self) -> str:
        """URL of the Prefect API."""
        return f"{self.url('prefect')}/api"

    def url(self, process: str) -> str:
        """Return the base URL of a process of `PORTS`."""
        return f"http://{self.host}:{self.ports[process]}"

    # -- folders; each is made by whoever writes there first ---------------------------------------------------------

    @property
    def signing_key(self) -> Path:
        """The private key; only the signing step reads it."""
        return self.home / "keys" / "signing.key"

    @property
    def public_key(self) -> Path:
        """The public key that servers and auditors verify with."""
        return self.home / "keys" / "signing.pub"

    @property
    def ledger_key(self) -> Path:
        """The private key that signs the ledger's head."""
        return self.home / "keys" / "ledger.key"

    @property
    def approval_key(self) -> Path:
        """The secret under which approvers' tokens are hashed and one-time codes are made."""
        return self.home / "keys" / "approval.key"

    @property
    def approvers_file(self) -> Path:
        """Hashes of the approvers' tokens."""
        return self.home / "approvers.json"

    @property
    def admin_token_file(self) -> Path:
        """The token that the servers' admin API asks for."""
        return self.home / "tokens" / "admin.token"

    @property
    def feedback_token_file(self) -> Path:
        """The narrower token that applications send people's feedback with."""
        return self.home / "tokens" / "feedback.token"

    @property
    def bundles(self) -> Path:
        """The bundle store: one folder a digest."""
        return self.home / "bundles"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.home / "logs"

    @property
    def suites(self) -> Path:
        """The Great Expectations context of the checkout."""
        return self.project / "great_expectations"

    def landing(self, model: ModelName) -> Path:
        """Where new files of a model arrive."""
        return self.home / "landing" / model

    def quarantine(self, model: ModelName) -> Path:
        """Where refused files go, each beside a `.reason.txt`."""
        return self.home / "quarantine" / model

    def table(self, model: ModelName) -> Path:
        """The model's Delta table."""
        return self.home / "tables" / model

    @property
    def snapshots(self) -> Path:
        """Frozen, split sets of rows, by digest."""
        return self.home / "snapshots"

    def release(self, release: ReleaseId) -> Path:
        """The working folder of one release: fit, dossier, reports."""
        return self.home / "releases" / release

    def serving(self, environment: str) -> Path:
        """State of one server: routing on disk, prediction log."""
        return self.home / "serving" / environment

    def spec_file(self, model: str) -> Path:
        """The spec of a model in the checkout."""
        return self.project / "deployments" / f"{model}.yaml"


def load_settings(environ: Mapping[str, str] | None = None, *, environment: str = "local") -> Settings:
    """Read the settings of this machine.

    Args:
        environ: Environment variables; None: the process's own.
        environment: Name of the file in `deployments/environments/`.

    Raises:
        ConfigError: A value is not what it must be; says which, and what is allowed.
    """
    env = os.environ if environ is None else environ
    project = Path(env.get("LOCKGATE_PROJECT") or _find_project(Path.cwd())).resolve()
    name = env.get("LOCKGATE_ENVIRONMENT", environment)
    given = _read_environment(project / "deployments" / "environments" / f"{name}.yaml")
    home = Path(str(env.get("LOCKGATE_HOME") or given.get("home") or project / ".lockgate")).expanduser().resolve()
    return Settings(
        project=project,
        home=home,
        host=str(env.get("LOCKGATE_HOST") or given.get("host") or "127.0.0.1"),
        ports=_ports(env, given.get("ports")),
        notify=_notify(env, given.get("notify")),
        ledger_url=str(env.get("LOCKGATE_LEDGER_URL") or given.get("ledger_url") or f"sqlite:///{home}/ledger.db"),
        clock_file=_clock_file(env, home),
    )


def approver_token(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token of the person who runs this; None when they gave none.

    There is no option for it: a command line is seen by every process of the machine, and kept by the shell.

    Raises:
        ConfigError: The file that should hold it is missing, empty, or readable by others.
    """
    env = os.environ if environ is None else environ
    named = env.get("LOCKGATE_APPROVER_TOKEN_FILE")
    if not named:
        return env.get("LOCKGATE_APPROVER_TOKEN", "").strip() or None
    path = Path(named).expanduser()
    if not path.is_file():
        raise ConfigError(f"LOCKGATE_APPROVER_TOKEN_FILE names {path}, which is not there")
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}")
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if not token:
        raise ConfigError(f"{path} is empty; it must hold the token that `lockgate approver add` printed")
    return token


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerPort:
    """Where messages that ask for a release are taken.

    Attributes:
        port: The port.
        token_file: Holds the token that senders show.
    """

    port: int
    token_file: Path


def trigger_port(settings: Settings, environ: Mapping[str, str] | None = None) -> TriggerPort | None:
    """Return where messages are taken; None unless LOCKGATE_TRIGGER_PORT is set.

    Raises:
        ConfigError: It is no port, or another process has it.
    """
    env = os.environ if environ is None else environ
    text = env.get("LOCKGATE_TRIGGER_PORT", "")
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError(f"LOCKGATE_TRIGGER_PORT is {text!r}; a port is a number from 1 to 65535")
    taken = [process for process, port in settings.ports.items() if port == int(text)]
    if taken:
        raise ConfigError(f"LOCKGATE_TRIGGER_PORT is {text}, which {taken[0]} has; choose another")
    named = env.get("LOCKGATE_TRIGGER_TOKEN_FILE")
    token_file = Path(named).expanduser() if named else settings.home / "tokens" / "trigger.token"
    return TriggerPort(port=int(text), token_file=token_file)


def _clock_file(env: Mapping[str, str], home: Path) -> Path | None:
    named = env.get("LOCKGATE_CLOCK_FILE")
    if not named:
        return None
    path = Path(named).resolve()
    if path.parent != home or not (home / "replay.json").is_file():
        raise ConfigError(f"LOCKGATE_CLOCK_FILE names {path}; only a replay says what time it is in {home}. Unset it")
    return path


def _find_project(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / "prefect.yaml").is_file() and (folder / "deployments").is_dir():
            return folder
    return start


_ENVIRONMENT_KEYS = ("home", "host", "ports", "notify", "ledger_url")


def _read_environment(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        given = yaml.safe_load(path.read_text())
    except yaml.YAMLError as broken:
        raise ConfigError(f"{path} is not YAML: {broken}") from broken
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ConfigError(f"{path} must hold keys and values; allowed keys: {', '.join(_ENVIRONMENT_KEYS)}")
    unknown = sorted(set(given) - set(_ENVIRONMENT_KEYS))
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; allowed: {', '.join(_ENVIRONMENT_KEYS)}")
    return given


def _ports(env: Mapping[str, str], given: object) -> dict[str, int]:
    if given is not None and not isinstance(given, dict):
        raise ConfigError(f"ports must be a mapping of {', '.join(PORTS)} to numbers")
    named = given or {}
    unknown = sorted(set(named) - set(PORTS))
    if unknown:
        raise ConfigError(f"ports: unknown process {unknown[0]!r}; allowed: {', '.join(PORTS)}")
    ports = {}
    for process, default in PORTS.items():
        variable = f"LOCKGATE_{process.upper()}_PORT"
        text = str(env.get(variable) or named.get(process) or default)
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise ConfigError(f"{variable} is {text!r}; a port is a number from 1 to 65535")
        ports[process] = int(text)
    if len(set(ports.values())) != len(ports):
        raise ConfigError(f"two processes share a port: {ports}; give each its own through LOCKGATE_<PROCESS>_PORT")
    return ports


def _notify(env: Mapping[str, str], given: object) -> tuple[str, ...]:
    if env.get("LOCKGATE_NOTIFY"):
        return tuple(env["LOCKGATE_NOTIFY"].split())
    if env.get("LOCKGATE_NOTIFY_FILE"):
        path = Path(env["LOCKGATE_NOTIFY_FILE"])
        if not path.is_file():
            raise ConfigError(f"LOCKGATE_NOTIFY_FILE names {path}, which is not there")
        return tuple(path.read_text().split())
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise ConfigError("notify must be a list of apprise addresses")
    return tuple(given)
