"""The JSON form of a desired routing: what its admin port, its file and the processes of one server share."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from lockgate.core.ids import Digest
from lockgate.serving.routing.desired import LEASE_S, Desired, DesiredChallenger, DesiredShadow
from lockgate.serving.routing.sticky import Split


class ChallengerForm(msgspec.Struct, forbid_unknown_fields=True):
    """A challenger, see `DesiredChallenger`."""

    name: str
    bundle: str
    weight: float
    tags: tuple[str, ...] = ()


class ShadowForm(msgspec.Struct, forbid_unknown_fields=True):
    """A shadow, see `DesiredShadow`."""

    name: str
    bundle: str
    share: float


class RoutingForm(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every form of a desired routing holds; whether it keeps the rules is `Desired.problem`'s to say."""

    sequence: int
    champion: str
    previous: str | None = None
    challengers: tuple[ChallengerForm, ...] = ()
    shadows: tuple[ShadowForm, ...] = ()
    salt: str | None = None
    lease_s: float = LEASE_S

    def desired(
        self,
        *,
        since: datetime,
        timeout_s: float | None,
        constant: dict[str, Any] | None,
        split: Split | None = None,
    ) -> Desired:
        """Return the routing, with what the forms say in different ways."""
        return Desired(
            sequence=self.sequence,
            champion=Digest(self.champion),
            previous=None if self.previous is None else Digest(self.previous),
            challengers=tuple(
                DesiredChallenger(name=each.name, bundle=Digest(each.bundle), weight=each.weight, tags=each.tags)
                for each in self.challengers
            ),
            shadows=tuple(
                DesiredShadow(name=each.name, bundle=Digest(each.bundle), share=each.share) for each in self.shadows
            ),
            salt=self.salt,
            lease_s=self.lease_s,
            timeout_s=timeout_s,
            constant=constant,
            since=since,
            split=split,
        )
