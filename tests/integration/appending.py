"""Appends rows until it is told how many, or killed; prints each sequence once its append has returned."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from lockgate.adapters.ledger_keys import LedgerSigner
from lockgate.adapters.sql_ledger import SqlLedger
from lockgate.core.ids import ModelName
from lockgate.core.ledger import Event


class _Wall:
    def now(self) -> datetime:
        return datetime.now(UTC)


def main(folder: Path, writer: str, rows: int) -> None:
    with SqlLedger(f"sqlite:///{folder}/ledger.db", _Wall(), LedgerSigner(folder / "ledger.key")) as ledger:
        for i in range(rows):
            row = ledger.append(ModelName("flights"), Event.EVIDENCE, {"writer": writer, "i": i, "bulk": "x" * 20_000})
            sys.stdout.write(f"{row.seq}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
