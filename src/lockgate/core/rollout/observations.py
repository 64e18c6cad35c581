"""What a rollout sees of the world: one answered or failed request, one label, one number of the business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One request to one arm. Requests whose caller chose the arm are none.

    Attributes:
        time: When it was answered, seconds since the epoch.
        prediction_id: Joins labels, and a shadow's answer to the live one.
        arm: The arm that the routing chose: champion or challenger.
        propensity: The chance that the routing gave that arm; of a shadow's copy the share that is copied.
            1 for the champion where nothing is leased.
        shadow: Whether nobody saw this answer.
        entity: What keyed the routing; None: nothing did, and the request is an entity of its own.
        failed: The chosen arm had no answer; somebody else's, or an error, went to the caller.
        flags: How many rows did not keep to the contract.
        rows: How many rows were asked.
        latency_us: From the request's headers to its answer, microseconds; of a failed one, until it failed.
        scores: One number a row: the probability (binary), that of each class (multiclass, row by row), or the value;
            empty where it failed.
        labels: The decided label a row; empty for a regression or where it failed.
        slices: Value by slice column of the request's first row; only where asked for.
    """

    time: float
    prediction_id: str
    arm: str
    propensity: float
    shadow: bool = False
    entity: str | None = None
    failed: bool = False
    flags: int = 0
    rows: int = 1
    latency_us: int = 0
    scores: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    slices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSeen:
    """What one answered row turned out to be.

    Attributes:
        prediction_id: The answer's.
        row: Which row of the request.
        label: What is true, as text; a regression's as the number's text.
        received: When the server was told, seconds since the epoch.
    """

    prediction_id: str
    row: int
    label: str
    received: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiSeen:
    """One number of the business.

    Attributes:
        name: Which, see `KpiGuardrail.name`.
        time: When it came about, seconds since the epoch.
        entity: Whose.
        value: The number.
    """

    name: str
    time: float
    entity: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one reading of the logs gave.

    Attributes:
        observations: In the order of the log.
        labels: Likewise.
        kpis: Likewise.
        cursor: Where to read on; text that only the reader understands, kept with the tally.
        behind: Whether there is more already; read again before judging.
        lost: Requests that are known to have been logged and cannot be read any more.
    """

    observations: tuple[Observation, ...] = ()
    labels: tuple[LabelSeen, ...] = ()
    kpis: tuple[KpiSeen, ...] = ()
    cursor: str
    behind: bool = False
    lost: int = 0
