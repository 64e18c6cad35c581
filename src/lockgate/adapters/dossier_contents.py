"""Which sections the dossier has, in their order: the one place to add one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.adapters.dossier_blocks import Section
from lockgate.adapters.dossier_sections.comparisons import comparisons
from lockgate.adapters.dossier_sections.contributions import contributions
from lockgate.adapters.dossier_sections.delivery import delivery
from lockgate.adapters.dossier_sections.drift import drift
from lockgate.adapters.dossier_sections.errors import errors
from lockgate.adapters.dossier_sections.fairness import fairness
from lockgate.adapters.dossier_sections.feedback import feedback
from lockgate.adapters.dossier_sections.folds import folds
from lockgate.adapters.dossier_sections.load import load
from lockgate.adapters.dossier_sections.maturity import maturity
from lockgate.adapters.dossier_sections.replay import replay
from lockgate.adapters.dossier_sections.reproducing import reproducing
from lockgate.adapters.dossier_sections.robustness import robustness
from lockgate.adapters.dossier_sections.skew import skew
from lockgate.adapters.dossier_sections.slice_search import slice_search
from lockgate.adapters.dossier_sections.staleness import staleness
from lockgate.core.estimates import within

if TYPE_CHECKING:
    from lockgate.adapters.dossier import DossierFacts


def sections_of(facts: DossierFacts) -> tuple[Section, ...]:
    """Return every section below the plots, in order."""
    measured, evaluated = facts.measured, facts.evaluation.get("sections")
    champion = facts.champion is not None
    return (
        slice_search(within(evaluated, "slice_search")),
        fairness(measured.get("fairness")),
        errors(within(evaluated, "errors")),
        contributions(within(evaluated, "contributions")),
        robustness(measured.get("robustness")),
        comparisons(within(evaluated, "tests"), champion=champion),
        folds(within(evaluated, "folds")),
        staleness(within(evaluated, "staleness")),
        drift(measured.get("drift"), champion=champion),
        skew(measured.get("skew"), champion=champion),
        reproducing(measured.get("reproducibility")),
        load(measured.get("stress")),
        replay(measured.get("staging")),
        *feedback(facts.feedback),
    )


def closing_sections(facts: DossierFacts) -> tuple[Section, ...]:
    """Return the sections about the process rather than the model, which stand after the lineage."""
    return (maturity(facts.assessed), delivery(facts.delivered))
