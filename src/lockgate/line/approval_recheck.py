"""What is looked at again and again while a release waits for its approval, so that nobody answers a void question.

    champion   another one serves since the question was asked          superseded
    code, spec the program, its lock or the spec is another one         expired, as entering the run would say
    bundle     its bytes are not what was signed, or it is gone         blocked
    dossier    what there is to read is not what was asked about        blocked
    override   one that the blessing rests on was withdrawn             blocked

The champion's health is not among them: that what serves now is ill is a reason to decide sooner, and the approver sees
it in `lockgate status`.
"""

from __future__ import annotations

from lockgate.adapters.code_identity import program_digest
from lockgate.core.ids import Digest, digest_bytes
from lockgate.core.ledger import Event, Outcome
from lockgate.core.model_state import OpenRelease
from lockgate.errors import BadInput, IntegrityError, NotBlessed
from lockgate.line.model_line import Line
from lockgate.stages.overriding import no_longer_overridden
from lockgate.stages.reaping import Void
from lockgate.stages.recording import blessing_of
from lockgate.stages.releasing import opened_row

_ANEW = "start a new release"


def void_of(line: Line, held: OpenRelease) -> Void | None:
    """Return why the question of a waiting release is void; None while everything is as it was when it was asked."""
    return _superseded(line, held) or _other_program(line, held) or _broken(line, held)


def _superseded(line: Line, held: OpenRelease) -> Void | None:
    asked = line.ledger.rows(line.model, release=held.release, events=(Event.APPROVAL_ASKED,))[-1].payload
    then, now = asked.get("champion"), line.ledger.state(line.model).champion
    if then == now:
        return None
    told = f"the champion changed while {held.release} waited ({_short(then)} when it was asked, {_short(now)} now)"
    return Void(outcome=Outcome.SUPERSEDED, reason=f"{told}; what was compared is no longer what serves: {_ANEW}")


def _other_program(line: Line, held: OpenRelease) -> Void | None:
    opened = opened_row(line.ledger, line.spec, held.release).payload
    # read anew: this process may be older than what it looks at
    now = {"code": program_digest(line.services.settings.project), "spec": line.spec.digest}
    for what, digest in now.items():
        then = opened.get(what)
        if then != digest:
            told = f"the {what} changed while {held.release} waited ({_short(then)} then, {_short(digest)} now)"
            return Void(outcome=Outcome.EXPIRED, reason=f"{told}; what would run is not what was judged: {_ANEW}")
    return None


def _broken(line: Line, held: OpenRelease) -> Void | None:
    asked = line.ledger.rows(line.model, release=held.release, events=(Event.APPROVAL_ASKED,))[-1].payload
    try:
        blessing = blessing_of(line.ledger, line.model, held.release)
        line.services.bundles.get(blessing.subjects.bundle)
    except (BadInput, IntegrityError, NotBlessed) as broken:
        return Void(outcome=Outcome.BLOCKED, reason=f"the bundle cannot be served any more: {broken.message}; {_ANEW}")
    page = line.services.settings.release(held.release) / "dossier.html"
    if not page.is_file() or digest_bytes(page.read_bytes()) != Digest(str(asked.get("dossier"))):
        return Void(outcome=Outcome.BLOCKED, reason=f"{page} is not the dossier that was asked about; {_ANEW}")
    withdrawn = no_longer_overridden(line.ledger, line.model, blessing)
    return None if withdrawn is None else Void(outcome=Outcome.BLOCKED, reason=withdrawn)


def _short(digest: object) -> str:
    return "none" if digest is None else str(digest)[:12]
