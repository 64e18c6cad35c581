"""The blessing: the proof that every required gate of stages 1 to 7 passed for one bundle.

Register, stage and promote *take* a `Blessing`; `bless` is the only way to make one. A gate that failed and that two
people let pass (`core/approval_overrides.py`) is named in the blessing with the row that allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lockgate.core.ids import Digest, ReleaseId, digest_of
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import NotBlessed


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """What a blessing is about; any other digest is another release.

    Attributes:
        release: The release that was judged.
        bundle: The bundle that would ship.
        spec: The spec it was judged by.
        data: The snapshot it was fitted and evaluated on.
        champion: The bundle it was compared with; None when the ledger shows there never was one.
        code: Commit, tree and lock digest of the program that judged.
    """

    release: ReleaseId
    bundle: Digest
    spec: Digest
    data: Digest
    champion: Digest | None
    code: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Blessing:
    """Proof that every required gate passed; made only by `bless`.

    Attributes:
        subjects: What it is about.
        reports: Digest of each gate's report, by gate name.
    """

    subjects: Subjects
    reports: Mapping[str, Digest]

    @property
    def digest(self) -> Digest:
        """The sha256 of the blessing, which approval and promotion refer to."""
        return digest_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverriddenBlessing(Blessing):
    """Proof that every required gate passed but for those that two people let pass.

    A form of its own, so that the digest of a blessing without overrides is what it always was.

    Attributes:
        overrides: Hash of the ledger row that lets each gate pass that failed, by gate name.
    """

    overrides: Mapping[str, Digest]


def bless(
    subjects: Subjects,
    reports: Iterable[GateReport],
    required: Iterable[str],
    overrides: Mapping[str, Digest] | None = None,
) -> Blessing:
    """Return the blessing, if every required gate reported PASS on evidence, or a FAIL that is overridden.

    Args:
        subjects: What the reports are about.
        reports: One report a gate.
        required: The names of the gates that must have passed.
        overrides: Hash of the row that overrides a gate, by gate: those that failed in this release and no others. They
            cover a FAIL, never an ERROR or INCONCLUSIVE.

    Raises:
        NotBlessed: A required gate is missing, reported twice, reported without evidence, or did not pass; or it says
            that there never was a champion where there is one.
    """
    by_gate: dict[str, GateReport] = {}
    for each in reports:
        if each.gate in by_gate:
            raise NotBlessed(f"gate {each.gate} reported twice; one verdict a gate", gate=each.gate)
        by_gate[each.gate] = each
    wanted = sorted(set(required))
    if not wanted:
        raise NotBlessed("no gate is required, so nothing can be blessed; declare the gates of stages 1 to 7")
    for name in wanted:
        found = by_gate.get(name)
        if found is None:
            raise NotBlessed(f"gate {name} did not report; a gate that did not run is not a pass", gate=name)
        fine = (Verdict.PASS, Verdict.FAIL) if overrides and name in overrides else (Verdict.PASS,)
        if found.verdict not in fine or found.evidence is None:
            raise NotBlessed(f"gate {name} said {found.verdict}: {found.reason}", gate=name, verdict=str(found.verdict))
        _refuse_denied_champion(found, subjects)
    named = {name: digest_of(by_gate[name]) for name in wanted}
    if overrides:
        used = {name: overrides[name] for name in sorted(overrides) if name in named}
        return OverriddenBlessing(subjects=subjects, reports=named, overrides=used)
    return Blessing(subjects=subjects, reports=named)


def _refuse_denied_champion(found: GateReport, subjects: Subjects) -> None:
    """Refuse a gate that compared with no champion although the release has one."""
    denied = [check.name for check in found.checks if check.verdict is Verdict.NOT_APPLICABLE]
    if denied and subjects.champion is not None:
        raise NotBlessed(
            f"gate {found.gate} left {denied[0]} out for want of a champion, and {subjects.champion[:12]} is one; "
            "start a new release",
            gate=found.gate,
        )
