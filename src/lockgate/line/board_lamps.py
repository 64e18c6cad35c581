"""The board's lights of what runs: each is looked at now, quickly, and side by side; no token is needed for any."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lockgate.core.board import Lamp, Light
from lockgate.core.ids import Digest, ModelName
from lockgate.core.wire import Call
from lockgate.errors import TransientError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

PRODUCTION: Final = "production"
TIMEOUT_S: Final = 1.0
"""Ours: everything is on this machine or near it, and a page that waits for what hangs is no page."""
SILENT: Final = "no answer"
_UP: Final = "lockgate up"
_OK, _NOT_READY = 200, 503
_READ: Final = (
    "lockgate_arm_weight_asked_ratio",
    "lockgate_arm_wrong_processes",
    "lockgate_part_broken_processes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a server says of itself.

    Attributes:
        champions: The bundle it routes each model to.
        wrong: Models of which an arm answers its golden requests wrongly.
    """

    champions: Mapping[str, Digest] = field(default_factory=dict)
    wrong: frozenset[str] = frozenset()


class Lamps:
    """Looks at servers, orchestrator and registry.

    Args:
        services: Where they are.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def shared(self) -> tuple[tuple[Lamp, ...], Told | None]:
        """Return the lights that all models share, and what production says; None where it says nothing."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            production = pool.submit(self._server, PRODUCTION)
            staging = pool.submit(self._server, "staging")
            others = [
                pool.submit(self._answers, name, path)
                for name, path in (("prefect", "/api/health"), ("mlflow", "/health"))
            ]
            served, told = production.result()
            return (served, staging.result()[0], *(each.result() for each in others)), told

    def _answers(self, name: str, path: str) -> Lamp:
        from lockgate.adapters.health import answers

        if answers(f"{self._services.settings.url(name)}{path}", timeout_s=TIMEOUT_S):
            return Lamp(name=name, light=Light.GOOD, says="answers")
        return Lamp(name=name, light=Light.BAD, says=SILENT, next=_UP)

    def _server(self, name: str) -> tuple[Lamp, Told | None]:
        from lockgate.adapters.http_probe import HttpClient

        url = self._services.settings.url(name)
        try:
            with HttpClient(url, timeout_s=TIMEOUT_S) as client:
                ready = client.send(Call(path="/v2/health/ready"))
                page = client.send(Call(path="/metrics")).body
        except TransientError:
            return Lamp(name=name, light=Light.BAD, says=SILENT, next=_UP), None
        told, broken = read_metrics(page)
        see = f"curl -s {url}/v2/health/ready"
        if ready.status != _OK:
            return Lamp(name=name, light=Light.BAD, says="is not ready", next=see), told
        if broken:
            says = f"answers, but this does not work: {', '.join(sorted(broken))}"
            return Lamp(name=name, light=Light.WARN, says=says, next=f"curl -s {url}/"), told
        return Lamp(name=name, light=Light.GOOD, says="ready"), told


def agreement(model: ModelName, recorded: Digest | None, told: Told | None, *, changing: bool) -> tuple[Lamp, ...]:
    """Say whether production serves what the ledger says, as far as it can be asked.

    Args:
        model: Whose champion.
        recorded: The ledger's word.
        told: The server's; None: it does not answer, which has a light of its own.
        changing: Whether a change of traffic is on its way.
    """
    if told is None or (recorded is None and model not in told.champions):
        return ()
    lamps = [_same(told.champions.get(model), recorded, changing=changing)]
    if model in told.wrong:
        says = "an arm answers its own golden requests wrongly"
        lamps.append(Lamp(name="answers", light=Light.BAD, says=says, next=f"lockgate rollback {model}"))
    return tuple(lamps)


def _same(live: Digest | None, recorded: Digest | None, *, changing: bool) -> Lamp:
    if live == recorded:
        return Lamp(name="server", light=Light.GOOD, says="serves what the ledger says")
    serves = "nothing" if live is None else live[:12]
    if changing:
        return Lamp(name="server", light=Light.WARN, says=f"is changing; serves {serves} now", next="lockgate status")
    says = f"serves {serves}, the ledger says {'nothing' if recorded is None else recorded[:12]}"
    return Lamp(name="server", light=Light.BAD, says=says, next="lockgate status")


def read_metrics(page: bytes) -> tuple[Told, frozenset[str]]:
    """Read a server's metrics page: what it says of its models, and which parts of it do not work."""
    from prometheus_client.parser import text_string_to_metric_families

    wanted = [line for line in page.decode(errors="replace").splitlines() if line.startswith(_READ)]
    try:
        families = list(text_string_to_metric_families("\n".join([*wanted, ""])))
    except ValueError:  # whatever listens there is no server of ours
        return Told(), frozenset({"its metrics page"})
    samples = [sample for family in families for sample in family.samples]
    weights, wrong, broken = ([each for each in samples if each.name == name] for name in _READ)
    champions = {
        each.labels["model"]: Digest(each.labels["digest"]) for each in weights if each.labels.get("arm") == "champion"
    }
    told = Told(champions=champions, wrong=frozenset(each.labels["model"] for each in wrong if each.value > 0))
    return told, frozenset(each.labels["part"] for each in broken if each.value > 0)
