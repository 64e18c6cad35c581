"""The last measurement of features together, kept by bundle: `<home>/monitoring/<model>/.joint-<digest12>.json`.

It is there whole or not at all; one that is damaged is only made again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from lockgate.core.ids import Digest, Json, canonical_json, digest_of, to_json
from lockgate.core.records import read_record
from lockgate.errors import IntegrityError, TransientError
from lockgate.serving.disk import write_synced

logger = logging.getLogger(__name__)

_CHECK: Final = "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptJoint:
    """One measurement.

    Attributes:
        key: Digest of what decides it beside the days: bundle, training rows, settings.
        made_on: The day (UTC) it was made on.
        days: Digest of the days that it is of.
        measured: What was measured.
    """

    key: str
    made_on: str
    days: str
    measured: Mapping[str, Json]

    def holds(self, key: str, made_on: str, days: str) -> bool:
        """Tell whether it need not be made again: it is of today, or no other days are there since."""
        return self.key == key and (self.made_on == made_on or self.days == days)


def kept_joint(folder: Path, digest: Digest) -> KeptJoint | None:
    """Return the last measurement of a bundle; None where there is none that is whole."""
    path = _path(folder, digest)
    try:
        told = json.loads(path.read_bytes())
        content = {name: value for name, value in told.items() if name != _CHECK}
        if told.get(_CHECK) != digest_of(content):
            raise IntegrityError("its bytes are not what was written")  # noqa: TRY301 - as damaged as what is no JSON
        return read_record(KeptJoint, content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, IntegrityError) as broken:
        logger.warning("%s is damaged; it is measured again: %s", path, broken)
        return None


def keep_joint(folder: Path, digest: Digest, made: KeptJoint) -> None:
    """Keep a measurement.

    Raises:
        TransientError: The folder cannot be written now.
    """
    content = {each.name: to_json(getattr(made, each.name)) for each in fields(KeptJoint)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_synced(_path(folder, digest), canonical_json({**content, _CHECK: digest_of(content)}))
    except OSError as full:
        raise TransientError(f"{folder} cannot be written: {full}; make room there, and run it again") from full


def _path(folder: Path, digest: Digest) -> Path:
    return folder / f".joint-{digest[:12]}.json"
