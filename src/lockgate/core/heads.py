"""The signed head of a chain: what lets a reader see that the tail was cut or the chain rewritten.

Every append signs its own row's hash. A head copied elsewhere (the dossier, an MLflow tag) is an anchor: whoever
rewrites the database cannot rewrite the copy.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.core.ids import Digest, ModelName, canonical_json

_PURPOSE = "lockgate ledger head, version 1"  # a signature made for anything else never verifies as a head


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One signed head.

    Attributes:
        model: The chain.
        seq: The row that was the last one when this was signed.
        row_hash: That row's hash, as it was signed.
        signature: Base64 of an ECDSA P-256 (SHA-256, DER) signature over `message`.
    """

    model: ModelName
    seq: int
    row_hash: Digest
    signature: str

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        return head_message(self.model, self.seq, self.row_hash)


def head_message(model: ModelName, seq: int, row_hash: Digest) -> bytes:
    """Return the bytes whose signature makes a row the head of its chain."""
    return canonical_json({"purpose": _PURPOSE, "model": model, "seq": seq, "row_hash": row_hash})
