"""The form in which a tally is kept on disk: a header, its JSON, its entities, and a hash over all of it.

Sixteen bytes an entity, and what waits for labels, closing blocks or other halves as JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from lockgate.errors import IntegrityError

_FORM: Final = b"lockgate tally 1\n"
_LENGTH_BYTES: Final = 8
_HASH_BYTES: Final = 32


def packed(state: Mapping[str, object], entities: bytes) -> bytes:
    """Return the bytes of a state and its entities."""
    told = json.dumps(state, separators=(",", ":")).encode()
    body = b"".join((_FORM, len(told).to_bytes(_LENGTH_BYTES, "big"), told, entities))
    return body + hashlib.sha256(body).digest()


def unpacked(data: bytes, began_with: str) -> tuple[Mapping[str, Any], bytes]:
    """Return what `packed` was given.

    Args:
        data: Its bytes.
        began_with: Digest of what the tally must have been begun with.

    Raises:
        IntegrityError: The bytes are cut short or changed, of another form, or of a tally begun with something else.
    """
    body, start = data[:-_HASH_BYTES], len(_FORM) + _LENGTH_BYTES
    if not body.startswith(_FORM) or hashlib.sha256(body).digest() != data[-_HASH_BYTES:]:
        raise IntegrityError(
            f"the {len(data)} bytes of the tally are damaged, or of another version; abort the rollout and start it "
            "again, since what was counted is lost"
        )
    end = start + int.from_bytes(body[len(_FORM) : start], "big")
    state: Mapping[str, Any] = json.loads(body[start:end])
    if state["began_with"] != began_with:
        raise IntegrityError(
            "the tally was begun with another course, section or task than the rollout has now; abort the rollout and "
            "start it again",
            expected=began_with,
            found=state["began_with"],
        )
    return state, body[end:]
