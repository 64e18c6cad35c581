"""The landing folder: files arrive here, and leave it to one of two places.

    landing/<model>/FILE ── ingested ──> landed-done/<model>/FILE
                         └── refused ──> quarantine/<model>/FILE beside FILE.reason.txt

A file's identity is its content (sha256); its name is for people. Nothing is ever deleted or overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lockgate.adapters.durable_files import copy_whole, sha256_of, write_whole
from lockgate.config import Settings
from lockgate.core.ids import Digest, ModelName
from lockgate.errors import BadInput
from lockgate.ports import Batch, Clock
from lockgate.serving.disk import sync

SETTLE_S = 2.0
"""A file that is no whole Parquet counts as still being written until it has not changed for so long."""
_MAGIC = b"PAR1"  # first and last four bytes of a whole Parquet file (parquet-format, "File format")


@dataclass(frozen=True, slots=True)
class Landing:
    """The landing folders of all models.

    Attributes:
        settings: Says where they are.
        clock: Tells how long a file has not changed.
    """

    settings: Settings
    clock: Clock

    def done(self, model: ModelName) -> Path:
        """Where ingested files lie."""
        return self.settings.home / "landed-done" / model

    def land(self, model: ModelName, source: Path) -> Batch:
        """Copy a file in; the same content that already waits is not copied again.

        Raises:
            BadInput: There is no such file, it is empty, or its name would be hidden.
            TransientError: The disk is full.
        """
        if not source.is_file():
            raise BadInput(f"there is no file {source}; give the path of a Parquet file")
        if source.stat().st_size == 0:
            raise BadInput(f"{source} is empty; a batch is a Parquet file with rows")
        if _is_hidden(source.name):
            raise BadInput(
                f"{source.name} would be taken for a half-written file; rename it: no leading '.', no '.tmp'"
            )
        sha256 = sha256_of(source)
        target = _free_name(self.settings.landing(model), source.name, sha256)
        if not target.exists():
            settled = self.clock.now().timestamp() - SETTLE_S
            copy_whole(source, target, modified_s=settled)
        return Batch(path=target, name=target.name, sha256=sha256)

    def landed(self, model: ModelName) -> tuple[Batch, ...]:
        """Return the whole files that wait, by name; hidden, temporary and half-written ones are left."""
        folder = self.settings.landing(model)
        if not folder.is_dir():
            return ()
        files = sorted(p for p in folder.iterdir() if p.is_file() and not _is_hidden(p.name))
        return tuple(Batch(path=p, name=p.name, sha256=sha256_of(p)) for p in files if self._is_whole(p))

    def finish(self, model: ModelName, batch: Batch) -> None:
        """Move an ingested file out of the landing folder; one that is gone already was moved before."""
        self._move(batch, self.done(model))

    def refuse(self, model: ModelName, batch: Batch, reason: str) -> None:
        """Move a file into quarantine, its reason beside it (written first, so that no file is there without one)."""
        folder = self.settings.quarantine(model)
        target = _free_name(folder, batch.name, batch.sha256)
        write_whole(_reason_file(target), f"{reason}\n\nfile: {batch.name}\nsha256: {batch.sha256}\n")
        self._move(batch, folder)

    def refused(self, model: ModelName, batch: Batch) -> str | None:
        """Return why this content was refused before; None when it was not."""
        target = _free_name(self.settings.quarantine(model), batch.name, batch.sha256)
        if not target.is_file():
            return None
        return _reason_file(target).read_text(encoding="utf-8").splitlines()[0]

    def _move(self, batch: Batch, folder: Path) -> None:
        if not batch.path.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        try:
            batch.path.rename(_free_name(folder, batch.name, batch.sha256))
        except FileNotFoundError:
            return  # another process moved it between the two statements
        sync(folder)

    def _is_whole(self, path: Path) -> bool:
        quiet_s = self.clock.now().timestamp() - path.stat().st_mtime
        return quiet_s >= SETTLE_S or _ends_as_parquet(path)


def told_rows(path: Path) -> int | None:
    """Return how many rows a Parquet file says it holds, from its footer; None when it does not say."""
    import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError):
        return None


def _ends_as_parquet(path: Path) -> bool:
    if path.stat().st_size < 2 * len(_MAGIC):
        return False
    with path.open("rb") as file:
        first = file.read(len(_MAGIC))
        file.seek(-len(_MAGIC), 2)
        return first == _MAGIC and file.read() == _MAGIC


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.endswith(".tmp")


def _free_name(folder: Path, name: str, sha256: Digest) -> Path:
    """Return where this content goes in a folder: its name, or with its hash if other content has the name."""
    plain = folder / name
    if not plain.exists() or sha256_of(plain) == sha256:
        return plain
    return folder / f"{Path(name).stem}-{sha256[:8]}{Path(name).suffix}"


def _reason_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.reason.txt")
