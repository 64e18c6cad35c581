"""Handing a release over to its rollout, carrying the rollout out, and going back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lockgate.core.blessing import Blessing
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.progress import Progress
from lockgate.core.rollout.record import read_rollout
from lockgate.core.rollout.steps import course_of
from lockgate.core.verdict import GateReport
from lockgate.errors import ApprovalVoid, BadInput, LockgateError, NotBlessed, TransientError
from lockgate.line.model_line import Line
from lockgate.line.proxy_truth import promoted_by
from lockgate.ports import RunState
from lockgate.stages import promote as promoting
from lockgate.stages.reaping import NEVER_STARTED
from lockgate.stages.recording import blessing_of, reports_of
from lockgate.stages.releasing import note_promotion, opened_row
from lockgate.stages.rollback import roll_back as go_back
from lockgate.stages.traffic import Switch

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

ROLLOUT = "roll-out-model/production"
SWEEP = "reap-releases/reaper"
_SWEEP_S = 0.5
_BACK_S = 5.0  # who goes back is in a hurry: a server that is down is said to be down, and asked for again
_ATTEMPTS = 3  # ours: a process that is killed three times will not live the fourth time
_SLACK_S = 120.0  # a run's process start and its own retries, beside the switch's own bound


def hand_over(line: Line, so_far: Progress) -> Progress:
    """Start the rollout run of a release, once, wait for its end, and return how it went.

    The release id is the run's idempotency key: a second start, after a crash here, finds the first. A rollout whose
    own process crashed is started again, under the next key; it finishes what the first began.

    Raises:
        TransientError: The rollout did not end in time, or is half done; asked again, it is looked at again.
        NotRunning: The orchestrator is away.
    """
    parameters: dict[str, Json] = {"model": line.model, "release": so_far.release}
    for attempt in range(1, _ATTEMPTS + 1):
        key = f"roll-out {so_far.release}" if attempt == 1 else f"roll-out {so_far.release}, attempt {attempt}"
        run = line.services.runs.start_run(ROLLOUT, parameters, idempotency_key=key)
        state = _follow(line, run)
        if state.type != "CRASHED":
            break
    pending = line.ledger.state(line.model).pending.get("production")
    if pending is not None and pending.release == so_far.release:
        raise TransientError(f"rollout run {run} of {so_far.release} ended {state.name} and left it half done", run=run)
    return _outcome(line, so_far, run, f"{state.type} {state.name}")


def _follow(line: Line, run: str) -> RunState:
    """Wait until a rollout's run has ended; one that a worker took and never started is ended here, as crashed."""
    runs, clock = line.services.runs, line.services.clock

    def over(state: RunState) -> bool:
        return state.ended or (state.type == "PENDING" and clock.now() - state.since > NEVER_STARTED)

    state = runs.wait(run, over, within_s=_longest_s(line) + _SLACK_S)
    if state.ended:
        return state
    runs.end(run, type="CRASHED", name="Crashed", message="its worker died before it started; another is started")
    return replace(state, type="CRASHED", name="Crashed")


def _longest_s(line: Line) -> float:
    """Return how long a rollout may take by its spec: its steps at most, then the switch or the way back."""
    section = line.spec.rollout
    longest = course_of(section, sd=section.plan.sd or 1.0).max_duration_s if section.strategy.has_steps else 0.0
    return longest + section.timeout_s


