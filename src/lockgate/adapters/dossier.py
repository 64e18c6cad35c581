"""The dossier: one self-contained HTML page that an approver reads before deciding.

No script, no request to anywhere, no clock: equal facts give equal bytes, so that the approval can bind to its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.adapters.dossier_plots import (
    reliability_plot,
    residual_histogram,
    residual_plot,
    roc_plot,
)
from lockgate.adapters.durable_files import write_whole
from lockgate.adapters.pages import page_environment
from lockgate.core.delivery import Delivery
from lockgate.core.ids import Digest, Json, ReleaseId, digest_bytes
from lockgate.core.maturity import Assessment
from lockgate.core.monitoring.feedback import FeedbackSummary
from lockgate.core.spec import ReleaseSpec
from lockgate.core.verdict import GateReport

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierFacts:
    """Everything the page says.

    Attributes:
        release: The release under judgement.
        spec: What it was judged by.
        as_of: The release's time, aware UTC.
        bundle: Digest of what would ship.
        champion: Digest of what serves now; None when there never was one.
        reports: One report a gate, in the order a release meets them.
        required: Names of the gates a blessing needs; one without a report is shown as missing.
        titles: A few words for people by gate name; a gate not named shows its name.
        evaluation: What `evaluation_document` returned.
        lineage: What it was made from, label to value: digests, commit, lock, data version, rows.
        card: The model card, as text.
        measured: Newest measurements by gate, as recorded.
        recorded: Row of the ledger that holds each gate's verdict: sequence and the row's hash, by gate.
        assessed: The ML Test Score of this release, last, and of those before; empty when it was not computed.
        delivered: The delivery figures of this model; None when they were not computed.
        feedback: What people said of the champion; a text: why that could not be read; None: there is no champion.
        unknown: What is not known, beyond what the page itself can tell; one sentence each.
        overridden: Gates that failed and that two people let pass, by name: a sentence that nobody may overlook.
    """

    release: ReleaseId
    spec: ReleaseSpec
    as_of: datetime
    bundle: Digest
    champion: Digest | None
    reports: tuple[GateReport, ...]
    required: tuple[str, ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    evaluation: Mapping[str, Json] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    card: str = ""
    measured: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    recorded: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    assessed: tuple[Assessment, ...] = ()
    delivered: Delivery | None = None
    feedback: FeedbackSummary | str | None = None
    unknown: tuple[str, ...] = ()
    overridden: Mapping[str, str] = field(default_factory=dict)


def render_dossier(facts: DossierFacts, out: Path) -> Digest:
    """Write the page and return the sha256 of its bytes; it appears whole or not at all.

    Args:
        facts: What it says. Equal facts give equal bytes.
        out: The file.

    Raises:
        TransientError: The disk is full.
    """
    text = dossier_html(facts)
    write_whole(out, text)
    return digest_bytes(text.encode())


def _template() -> jinja2.Template:
    from lockgate.adapters.dossier_words import sentence

    return page_environment(sentence=sentence).get_template("dossier.html.j2")


def dossier_html(facts: DossierFacts) -> str:
    """Return the page."""
    from markupsafe import Markup

    from lockgate.adapters.dossier_contents import closing_sections, sections_of
    from lockgate.adapters.dossier_forest import slice_forest
    from lockgate.adapters.dossier_view import view_of

    sections, closing = sections_of(facts), closing_sections(facts)
    view = view_of(facts, (*sections, *closing))
    curves = facts.evaluation.get("curves")
    drawings = {
        "roc": roc_plot(curves),
        "calibration": reliability_plot(curves),
        "residuals": residual_plot(curves),
        "errors": residual_histogram(curves),
        "slices": slice_forest(view.slices),
    }
    plots = {name: Markup(svg or "") for name, svg in drawings.items()}  # noqa: S704 - as `drawn`, see `_template`
    return _template().render(
        facts=facts,
        view=view,
        plots=plots,
        drawn=any(plots.values()),
        sections=sections,
        closing=closing,
    )
