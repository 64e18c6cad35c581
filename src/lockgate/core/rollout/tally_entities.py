"""What is remembered of an entity: that it has counted, for what, and in which step and arm it was first seen.

One 64-bit number an entity, under an 8-byte hash of its key; no key is kept. Two of a million entities share a hash
with chance 3e-8 (birthday bound over 2^64), and then count as one.

    bit 0..7     what has counted, see below
    bit 8..17    the stratum (share) it was first seen in
    bit 18..27   the bandit's period it was first seen in
    bit 28..35   which business numbers have counted
    bit 36..63   when it was first seen, in seconds after the tally began; 0 where no business number asks for it

Memory, measured: 88 MB at a million entities, some 40 more where business numbers make states differ by time.
`MAX_ENTITIES` is the bound. Beyond it new entities are not observed, which no bucket can influence: errors hold, power
stops growing.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import Final

MAX_ENTITIES: Final = 1_000_000
"""Ours: what one machine has to spare (see above); at 30 new ones a minute it is three weeks."""
KEY_BYTES: Final = 8

LIVE: Final = 1  # has been routed with both arms in force: its step and arm are fixed
OF_CHALLENGER: Final = 2  # the arm it was first seen in
FAILED: Final = 4
FLAGGED: Final = 8
SCORED: Final = 16
ANSWERED: Final = 32  # an answer of it waits, or waited, for a label
LABELLED: Final = 64
PAIRED: Final = 128
STRATUM_SHIFT: Final = 8
PERIOD_SHIFT: Final = 18
KPI_SHIFT: Final = 28
TIME_SHIFT: Final = 36
TEN_BITS: Final = 0x3FF
MAX_KPIS: Final = 8
_TIME_BITS: Final = 0xFFFFFFF


def key_of(entity: str) -> bytes:
    """Return what an entity is kept under.

    >>> len(key_of("a client")), key_of("a client") == key_of("another")
    (8, False)
    """
    return blake2b(entity.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def stratum_of(state: int) -> int:
    """Return the stratum that a state was first seen in."""
    return state >> STRATUM_SHIFT & TEN_BITS


def period_of(state: int) -> int:
    """Return the period that a state was first seen in."""
    return state >> PERIOD_SHIFT & TEN_BITS


def first_seen(*, challenger: bool, stratum: int, period: int, second: int) -> int:
    """Return what is added to a state when its entity is first routed with both arms in force.

    >>> state = first_seen(challenger=True, stratum=5, period=2, second=90)
    >>> stratum_of(state), period_of(state), state >> TIME_SHIFT, bool(state & OF_CHALLENGER)
    (5, 2, 90, True)
    """
    when = min(max(second, 0), _TIME_BITS) << TIME_SHIFT
    arm = OF_CHALLENGER if challenger else 0
    return LIVE | arm | stratum << STRATUM_SHIFT | min(period, TEN_BITS) << PERIOD_SHIFT | when


class Entities:
    """States by key, bounded.

    Attributes:
        states: State by key.
        not_observed: Requests of entities that came when it was full.
    """

    def __init__(self, maximum: int = MAX_ENTITIES) -> None:
        self.states: dict[bytes, int] = {}
        self.not_observed = 0
        self._maximum = maximum
        self._alike: dict[int, int] = {}  # one number object for all entities of one state

    def of(self, key: bytes) -> int | None:
        """Return an entity's state, 0 for a new one; None where it is new and there is no room."""
        state = self.states.get(key, 0)
        if not state and len(self.states) >= self._maximum:
            self.not_observed += 1
            return None
        return state

    def put(self, key: bytes, state: int) -> None:
        """Keep an entity's state."""
        if not state >> TIME_SHIFT:
            state = self._alike.setdefault(state, state)
        self.states[key] = state

    def to_bytes(self) -> bytes:
        """Return keys, then states, eight bytes each, in one order."""
        states = array("Q", self.states.values())
        return b"".join(self.states) + states.tobytes()

    def load(self, data: bytes) -> None:
        """Take up what `to_bytes` returned.

        Raises:
            ValueError: It is of another length.
        """
        if len(data) % (2 * KEY_BYTES):
            raise ValueError(f"{len(data)} bytes are no whole number of entities")
        half = len(data) // 2
        states = array("Q")
        states.frombytes(data[half:])
        self.states.clear()
        for index, state in enumerate(states):
            self.put(data[KEY_BYTES * index : KEY_BYTES * (index + 1)], state)
