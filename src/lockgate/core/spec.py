"""The release spec: one YAML a model, one frozen value here. Small specs stay small: every default is safe.

Constraints are `annotated_types`; the edges (`config.py`, Prefect's forms) enforce them through pydantic.
Each field's docstring line is its row in the generated reference (`docs/reference/spec.md`).
The sections are in `core/spec_sections/`, by subject; everybody else imports them from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lockgate.core.ids import Digest, ModelName, digest_of
from lockgate.core.spec_sections.data import DataSection, SplitMethod, SplitSection
from lockgate.core.spec_sections.judgement import (
    CostsSection,
    DirectionalSection,
    Effect,
    EvaluationSection,
    InvariantSection,
    RobustnessSection,
    SliceColumn,
    SliceSection,
)
from lockgate.core.spec_sections.learning import Automation, IncidentSection, RetrainingSection, Window
from lockgate.core.spec_sections.model import ModelSection, Risk, TaskSection
from lockgate.core.spec_sections.release import ApprovalMode, ApprovalSection, ServingSection
from lockgate.core.spec_sections.rollout import (
    BanditSection,
    ContractGuardrail,
    DrillSection,
    ErrorsGuardrail,
    GuardrailsSection,
    KpiGuardrail,
    LatencyGuardrail,
    Metric,
    PlanSection,
    QualityGuardrail,
    RolloutSection,
    RolloutStrategy,
    ScoreGuardrail,
    StepSection,
)
from lockgate.core.spec_sections.rollout_conditions import ProxySection, StabilitySection, SubpopulationSection
from lockgate.core.spec_sections.training import SearchSection, TrainingSection
from lockgate.core.spec_sections.units import Fraction, Positive, Scalar, Seconds
from lockgate.core.spec_sections.watching import AlertsSection, JointSection, MonitoringSection, SloSection

__all__ = [
    "AlertsSection",
    "ApprovalMode",
    "ApprovalSection",
    "Automation",
    "BanditSection",
    "ContractGuardrail",
    "CostsSection",
    "DataSection",
    "DirectionalSection",
    "DrillSection",
    "Effect",
    "ErrorsGuardrail",
    "EvaluationSection",
    "Fraction",
    "GuardrailsSection",
    "IncidentSection",
    "InvariantSection",
    "JointSection",
    "KpiGuardrail",
    "LatencyGuardrail",
    "Metric",
    "ModelSection",
    "MonitoringSection",
    "PlanSection",
    "Positive",
    "ProxySection",
    "QualityGuardrail",
    "ReleaseSpec",
    "RetrainingSection",
    "Risk",
    "RobustnessSection",
    "RolloutSection",
    "RolloutStrategy",
    "Scalar",
    "ScoreGuardrail",
    "SearchSection",
    "Seconds",
    "ServingSection",
    "SliceColumn",
    "SliceSection",
    "SloSection",
    "SplitMethod",
    "SplitSection",
    "StabilitySection",
    "StepSection",
    "SubpopulationSection",
    "TaskSection",
    "TrainingSection",
    "Window",
]


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
        monitoring: What is watched while it serves.
        retraining: What starts a release.
        costs: What a wrong decision costs.
        evaluation: What offline evaluation looks at beyond its gates.
        robustness: What the answer must withstand.
    """

    model: ModelSection
    task: TaskSection
    data: DataSection
    split: SplitSection = field(default_factory=SplitSection)
    training: TrainingSection = field(default_factory=TrainingSection)
    gates: Mapping[str, Any] = field(default_factory=dict)
    slices: tuple[SliceSection, ...] = ()
    sensitive: tuple[str, ...] = ()
    approval: ApprovalSection = field(default_factory=ApprovalSection)
    rollout: RolloutSection = field(default_factory=RolloutSection)
    serving: ServingSection = field(default_factory=ServingSection)
    monitoring: MonitoringSection = field(default_factory=MonitoringSection)
    retraining: RetrainingSection = field(default_factory=RetrainingSection)
    costs: CostsSection = field(default_factory=CostsSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    robustness: RobustnessSection = field(default_factory=RobustnessSection)

    @property
    def name(self) -> ModelName:
        """The model's name."""
        return self.model.name

    @property
    def digest(self) -> Digest:
        """The sha256 of the resolved spec, stamped on everything."""
        return digest_of(self)
