"""What goes on beside releases: landed files announced, dead runs ended, aliases and half-done switches reconciled."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import partial
from uuid import NAMESPACE_URL, uuid5

from lockgate.core.drills import is_drill
from lockgate.core.ids import Json, ReleaseId, as_float
from lockgate.core.ledger import Event
from lockgate.core.rollout.state import Wish
from lockgate.line.approval_recheck import void_of
from lockgate.line.learning import ask_about_landed
from lockgate.line.model_line import Line
from lockgate.stages import learning

LANDED = "lockgate.batch.landed"
MOST_NAMES = 100  # ours: an event is read by people; ten thousand names are not
SILENT_S = 120.0  # ours: a run that crashed is started again within seconds
STUCK_S = 900.0  # ours: one whose run goes on, but for its worker's death, waits for server and retries far shorter
SILENT_LOOKS = 10
UNHEARD_S = 5.0  # ours: a rollout that somebody carries hears within a second or two what is asked of it
ANNOUNCE_AGAIN_S = 600.0  # an event that started nothing is emitted again; ingestion makes a second run a no-op


def announce(line: Line) -> bool:
    """Emit the event that starts a release, if there is new data and the retraining policy agrees; tells whether so.

    New data are files that the ledger does not know, or rows taken in that the policy held back before. The event's id
    is made from the content, so that announcing the same files twice is one event.
    """
    known = line.ledger.state(line.spec.name).ingested
    fresh = [batch for batch in line.services.store.landed(line.spec.name) if batch.sha256 not in known]
    held_back = learning.held_back(line.ledger, line.spec)
    if not fresh and held_back is None:
        return False
    if not ask_about_landed(line, fresh).train:
        return False
    content = ",".join([*sorted(batch.sha256 for batch in fresh), held_back or ""])
    window = int(line.services.clock.now().timestamp() // ANNOUNCE_AGAIN_S)
    names: list[Json] = [batch.name for batch in fresh[:MOST_NAMES]]
    line.services.runs.emit_event(
        LANDED,
        f"lockgate.model.{line.spec.name}",
        {"model": line.spec.name, "files": names, "count": len(fresh)},
        id=str(uuid5(NAMESPACE_URL, f"{line.spec.name}:{content}:{window}")),
    )
    return True


def reap_line(line: Line) -> list[str]:
    """Let the reaper look at the model once; returns what it did."""
    from lockgate.stages.reaping import reap

    services = line.services
    done = reap(
        line.ledger,
        services.runs,
        services.clock,
        services.notifier,
        line.spec,
        lives=process_lives,
        void=partial(void_of, line),
    )
    return ([] if done is None else [f"{done.release}: {done.did}"]) + reap_rollout(line)


def reap_rollout(line: Line) -> list[str]:
    """End rollouts whose process is gone and that nobody took over, and those whose override was withdrawn."""
    ends = line.ledger.rows(line.model, events=(Event.ROLLOUT_BEGUN, Event.ROLLOUT_ENDED))
    last = {row.release: row.event for row in ends if row.release is not None and not is_drill(row.release)}
    return [
        did for release, event in last.items() if event is Event.ROLLOUT_BEGUN for did in _reap_rollout(line, release)
    ]


def _reap_rollout(line: Line, release: ReleaseId) -> list[str]:
    from lockgate.core.rollout.record import PROCESS_GONE, read_rollout
    from lockgate.line.cancelling import ask_to_abort, cancelled_of
    from lockgate.line.carrying import DECIDED
    from lockgate.line.giving_up import withdrawn_of
    from lockgate.line.rolling import end_abandoned

    rows = line.ledger.rows(line.model, release=release)
    found = read_rollout(rows, release)
    if found is None or found.ended or not found.run:
        return []
    decided = found.rollout.phase in DECIDED
    why = None if decided else withdrawn_of(line, release) or cancelled_of(line, release, found.run)
    if why is not None and ask_to_abort(line, found, by="reaper", reason=why):
        # whoever carries it on hears this within a turn; where nobody does, what follows ends it
        return [f"{release}: its rollout is taken back, because {why}"]
    wish = next((each for each in found.wishes if each.what == Wish.ABORT), None)
    if wish is not None and (line.services.clock.now() - wish.at).total_seconds() >= UNHEARD_S:
        ended = end_abandoned(line, release, f"aborted by {wish.by}: {wish.reason}")
        return [f"{release}: its rollout ended {ended.verdict}, because {wish.by} asked so and nobody carries it"]
    silent_s = (line.services.clock.now() - rows[-1].at).total_seconds()
    state = line.services.runs.state(found.run)
    longest_s = SILENT_S if state is None or state.ended else STUCK_S
    if silent_s < max(longest_s, SILENT_LOOKS * found.course.look_s):
        return []
    ended = end_abandoned(line, release, PROCESS_GONE)
    return [f"{release}: its rollout ended {ended.verdict}, because its process was gone"]


def reconcile_line(line: Line) -> list[str]:
    """Bring half-recorded switches and drills to an end, set the registry's aliases from the ledger, ask for drills."""
    from lockgate.line.drilling import watch_drills
    from lockgate.stages.reconcile import reconcile

    services = line.services
    targets = [services.target(name) for name in ("staging", "production")]
    drilled = watch_drills(line)
    return drilled + list(reconcile(line.ledger, services.registry, targets, line.spec.name, clock=services.clock))


def process_lives(process: Mapping[str, Json]) -> bool | None:
    """Tell whether a recorded process still runs; None when it ran on another machine or was not recorded."""
    import psutil

    if process.get("host") != platform.node():
        return None
    try:
        found = psutil.Process(int(as_float(process["pid"])))
        return abs(found.create_time() - as_float(process["started"])) < 1.0
    except psutil.NoSuchProcess:
        return False
