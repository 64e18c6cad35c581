"""How long after its prediction a model's label is due; what comes later is late.

A window that was given by hand holds for every model. Without one, each model's is `data.label_delay_s` of its spec,
`<specs>/<model>.yaml`, read anew by every run of the archive. A delay of 0 says nothing of when labels are due, so none
is late.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from lockgate.core.spec_numbers import LARGEST_SPEC_BYTES
from lockgate.core.spec_sections.units import LONGEST_S
from lockgate.serving.log.archive_status import Kept

logger = logging.getLogger(__name__)


class LabelWindows:
    """The windows of one run; each spec is read once, when a label of its model comes."""

    def __init__(self, kept: Kept) -> None:
        """Take what was given by hand, and where the specs lie."""
        self._by_hand, self._specs = kept.label_window_days, kept.specs
        if self._by_hand is None and self._specs is not None and not self._specs.is_dir():
            logger.error("%s is not a folder: no label counts as late", self._specs)
            self._specs = None
        self._found: dict[str, timedelta | None] = {}

    def __call__(self, model: str) -> timedelta | None:
        """Return a model's window; None where none of its labels is late."""
        if self._by_hand is not None:
            return timedelta(days=self._by_hand) or None
        if self._specs is None:
            return None
        if model not in self._found:
            self._found[model] = self._declared(self._specs / f"{model}.yaml", model)
        return self._found[model]

    def _declared(self, path: Path, model: str) -> timedelta | None:
        """Return the delay that a spec declares; one that cannot be read is said, and keeps no label from its place."""
        try:
            return timedelta(seconds=_label_delay_s(path)) or None
        except FileNotFoundError:  # a model that was put here without a spec
            return None
        except (OSError, ValueError) as broken:
            logger.error(  # noqa: TRY400 - said
                "%s does not say when labels are due (%s): no label of %s counts as late", path, broken, model
            )
            return None


def _label_delay_s(path: Path) -> float:
    """Return `data.label_delay_s` of a spec, in seconds; 0 where it says nothing.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no spec, or the delay none that a spec may have.
    """
    import yaml  # by the archive's process alone, and only when there are labels

    with path.open("rb") as file:
        text = file.read(LARGEST_SPEC_BYTES + 1)
    if len(text) > LARGEST_SPEC_BYTES:
        raise ValueError(f"it has more than {LARGEST_SPEC_BYTES} bytes")
    try:
        spec = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as broken:
        raise ValueError(f"it is not YAML: {' '.join(str(broken).split())}") from broken
    data = spec.get("data", {}) if isinstance(spec, dict) else None
    if not isinstance(data, dict):
        raise ValueError("it has no section `data` of keys and values")  # noqa: TRY004 - a file's content
    delay_s = data.get("label_delay_s", 0)
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float) or not 0 <= delay_s <= LONGEST_S:
        raise ValueError(f"data.label_delay_s is {str(delay_s)[:40]!r}; allowed are 0 to {LONGEST_S:,.0f} seconds")
    return delay_s
