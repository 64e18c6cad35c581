"""How far a release has come: the one value that travels from stage to stage.

It carries references only (digests, paths, links), so that it is small, hashes to the same cache key after a crash,
and can be read in the orchestrator's UI.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from lockgate.core.ids import Digest, ModelName, ReleaseId, Stage
from lockgate.core.ledger import Outcome
from lockgate.core.verdict import GateReport, Verdict, fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where one release stands.

    Attributes:
        model: The model.
        release: Its id; empty when there was nothing to release.
        run: The flow run that carries it.
        spec: Digest of the spec it is judged by.
        code: Digest of the program that judges.
        stage: The last stage that finished.
        refs: What the stages made, by name: digests, paths and links.
        ended: How the release ended, once it has.
        gate: The gate that stopped it.
        reason: Why it ended, in one sentence with the next step.
    """

    model: ModelName
    release: ReleaseId
    run: str
    spec: Digest
    code: Digest
    stage: Stage | None = None
    refs: Mapping[str, str] = field(default_factory=dict)
    ended: Outcome | None = None
    gate: str | None = None
    reason: str = ""

    def with_refs(self, stage: Stage, **refs: str) -> Progress:
        """Return the progress after a stage that made these."""
        return replace(self, stage=stage, refs={**self.refs, **refs})

    def judged(self, reports: Iterable[GateReport], overridden: Collection[str] = ()) -> Progress:
        """Return the progress after a stage's gates: unchanged when all passed, else ended by the worst of them.

        Args:
            reports: One a gate of the stage.
            overridden: Gates whose FAIL two people let pass; their ERROR and INCONCLUSIVE stop it all the same.
        """
        told = tuple(reports)
        reported = tuple(each for each in told if not (each.verdict is Verdict.FAIL and each.gate in overridden))
        if told and not reported:
            return self
        verdict = fold(r.verdict for r in reported)
        if verdict is Verdict.PASS:
            return self
        worst = next((r for r in reported if r.verdict is verdict), None)
        gate = worst.gate if worst else None
        reason = worst.reason if worst else "no gate reported"
        outcome = {Verdict.FAIL: Outcome.BLOCKED, Verdict.ERROR: Outcome.FAILED}.get(verdict, Outcome.INCONCLUSIVE)
        return self.end(outcome, f"gate {gate} said {verdict}: {reason}", gate=gate)

    def end(self, outcome: Outcome, reason: str, *, gate: str | None = None) -> Progress:
        """Return the progress of a release that ended so."""
        return replace(self, ended=outcome, reason=reason, gate=gate)