def _outcome(line: Line, so_far: Progress, run: str, state: str) -> Progress:
    """Read from the ledger, not from the run, what became of production."""
    bundle = Digest(so_far.refs["bundle"])
    rows = line.ledger.rows(line.model, release=so_far.release, events=(Event.TRAFFIC_VERIFIED,))
    if any(row.payload["environment"] == "production" and row.payload["to"] == bundle for row in rows):
        now = line.ledger.state(line.model).champion
        if now == bundle:
            name = ReleaseId(so_far.release)
            rests = promoted_by(read_rollout(line.ledger.rows(line.model, release=name), name))
            told = f"production answers with bundle {bundle[:12]}, verified from live answers{rests}"
            return so_far.end(Outcome.PROMOTED, told)
        return so_far.end(Outcome.ROLLED_BACK, "it was promoted and rolled back since")
    events = (Event.ROLLOUT_BEGUN, Event.ROLLOUT_ENDED)
    ended = line.ledger.rows(line.model, release=so_far.release, events=events)
    if ended and ended[-1].event is Event.ROLLOUT_BEGUN:
        told = f"its rollout's run ended {state} half way; the challenger's lease ends, the reaper puts it on record"
        return so_far.end(Outcome.INCONCLUSIVE, f"{told}. See rollout run {run}")
    if ended:
        verdict, reason = RolloutVerdict(str(ended[-1].payload["verdict"])), str(ended[-1].payload["reason"])
        outcome = Outcome.ROLLED_BACK if verdict is RolloutVerdict.ROLL_BACK else Outcome.INCONCLUSIVE
        return so_far.end(outcome, f"its rollout ended {verdict.value.replace('_', ' ')}: {reason}")
    return so_far.end(
        Outcome.ROLLED_BACK,
        f"the rollout could not be verified ({state}) and the champion before it serves; see rollout run {run}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """What allows a release into production, as it is now.

    Attributes:
        blessing: Proof of the gates of stages 1 to 7.
        staging: The staging gate's report.
        dossier: Digest of the dossier as it lies on disk.
        reason: Why the release was started.
    """

    blessing: Blessing
    staging: GateReport
    dossier: Digest
    reason: str


def promotion_of(line: Line, release: ReleaseId) -> Promotion:
    """Return what allows a release into production.

    Raises:
        NotBlessed: It has no blessing, or the staging gate did not report.
        ApprovalVoid: Its dossier is gone.
    """
    return Promotion(
        blessing=blessing_of(line.ledger, line.model, release),
        staging=_staging_report(line, release),
        dossier=_dossier(line, release),
        reason=str(opened_row(line.ledger, line.spec, release).payload["reason"]),
    )


def check_unchanged(line: Line, release: ReleaseId) -> None:
    """Check that code and spec are those that the release was opened with.

    Raises:
        ApprovalVoid: One of them changed.
    """
    opened = opened_row(line.ledger, line.spec, release)
    for what, now in (("code", line.services.code.digest), ("spec", line.spec.digest)):
        if opened.payload[what] != now:
            raise ApprovalVoid(f"the {what} changed since {release} was opened; start a new release", release=release)


def roll_out(line: Line, release: str) -> dict[str, str]:
    """Switch production to an approved release at once and verify it.

    Raises:
        ApprovalVoid: What was approved is not what would ship.
        RolloutAborted: It could not be verified and was undone.
    """
    name = ReleaseId(release)
    check_unchanged(line, name)
    allowed = promotion_of(line, name)
    row = promoting.promote(
        production(line, actor="roll-out-model"),
        allowed.blessing,
        allowed.staging,
        allowed.dossier,
        why=f"{release}: {allowed.reason}",
    )
    finish_promotion(line, name)
    return _told(line, row, f"{release} serves in production")


def finish_promotion(line: Line, release: ReleaseId) -> None:
    """Write that a release ended as promoted, if its own run had failed meanwhile."""
    note_promotion(line.ledger, line.spec, release, actor="roll-out-model")


def _staging_report(line: Line, release: ReleaseId) -> GateReport:
    for report in reports_of(line.ledger, line.model, release):
        if report.gate == "staging":
            return report
    raise NotBlessed(f"gate staging did not report for {release}; stage it first", gate="staging")


def _dossier(line: Line, release: ReleaseId) -> Digest:
    """Return the digest of the dossier as it lies on disk now, which is what an approver would be shown."""
    from lockgate.core.ids import digest_bytes

    path = line.services.settings.release(release) / "dossier.html"
    if not path.is_file():
        raise ApprovalVoid(f"the dossier of {release} is gone from {path}; start a new release", release=release)
    return digest_bytes(path.read_bytes())


def roll_back(line: Line, reason: str, actor: str) -> dict[str, str]:
    """Put the previous champion back, verified from live answers.

    Raises:
        BadInput: There is no champion to go back to.
        RolloutAborted: The target refused it; what served goes on serving.
    """
    row = go_back(replace(production(line, actor=actor), timeout_s=_BACK_S), reason)
    told = _told(line, row, f"{line.model}: the previous champion is back in production")
    return told | {"to undo": f"release it again: lockgate release --model {line.model}"}


def wait_for_drill(line: Line) -> None:
    """Check that no drill of the rollback is under way.

    Raises:
        TransientError: One is; it takes a minute, ask again.
    """
    from lockgate.stages.drilling import drill_under_way

    drill = drill_under_way(line.ledger.rows(line.model), line.services.clock.now())
    if drill is not None:
        raise TransientError(f"{drill} is under way, a rehearsal that takes a minute; the rollout waits for its end")


def start_again(services: Services, model: ModelName, release: ReleaseId, *, by: str) -> str:
    """Start another rollout of a release whose last one was inconclusive, and return its run.

    Raises:
        BadInput: It never was rolled out, is under way, or did harm; says which.
    """
    from lockgate.stages.drilling import under_way

    ended = services.ledger.rows(model, release=release, events=(Event.ROLLOUT_BEGUN, Event.ROLLOUT_ENDED))
    if not ended or ended[-1].event is not Event.ROLLOUT_ENDED:
        now = "its rollout is under way" if ended else "it was never rolled out; that follows its approval by itself"
        raise BadInput(f"{release}: {now}. See: lockgate rollout status --model {model}")
    verdict, reason = RolloutVerdict(str(ended[-1].payload["verdict"])), ended[-1].payload["reason"]
    if verdict is not RolloutVerdict.INCONCLUSIVE:
        told = f"rolled back, {reason}" if verdict is RolloutVerdict.ROLL_BACK else "it was promoted"
        raise BadInput(f"the rollout of {release} ended: {told}; start a new release: lockgate release --model {model}")
    beside = under_way(services.ledger.rows(model), services.clock.now())
    if beside is not None:
        raise BadInput(f"{beside} is under way and would lose its traffic; wait for it, or end it first")
    attempt = sum(row.event is Event.ROLLOUT_ENDED for row in ended) + 1
    asked: dict[str, Json] = {"what": "start", "by": by, "reason": "the rollout before was inconclusive"}
    services.ledger.append(model, Event.ROLLOUT_ASKED, asked, release=release, actor=by)
    parameters: dict[str, Json] = {"model": model, "release": release}
    return services.runs.start_run(ROLLOUT, parameters, idempotency_key=f"roll-out {release}, rollout {attempt}")


def ask_for_sweep(line: Line) -> bool:
    """Ask the orchestrator to bring aliases and routing in line with the ledger; False when it is away.

    The scheduled sweep does the same later, so nothing depends on it.
    """
    from lockgate.adapters.prefect_api import PrefectApi

    with PrefectApi(line.services.settings.prefect_api, within_s=_SWEEP_S) as runs:
        try:
            runs.start_run(SWEEP, {})
        except LockgateError:
            return False
    return True


def production(line: Line, *, actor: str) -> Switch:
    """Return the switch of the production environment."""
    return Switch(
        ledger=line.ledger,
        target=line.services.target("production"),
        model=line.model,
        actor=actor,
        readback_requests=line.spec.rollout.readback_requests,
        timeout_s=line.spec.rollout.timeout_s,
    )


def _told(line: Line, row: LedgerRow, sentence: str) -> dict[str, str]:
    return {
        "sentence": sentence,
        "model": line.model,
        "bundle": str(row.payload["to"]),
        "before": str(row.payload.get("from") or "none"),
        "sequence": str(row.payload["sequence"]),
        "verified at": row.at.isoformat(),
        "to undo": f"lockgate rollback {line.model}",
    }
