"""The one list of gates, in the order a release meets them."""

from __future__ import annotations

from collections.abc import Iterable

from lockgate.core.gates import (
    Gate,
    batch,
    champion,
    drift,
    expectations,
    fairness,
    infra,
    leakage,
    parity,
    privacy,
    quality,
    reproducibility,
    robustness,
    schema,
    skew,
    slices,
    staging,
    stress,
    training,
)
from lockgate.core.ids import Stage
from lockgate.errors import ConfigError

GATES: tuple[Gate, ...] = (
    schema.GATE,
    expectations.GATE,
    batch.GATE,
    leakage.GATE,
    drift.GATE,
    skew.GATE,
    training.GATE,
    reproducibility.GATE,
    quality.GATE,
    champion.GATE,
    slices.GATE,
    fairness.GATE,
    robustness.GATE,
    parity.GATE,
    privacy.GATE,
    infra.GATE,
    stress.GATE,
    staging.GATE,
)

_BLESSED_STAGES = frozenset(
    {
        Stage.INGEST,
        Stage.VALIDATE_DATA,
        Stage.TRAIN,
        Stage.EVALUATE,
        Stage.PACKAGE,
        Stage.INFRA,
        Stage.STRESS,
    }
)


def gates_of(stage: Stage) -> tuple[Gate, ...]:
    """Return the gates that a stage measures for."""
    return tuple(gate for gate in GATES if gate.stage is stage)


def gate_named(name: str) -> Gate:
    """Return the gate of that name.

    Raises:
        ConfigError: There is none; says which there are.
    """
    for gate in GATES:
        if gate.name == name:
            return gate
    raise ConfigError(f"there is no gate {name!r}; the gates are {', '.join(names(GATES))}")


def required_for_blessing() -> tuple[str, ...]:
    """Return the names of the gates that a blessing needs: every gate of stages 1 to 7."""
    return names(gate for gate in GATES if gate.stage in _BLESSED_STAGES)


def names(gates: Iterable[Gate]) -> tuple[str, ...]:
    """Return the gates' names."""
    return tuple(gate.name for gate in gates)
