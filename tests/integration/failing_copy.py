"""A challenger that has no answer to a share of its requests: a faulty copy of the champion's bundle."""

from __future__ import annotations

from lockgate.adapters.faulty_bundle import FaultyBundles
from lockgate.config import load_settings
from lockgate.core.drills import Fault
from lockgate.core.ids import Digest
from tests.server_process import World


def failing_copy(world: World, *, share: float) -> Digest:
    """Sign and store the copy; the world's champion is the bundle with no bias."""
    (world.root / "keys" / "signing.key").chmod(0o600)  # the signer refuses one that others may read
    settings = load_settings({"LOCKGATE_HOME": str(world.root), "LOCKGATE_PROJECT": str(world.root)})
    champion = Digest(world.bundle())
    return FaultyBundles(settings).make(champion, Fault.ERRORS, drill="toy-drill", share=share).digest
