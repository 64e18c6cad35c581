"""Stage 8: a blessed bundle becomes a version that people can read in the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lockgate.core.blessing import Blessing
from lockgate.core.contract import ModelBundle
from lockgate.core.heads import Head
from lockgate.core.ids import Json, digest_of
from lockgate.core.ledger import Event
from lockgate.core.spec import ReleaseSpec
from lockgate.core.verdict import Check, GateReport
from lockgate.errors import NotBlessed
from lockgate.ports import BundleStore, Ledger, Registry
from lockgate.stages.reconcile import set_aliases
from lockgate.stages.recording import reports_of

_MARKS = {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?", "ERROR": "!"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a bundle comes from, beyond what its blessing says.

    Attributes:
        commit: The git commit of the program; None when there is none.
        parameters: What the estimator was fitted with.
        source: Where the rows were read from: the table and its version.
        rows: Rows by part.
        artifacts: Files to show beside the version, e.g. the dossier and `evaluation.json`.
        links: Pages by name, for the description.
        head: The ledger's signed head, copied where the ledger's owner cannot rewrite it.
    """

    commit: str | None
    parameters: Mapping[str, Json]
    source: str
    rows: Mapping[str, int]
    artifacts: Sequence[Path] = ()
    links: Mapping[str, str] | None = None
    head: Head | None = None


def register(  # noqa: PLR0913 - three ports, what is registered, and by what right
    ledger: Ledger,
    registry: Registry,
    bundles: BundleStore,
    spec: ReleaseSpec,
    blessing: Blessing,
    *,
    lineage: Lineage,
) -> Mapping[str, Json]:
    """List a blessed bundle as a version, record it, and set the aliases. Run again, it changes nothing more.

    Returns:
        What the registry answered: version, uri and pages.

    Raises:
        NotBlessed: The ledger does not hold this blessing.
        IntegrityError: The bundle is not what was signed, or the registry does not hold it byte for byte.
        TransientError: The ledger or the registry did not answer.
    """
    subjects = blessing.subjects
    _require_recorded(ledger, spec, blessing)
    bundle = bundles.get(subjects.bundle)
    reports = reports_of(ledger, spec.name, subjects.release)
    folder = bundles.folder(subjects.bundle)
    answer = registry.register(spec, subjects.release, bundle, folder, facts(spec, blessing, bundle, reports, lineage))
    known = ledger.rows(spec.name, release=subjects.release, events=(Event.REGISTERED,))
    if not any(row.payload["bundle"] == bundle.digest and row.payload["uri"] == answer["uri"] for row in known):
        payload: dict[str, Json] = {"bundle": bundle.digest, "blessing": blessing.digest, **answer}
        ledger.append(spec.name, Event.REGISTERED, payload, release=subjects.release)
    set_aliases(ledger, registry, spec.name)
    return answer


def _require_recorded(ledger: Ledger, spec: ReleaseSpec, blessing: Blessing) -> None:
    release = blessing.subjects.release
    rows = ledger.rows(spec.name, release=release, events=(Event.BLESSING,))
    if not rows or digest_of(rows[-1].payload) != blessing.digest:
        raise NotBlessed(f"{release}: this blessing is not the one on record; bless the release first", release=release)


def facts(
    spec: ReleaseSpec, blessing: Blessing, bundle: ModelBundle, reports: Iterable[GateReport], lineage: Lineage
) -> dict[str, Json]:
    """Return what the registry shows of a bundle: parameters, metrics, tags, the data, and a page to read."""
    subjects, reports = blessing.subjects, tuple(reports)
    return {
        "params": {
            "family": spec.training.family,
            "seed": spec.training.seed,
            "split": spec.split.method.value,
            **{f"parameter.{name}": value for name, value in lineage.parameters.items()},
        },
        "metrics": _metrics(reports),
        "tags": {
            "lockgate.data": subjects.data,
            "lockgate.code": subjects.code,
            "lockgate.commit": lineage.commit or "none",
            "lockgate.blessing": blessing.digest,
            "lockgate.compared_with": subjects.champion or "none",
            "lockgate.requirements": bundle.parts.get("requirements.lock", "none"),
            **_head_tags(lineage.head),
        },
        "dataset": {"name": spec.name, "digest": subjects.data, "source": lineage.source, "rows": dict(lineage.rows)},
        "artifacts": [str(path) for path in lineage.artifacts],
        "description": describe(spec, blessing, reports, lineage.links or {}),
    }


def _head_tags(head: Head | None) -> dict[str, str]:
    if head is None:
        return {}
    return {
        "lockgate.ledger.seq": str(head.seq),
        "lockgate.ledger.hash": head.row_hash,
        "lockgate.ledger.signature": head.signature,
    }


def _metrics(reports: Iterable[GateReport]) -> dict[str, float]:
    """Return every number that was compared; the estimate where there is one, since people read that."""
    metrics = {}
    for report in reports:
        for check in report.checks:
            number = check.observed if check.estimate is None else check.estimate
            if number is not None:
                metrics[f"{report.gate}/{_place(check)}"] = float(number)
    return metrics


def _place(check: Check) -> str:
    return check.name if check.slice == "all" else f"{check.name}/{check.slice}"


def describe(spec: ReleaseSpec, blessing: Blessing, reports: Iterable[GateReport], links: Mapping[str, str]) -> str:
    """Return the version's page in markdown: the verdict of every gate, and where to read on."""
    subjects = blessing.subjects
    lines = [
        f"**{subjects.release}**: blessed. {spec.model.description}".rstrip(),
        "",
        f"Compared with champion `{subjects.champion[:12]}`."
        if subjects.champion
        else "There was no champion before it.",
        "",
        "| gate | verdict | why |",
        "|---|---|---|",
        *(
            f"| {each.gate} | {_MARKS.get(each.verdict, '')} {each.verdict} | {_cell(each.reason)} |"
            for each in reports
        ),
        "",
        *(f"- [{name}]({link})" for name, link in links.items()),
        f"- On record: `lockgate explain {subjects.release}`, `lockgate verify {subjects.release}`",
        f"- Bundle `{subjects.bundle}`, data `{subjects.data}`",
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
