"""Starting several approved releases beside one champion: each is looked at first, and refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.several_rules import refuse_unless_split
from lockgate.errors import ApprovalVoid, BadInput, ConfigError, NotBlessed
from lockgate.line.attempts import attempt_of, too_many
from lockgate.line.giving_up import ACTOR, record_of
from lockgate.line.model_line import Line
from lockgate.line.rollout import ROLLOUT, check_unchanged, production, promotion_of
from lockgate.stages import promote as promoting

if TYPE_CHECKING:
    from lockgate.bootstrap import Services


def start_several(services: Services, model: ModelName, releases: Sequence[ReleaseId], *, by: str) -> str:
    """Start the rollouts of several releases beside one champion, and return the run that carries them.

    Raises:
        BadInput: One may not be rolled out, two are the same, or something else is under way; says which, and what to
            do next.
    """
    from lockgate.stages.drilling import under_way

    line = Line(services=services, spec=services.spec(model))
    _refuse_if_no_split(line, len(releases))
    if len(set(releases)) < len(releases):
        raise BadInput(f"{', '.join(releases)} names one release twice; give each once")
    bundles = {name: _startable(line, name) for name in releases}
    if len(set(bundles.values())) < len(releases):
        raise BadInput(f"two of {', '.join(releases)} are of one bundle; compare releases that differ")
    busy = under_way(services.ledger.rows(model), services.clock.now())
    if busy is not None:
        raise BadInput(f"{busy} is under way and would lose its traffic; wait for it, or end it first")
    others: list[Json] = list(releases[1:])
    begun = services.ledger.rows(model, release=releases[0], events=(Event.ROLLOUT_BEGUN,))
    for name in releases:
        beside: list[Json] = [each for each in releases if each != name]
        asked: dict[str, Json] = {"what": "start", "by": by, "reason": "to be compared at once", "beside": beside}
        services.ledger.append(model, Event.ROLLOUT_ASKED, asked, release=name, actor=by)
    parameters: dict[str, Json] = {"model": model, "release": releases[0], "beside": others}
    key = f"roll-out {' beside '.join(releases)}, rollout {len(begun) + 1}"
    return services.runs.start_run(ROLLOUT, parameters, idempotency_key=key)


def _refuse_if_no_split(line: Line, many: int) -> None:
    try:
        refuse_unless_split(line.spec.rollout, many)
    except ConfigError as refused:
        told = "for releases of this spec one after the other: lockgate rollout start RELEASE"
        raise BadInput(f"{line.model}: {refused.message}; {told}") from refused


def _startable(line: Line, name: ReleaseId) -> Digest:
    """Return the bundle of a release that may be beside the champion now.

    Raises:
        BadInput: It may not; says why and what to do next.
    """
    found = record_of(line, name)
    if found is None:
        next_ = f"that follows its approval by itself; see: lockgate explain {name}"
        raise BadInput(f"{name} was never rolled out; {next_}")
    if not found.ended:
        raise BadInput(f"the rollout of {name} is under way; see: lockgate rollout status --model {line.model}")
    if found.rollout.verdict is not RolloutVerdict.INCONCLUSIVE:
        how = "was promoted" if found.rollout.verdict is RolloutVerdict.PROMOTE else f"did harm: {found.rollout.reason}"
        raise BadInput(f"{name} {how}; start a new release: lockgate release --model {line.model}")
    try:
        check_unchanged(line, name)
        allowed = promotion_of(line, name)
        promoting.require_allowed(production(line, actor=ACTOR), allowed.blessing, allowed.staging, allowed.dossier)
    except (ApprovalVoid, NotBlessed) as refused:
        next_ = f"start a new release: lockgate release --model {line.model}"
        raise BadInput(f"{name} may not be rolled out: {refused.message}. {next_}") from refused
    bundle, champion = allowed.blessing.subjects.bundle, allowed.blessing.subjects.champion
    worn_out = None if champion is None else too_many(attempt_of(line, bundle, champion))
    if worn_out is not None:
        raise BadInput(f"{name}: {worn_out} --model {line.model}")
    return bundle
