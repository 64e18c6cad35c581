"""What an auditor finds: one fact that does not hold, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lockgate.core.ids import ModelName, ReleaseId
from lockgate.core.ledger import LedgerRow

PROGRAM: Final = "program"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing in the record that does not hold.

    Attributes:
        model: Whose record.
        seq: The row it shows at; None when it concerns the record as a whole.
        release: The release it concerns; None when it concerns the chain.
        what: chain, head, record, evidence, verdict, thresholds, blessing, approval, override, traffic, rollout,
            outcome or missing; or program: nothing is wrong, but another program judged, and only what both check was
            recomputed.
        message: One sentence.
    """

    model: ModelName
    seq: int | None = None
    release: ReleaseId | None = None
    what: str
    message: str

    @property
    def is_note(self) -> bool:
        """Whether it only says how far the recomputation went."""
        return self.what == PROGRAM


def finding_at(row: LedgerRow, what: str, message: str) -> Finding:
    """Return a finding that shows at a row."""
    return Finding(model=row.model, seq=row.seq, release=row.release, what=what, message=f"row {row.seq}: {message}")
