"""What a champion is held against: how it was at its release, from its own bundle, and what the record says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from lockgate.core.contract import TaskKind
from lockgate.core.estimates import items, number, read_estimate, within
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId

TOLERATED: Final = 0.05
"""`monitoring.loss_tolerated` unless the spec says otherwise, as a share of the loss at release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A column as training saw it.

    Attributes:
        shares: By bin, missing last, as `core.drift.reference_profile` wrote them.
    """

    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLoss:
    """The loss on the holdout.

    Attributes:
        mean: Brier score, or absolute error in the label's unit.
        se: Its standard error over days.
        days: How many days it was measured on.
        unit: "1" or the label's.
    """

    mean: float
    se: float
    days: int
    unit: str

    @property
    def day_sd(self) -> float:
        """Return the standard deviation of one day's mean loss."""
        return self.se * math.sqrt(self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a champion is held against.

    Attributes:
        model: Whose.
        digest: The bundle.
        task: What is predicted.
        rows: Rows of the profile.
        features: By feature, its frozen bins.
        score: The score's; None where the profile has no single one (multiclass).
        class_scores: Of each class's probability (multiclass).
        importance: By feature, its share of all contributions to answers, 0..1; empty where it was not measured.
        loss: On the holdout; None where it was not measured: nothing can then be held to it.
        positive: Share of positives there (binary); None elsewhere.
        naive: Share of the constant answer's loss that was saved, with its standard error; None where unknown.
        calibration_slope: Slope there, with low and high; None where unknown.
        auc: As measured there, with low and high; None where unknown.
        slices: By `column=value`: loss there as a share of the overall loss, and the standard deviation of a day's.
        release: The release that made it.
        since: When production began to serve it; None where the ledger does not know.
        data_as_of: The newest row it learned from; None where unknown.
    """

    model: ModelName
    digest: Digest
    task: TaskKind
    rows: int = 0
    features: Mapping[str, Frozen] = field(default_factory=dict)
    score: Frozen | None = None
    class_scores: Mapping[str, Frozen] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)
    loss: ReleaseLoss | None = None
    positive: float | None = None
    naive: Mapping[str, float] | None = None
    calibration_slope: Mapping[str, float] | None = None
    auc: Mapping[str, float] | None = None
    slices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    release: ReleaseId | None = None
    since: datetime | None = None
    data_as_of: datetime | None = None

    def tolerated(self, asked: float | None) -> float:
        """Return how much worse the loss may be, in its unit; what the spec says, or `TOLERATED` of it."""
        if asked is not None:
            return asked
        return TOLERATED * self.loss.mean if self.loss else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the ledger says of a champion.

    Attributes:
        release: The release that made it.
        since: When production began to serve it.
        data_as_of: The newest row it learned from.
    """

    release: ReleaseId | None = None
    since: datetime | None = None
    data_as_of: datetime | None = None


def read_reference(  # noqa: PLR0913 - what a bundle says of itself, each a part of it
    model: ModelName,
    digest: Digest,
    task: TaskKind,
    *,
    profile: Mapping[str, Json],
    evaluation: Mapping[str, Json],
    recorded: Recorded,
) -> Reference:
    """Read what a champion is held against.

    Args:
        model: Whose.
        digest: The bundle.
        task: What is predicted.
        profile: Its `reference_profile.json`.
        evaluation: Its `evaluation.json`; what is not there reads as None, and what needs it cannot say.
        recorded: What the ledger says.
    """
    quality = within(within(evaluation, "gates"), "quality")
    metrics = within(quality, "metrics")
    scores = _frozen(profile.get("score"))
    single = len(scores) == 1
    rows = number(profile.get("rows"))
    return Reference(
        model=model,
        digest=digest,
        task=task,
        rows=0 if rows is None else int(rows),
        features={**_frozen(profile.get("numeric")), **_frozen(profile.get("categorical"))},
        score=next(iter(scores.values())) if single else None,
        class_scores={} if single else scores,
        importance=_importance(evaluation),
        loss=_loss(task, quality),
        positive=_positive(task, evaluation),
        naive=read_estimate(within(within(quality, "skill"), "naive")),
        calibration_slope=read_estimate(within(metrics, "calibration_slope")),
        auc=read_estimate(within(metrics, "auc")),
        slices=_slices(evaluation, quality),
        release=recorded.release,
        since=recorded.since,
        data_as_of=recorded.data_as_of,
    )


def _frozen(section: Json) -> dict[str, Frozen]:
    if not isinstance(section, Mapping):
        return {}
    found = {}
    for name, column in section.items():
        shares = [number(each) for each in items(within(column, "shares"))]
        if shares and all(each is not None for each in shares):
            found[name] = Frozen(shares=tuple(each for each in shares if each is not None))
    return found


def _importance(evaluation: Mapping[str, Json]) -> dict[str, float]:
    listed = items(within(within(within(evaluation, "sections"), "contributions"), "features"))
    told = {str(within(each, "feature")): number(within(each, "share")) for each in listed}
    return {name: share for name, share in told.items() if share is not None}


def _loss(task: TaskKind, quality: Json) -> ReleaseLoss | None:
    metric = within(within(quality, "metrics"), "mae" if task is TaskKind.REGRESSION else "brier")
    found, days = read_estimate(metric), number(within(quality, "blocks"))
    if found is None or not days or found["se"] <= 0:
        return None
    unit = within(metric, "unit")
    return ReleaseLoss(
        mean=found["estimate"], se=found["se"], days=int(days), unit=unit if isinstance(unit, str) else "1"
    )


def _positive(task: TaskKind, evaluation: Mapping[str, Json]) -> float | None:
    if task is not TaskKind.BINARY:
        return None
    bins = items(within(within(within(evaluation, "curves"), "challenger"), "reliability"))
    told = [(number(within(each, "n")), number(within(each, "happened"))) for each in bins]
    known = [(n, share) for n, share in told if n is not None and share is not None]
    rows = math.fsum(n for n, _ in known)
    return math.fsum(n * share for n, share in known) / rows if rows else None


def _slices(evaluation: Mapping[str, Json], quality: Json) -> dict[str, tuple[float, float]]:
    """Return loss and its daily deviation as shares of the overall loss.

    The gate measures slices in its own loss; their proportion stands in for that of this loss. Ours: exact for the
    spec's metric, and near enough for another proper score of the same answers.
    """
    section = within(within(evaluation, "gates"), "slices")
    overall, days = number(within(section, "overall_loss")), number(within(quality, "blocks"))
    found: dict[str, tuple[float, float]] = {}
    for each in items(within(section, "slices")):
        loss, excess = number(within(each, "loss")), read_estimate(within(each, "excess"))
        name = within(each, "slice")
        if overall and days and loss is not None and excess is not None and isinstance(name, str):
            found[name] = loss / overall, excess["se"] * math.sqrt(days) / overall
    return found
