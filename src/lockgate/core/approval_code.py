"""The one-time code of a decision: what it is bound to, and how a forged, foreign or stale one is refused.

    NAME:EXPIRY:ID:MAC      EXPIRY seconds since the epoch, ID of this one code, MAC over all that it is bound to

A code says who decided, and nothing else travels in it. It is an HMAC-SHA256 (RFC 2104) over release, dossier,
decision, name, expiry and id, under a key of this installation. That it is used once is the record's matter.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

from lockgate.core.ids import Digest, ReleaseId, canonical_json
from lockgate.errors import BadInput

CODE_S = 600.0
"""Ours: ten minutes are enough to open a page, paste and submit, and for a suspended run to come back (8 to 21 s)."""
_MAC_BYTES = 20  # 160 bits, written as 32 letters: beyond guessing, and short enough to paste
_NEW = "make a new one: lockgate approve RELEASE --print-code (or lockgate reject)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a code is good for.

    Attributes:
        release: The release that is decided on.
        dossier: Digest of the dossier that was there to read.
        decision: approve or reject.
    """

    release: ReleaseId
    dossier: Digest
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a genuine code says.

    Attributes:
        approver: Who decided.
        expires_at: Until when it is good, aware UTC, whole seconds.
        id: Names this one code on record; says nothing about its secret part.
    """

    approver: str
    expires_at: datetime
    id: str


def make_code(key: bytes, bound: Bound, claim: Claim) -> str:
    """Return the code of a claim."""
    return f"{claim.approver}:{int(claim.expires_at.timestamp())}:{claim.id}:{_mac(key, bound, claim)}"


def read_code(key: bytes, text: str, bound: Bound) -> Claim:
    """Return what a code says, if it was made with this key for exactly this; its expiry is left to the reader.

    Raises:
        BadInput: It is malformed, altered, or made for something else. The message never repeats it.
    """
    parts = "".join(text.split()).split(":")
    if not text.isascii() or len(parts) != 4 or not parts[1].isdecimal() or len(parts[1]) > 11 or not all(parts):
        raise BadInput(f"this is no code, which has four parts NAME:EXPIRY:ID:MAC; {_NEW}")
    claim = Claim(approver=parts[0], expires_at=datetime.fromtimestamp(int(parts[1]), UTC), id=parts[2])
    if not hmac.compare_digest(_mac(key, bound, claim).encode(), parts[3].encode()):
        raise BadInput(
            f"the code is not one to {bound.decision} {bound.release} by the dossier that was asked about: it was made "
            f"for another release, decision or dossier, or it was altered; {_NEW}"
        )
    return claim


def refuse_expired(claim: Claim, now: datetime) -> None:
    """Check that a code is still good.

    Raises:
        BadInput: Its time is over.
    """
    if now > claim.expires_at:
        raise BadInput(f"the code of {claim.approver} expired at {claim.expires_at.isoformat()}; {_NEW}")


def _mac(key: bytes, bound: Bound, claim: Claim) -> str:
    said = canonical_json({"purpose": "lockgate approval code 1", "bound": bound, "claim": claim})
    return base64.b32encode(hmac.new(key, said, hashlib.sha256).digest()[:_MAC_BYTES]).decode()
