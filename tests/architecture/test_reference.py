"""The reference pages are written from the code; a committed page that is not what the code says is stale."""

from __future__ import annotations

from pathlib import Path

from lockgate.cli.reference import write_pages

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_reference_is_what_the_code_says(tmp_path: Path) -> None:
    for page in write_pages(tmp_path):
        assert (ROOT / "docs" / "reference" / page.name).read_text() == page.read_text(), "run: make docs"
