"""The release spec: one YAML a model, one frozen value here. Small specs stay small: every default is safe.

Constraints are `annotated_types`; the edges (`config.py`, Prefect's forms) enforce them through pydantic.
Each field's docstring line is its row in the generated reference (`docs/reference/spec.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MinLen

from lockgate.core.contract import LogPolicy, RequestPolicy, TaskKind
from lockgate.core.ids import Digest, ModelName, digest_of

Fraction = Annotated[float, Ge(0), Le(1)]
Seconds = Annotated[float, Gt(0)]
Positive = Annotated[int, Gt(0)]
Scalar = bool | int | float | str | None


class SplitMethod(StrEnum):
    """How rows are divided into train, validation and holdout."""

    TIME = "time"
    GROUP = "group"
    RANDOM = "random"


class ApprovalMode(StrEnum):
    """Who decides."""

    HUMAN = "human"
    WHEN_ALL_PASS = "when_all_pass"  # noqa: S105 - not a password


class RolloutStrategy(StrEnum):
    """How a blessed bundle takes over."""

    BLUE_GREEN = "blue_green"


class Risk(StrEnum):
    """How much harm a wrong answer can do; high forbids approval without a person."""

    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSection:
    """Who the model is.

    Attributes:
        name: 2 to 48 of a-z, 0-9 and '-'.
        description: One sentence for the approver.
        owner: Who answers for it.
        intended_use: What it may be used for; printed on the card.
        risk: low or high.
    """

    name: ModelName
    description: str = ""
    owner: str = ""
    intended_use: str = ""
    risk: Risk = Risk.LOW


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSection:
    """What is predicted.

    Attributes:
        kind: binary, multiclass or regression.
        classes: Label values by index, as text; for binary the second is the positive one. Empty for regression.
        threshold: Decision threshold on the positive class's probability; binary only. Null: chosen on validation as
            the one of least expected cost (`costs`).
        unit: Unit of the value; regression only.
    """

    kind: TaskKind
    classes: tuple[str, ...] = ()
    threshold: Annotated[float, Gt(0), Le(1)] | None = 0.5
    unit: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSection:
    """Where rows come from and what their columns mean.

    Attributes:
        suite: Name of the Great Expectations suite, a file in great_expectations/expectations/.
        label: The column to predict. Rows without a label are traffic, not training data; their share is shown.
        time: Column with the time an answer is needed, aware UTC; it orders and splits the rows.
        key: Columns that together name one row.
        numeric: Numeric feature columns.
        categorical: String feature columns.
        personal: Columns that hold personal data and are meant to: neither the bundle nor, unless hashed or left out by
            `serving.log`, the prediction log may hold them.
        forbidden: Columns that no feature may be: known only after the event, or not allowed.
        entity: Column whose value keys sticky routing.
        prepare: `package.module:function`, frame of landed rows -> frame of rows; null: rows are landed as they are.
        sample: `package.module:function`, batch name and path -> writes that batch of real data; for demo and replay.
        sample_batches: Names of the batches that `sample` can write, in the order they land.
        label_delay_s: How long after `time` the label is known.
        duplicates: What a row with a key already seen in the batch means: "refuse" or "keep_last".
    """

    suite: str
    label: str
    time: str
    key: Annotated[tuple[str, ...], MinLen(1)]
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    entity: str | None = None
    prepare: str | None = None
    sample: str | None = None
    sample_batches: tuple[str, ...] = ()
    label_delay_s: Annotated[float, Ge(0)] = 0.0
    duplicates: str = "refuse"

    @property
    def features(self) -> tuple[str, ...]:
        """Numeric then categorical feature columns: the order of the wire contract."""
        return self.numeric + self.categorical


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSection:
    """How rows are divided.

    Attributes:
        method: time (the newest rows are the holdout), group (by `group`), random (by key hash).
        validation_days: Days before the holdout, for early stopping, search and the threshold; time only.
        holdout_days: The newest days, for evaluation only; time only.
        validation_fraction: Share of validation rows; group and random only.
        holdout_fraction: Share of holdout rows; group and random only.
        group: Column that keeps rows together; group only.
        block: Rows of one block are not independent; comparisons resample blocks. "day" (of `data.time`) or a column.
        train_window_days: Only rows of this many days before validation are trained on; null: all.
    """

    method: SplitMethod = SplitMethod.TIME
    validation_days: Positive = 7
    holdout_days: Positive = 21
    validation_fraction: Annotated[float, Gt(0), Le(0.5)] = 0.15
    holdout_fraction: Annotated[float, Gt(0), Le(0.5)] = 0.2
    group: str | None = None
    block: str = "day"
    train_window_days: Positive | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSection:
    """An optional hyperparameter search on validation.

    Attributes:
        space: Parameter name to [low, high] (numbers) or a list of choices (three or more, or strings). A range that
            spans a tenfold or more is searched on a logarithmic scale.
        trials: At most this many.
        time_budget_s: No trial is begun after this; the one that runs then is ended by its early stopping.
    """

    space: Mapping[str, tuple[Scalar, ...]]
    trials: Positive = 20
    time_budget_s: Seconds = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSection:
    """What is fitted.

    Attributes:
        family: A name in `lockgate.models.TRAINERS`; "estimator" takes `estimator`.
        estimator: `package.module:function` (seed, parameters) -> unfitted scikit-learn estimator over a frame of
            the features.
        parameters: Passed to the family.
        early_stopping_rounds: For boosted trees; null: fit all rounds.
        search: Optional search.
        seed: Seeds everything that draws.
        time_limit_s: A fit that takes longer is ended, and the stage fails.
        memory_limit_bytes: The fit's process may not hold more.
        threads: Threads that numeric libraries may take in a fit; null: one a core. 1 where the order in which threads
            end changes the model; gate `reproducibility` says when.
    """

    family: str = "xgboost"
    estimator: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    early_stopping_rounds: Positive | None = 20
    search: SearchSection | None = None
    seed: Annotated[int, Ge(0)] = 7
    time_limit_s: Seconds = 900.0
    memory_limit_bytes: Positive = 8 * 1024**3
    threads: Positive | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceColumn:
    """The slices of one column: its values, or ranges of its numbers.

    Attributes:
        column: Every value of this column is a slice.
        values: Only these; null: all.
        edges: Ranges of a number instead: below the first edge, between two, from the last.
        bins: Ranges of about as many holdout rows each instead.
    """

    column: str
    values: tuple[str, ...] | None = None
    edges: Annotated[tuple[float, ...], MinLen(1)] | None = None
    bins: Annotated[int, Ge(2), Le(20)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSection(SliceColumn):
    """Rows that are judged on their own.

    Attributes:
        column: Every value of this column is a slice.
        values: Only these; null: all.
        edges: Ranges of a number instead: below the first edge, between two, from the last.
        bins: Ranges of about as many holdout rows each instead.
        across: A second column (column, values, edges, bins): every pair of a slice of each is a slice.
        min_rows: A slice of fewer rows is named, not judged; null: `gates.slices.min_rows`.
    """

    across: SliceColumn | None = None
    min_rows: Annotated[int, Ge(30)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSection:
    """Who decides, and how long they have.

    Attributes:
        mode: human, or when_all_pass (forbidden for risk: high).
        timeout_s: After this the release expires.
        remind_before_s: The approvers are told again this long before it expires.
        approvers: Names that may decide; empty: anyone with access to the Prefect UI.
        four_eyes: The approver may not be who started the release.
        checklist: What the approver confirms, item by item.
    """

    mode: ApprovalMode = ApprovalMode.HUMAN
    timeout_s: Seconds = 72 * 3600.0
    remind_before_s: Seconds = 4 * 3600.0
    approvers: tuple[str, ...] = ()
    four_eyes: bool = False
    checklist: tuple[str, ...] = ("I read the dossier", "I know how to roll back")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSection:
    """How a blessed, approved bundle takes over.

    Attributes:
        strategy: blue_green: both warm, one switch, verified from live answers, previous kept warm.
        readback_requests: How many live answers must carry the new digest before the switch counts as verified.
        timeout_s: A switch that is not verified in this time is undone.
    """

    strategy: RolloutStrategy = RolloutStrategy.BLUE_GREEN
    readback_requests: Positive = 5
    timeout_s: Seconds = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSection:
    """How the server answers; part of the bundle's contract.

    Attributes:
        requests: What is done with a request that does not keep to the contract.
        log: What of a request the prediction log may hold. Without inputs nothing can be replayed against the next
            bundle.
    """

    requests: RequestPolicy = field(default_factory=RequestPolicy)
    log: LogPolicy = field(default_factory=LogPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingSection:
    """What starts a release.

    Attributes:
        schedule: Cron in UTC for the scheduled deployment; null: none.
        on_new_data: Whether a landed batch starts one.
    """

    schedule: str | None = None
    on_new_data: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CostsSection:
    """What a wrong decision costs, in any one unit; used to choose the threshold and to rank.

    Attributes:
        false_positive: Cost of acting when nothing was wrong; binary only.
        false_negative: Cost of not acting when something was; binary only.
        matrix: Multiclass only: what happened, to what was decided, to its cost; every class is named in both places,
            and a right decision may be left out (0). Rows are then decided for the class of least expected cost;
            null: for the likeliest.
    """

    false_positive: Annotated[float, Ge(0)] = 1.0
    false_negative: Annotated[float, Ge(0)] = 1.0
    matrix: Mapping[str, Mapping[str, Annotated[float, Ge(0)]]] | None = None

    def by_index(self, classes: tuple[str, ...]) -> tuple[tuple[float, ...], ...] | None:
        """Return the matrix by class index, row for what happened; None when there is none."""
        if self.matrix is None:
            return None
        return tuple(tuple(float(self.matrix[row].get(column, 0.0)) for column in classes) for row in classes)


class Effect(StrEnum):
    """What adding to a column may not do to the answer."""

    NOT_LOWER = "not_lower"
    NOT_HIGHER = "not_higher"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariantSection:
    """A change that must not matter to the answer.

    Attributes:
        column: The feature that is changed.
        values: Rows that hold one of these are asked again with each of the others. For a numeric column, numbers.
        tolerance: The answer may change by this much: a probability, or the value in its unit.
        rows_fraction: Share of rows whose answer may change by more.
    """

    column: str
    values: Annotated[tuple[Scalar, ...], MinLen(2)]
    tolerance: Annotated[float, Ge(0)]
    rows_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalSection:
    """A change whose effect on the answer has a known sign.

    Attributes:
        column: The numeric feature that is changed.
        step: Added to it; may be negative, not 0.
        answer: not_lower (the answer must not fall by it) or not_higher (it must not rise).
        of: Multiclass: the class whose probability is meant.
        tolerance: The answer may go the wrong way by this much: a probability, or the value in its unit.
        rows_fraction: Share of rows whose answer may go the wrong way by more.
    """

    column: str
    step: float
    answer: Effect
    of: str | None = None
    tolerance: Annotated[float, Ge(0)] = 0.0
    rows_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessSection:
    """What the answer must withstand, beyond what every model must.

    Attributes:
        noise: Standard deviation of a numeric feature's measurement error, by column, in the column's unit. The answer
            must be stable within it. Columns that are not named are shaken by a small share of their spread, which is
            shown and does not block.
        invariant: Changes that must not matter.
        directional: Changes whose effect has a known sign.
    """

    noise: Mapping[str, Annotated[float, Gt(0)]] = field(default_factory=dict)
    invariant: tuple[InvariantSection, ...] = ()
    directional: tuple[DirectionalSection, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSection:
    """What offline evaluation looks at beyond its gates; shown to the approver, binding on nothing.

    Attributes:
        folds: Into how many folds of whole blocks train and validation are divided, each left out once and the rest
            fitted again; 0: none. Costs as many fits.
        folds_time_s: Folds that are not fitted by then are left out, and counted.
        past_champions: At most this many past champions are scored on the holdout, newest first.
    """

    folds: Annotated[int, Ge(0), Le(20)] = 0
    folds_time_s: Seconds = 300.0
    past_champions: Annotated[int, Ge(0), Le(6)] = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSpec:
    """Everything Lockgate knows about one model.

    Attributes:
        model: Who the model is.
        task: What is predicted.
        data: Where rows come from and what their columns mean.
        split: How rows are divided.
        training: What is fitted.
        gates: Each gate's own thresholds, by gate name; gates not named keep their defaults. Holds the gate's
            `Thresholds` value (an instance of that gate's own dataclass).
        slices: Rows that are judged on their own.
        sensitive: Columns whose groups are compared for fairness.
        approval: Who decides.
        rollout: How it takes over.
        serving: How the server answers.
        retraining: What starts a release.
        costs: What a wrong decision costs.
        robustness: What the answer must withstand.
    """

    model: ModelSection
    task: TaskSection
    data: DataSection
    split: SplitSection = SplitSection()
    training: TrainingSection = TrainingSection()
    gates: Mapping[str, Any] = field(default_factory=dict)
    slices: tuple[SliceSection, ...] = ()
    sensitive: tuple[str, ...] = ()
    approval: ApprovalSection = ApprovalSection()
    rollout: RolloutSection = RolloutSection()
    serving: ServingSection = ServingSection()
    retraining: RetrainingSection = RetrainingSection()
    costs: CostsSection = CostsSection()
    evaluation: EvaluationSection = EvaluationSection()
    robustness: RobustnessSection = RobustnessSection()

    @property
    def name(self) -> ModelName:
        """The model's name."""
        return self.model.name

    @property
    def digest(self) -> Digest:
        """The sha256 of the resolved spec, stamped on everything."""
        return digest_of(self)
