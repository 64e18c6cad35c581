"""What the release needs from outside, as protocols; `bootstrap.py` chooses the real part behind each.

Every port has a fake in `tests/fakes.py` or a contract suite in `tests/contract/` that runs against the real part.
Measurements cross a port as JSON mappings, because they become `Evidence`; frames cross as pandas, by reference
(`Snapshot`, a path) between tasks and by value only within one.
By subject in the modules of this package; everybody else imports them from here.
"""

from __future__ import annotations

from lockgate.ports.alerts import Delivered, Outbox
from lockgate.ports.data import Batch, DatasetStore, DataValidator, Ingested, Snapshot
from lockgate.ports.record import Clock, Ledger
from lockgate.ports.release import BundleStore, DeployTarget, Readback, Registry
from lockgate.ports.rollout import TrafficLog, TrafficRouter
from lockgate.ports.runs import FlowRuns, Notifier, RunState
from lockgate.ports.training import Fit, Scorer

__all__ = [
    "Batch",
    "BundleStore",
    "Clock",
    "DataValidator",
    "DatasetStore",
    "Delivered",
    "DeployTarget",
    "Fit",
    "FlowRuns",
    "Ingested",
    "Ledger",
    "Notifier",
    "Outbox",
    "Readback",
    "Registry",
    "RunState",
    "Scorer",
    "Snapshot",
    "TrafficLog",
    "TrafficRouter",
]
