"""The errors Lockgate raises.

    LockgateError                 anything this program says on purpose; `exit_code` is what a shell sees
    ├── BadInput                  the user's file, spec, request or argument is wrong (exit 2)
    │   └── ConfigError           a spec, setting or environment variable is wrong
    ├── TransientError            something outside did not answer; the same call may succeed later
    ├── NotRunning                something needed is not running, and waiting will not start it (exit 7)
    ├── MeasurementError          a gate could not measure; never a verdict about the model
    │   └── SandboxError          the sandbox itself broke, not the candidate in it
    ├── IntegrityError            bytes, a signature or a hash chain are not what the record says
    ├── LedgerConflict            another writer appended first (compare-and-set lost)
    ├── NotBlessed                the evidence does not allow the step that was asked for (exit 3)
    ├── ApprovalVoid              what was approved is no longer what would ship (exit 5)
    └── RolloutAborted            a rollout could not be completed and was undone (exit 3)

A quality check that fails is a value (`GateReport`), never one of these. Every error survives a pickle round trip:
it is built from its message and keyword data alone.
"""

from __future__ import annotations


class LockgateError(Exception):
    """Base of every error raised on purpose.

    Attributes:
        message: What was wrong, where, what is allowed and what to do next.
        data: The same facts for a program, JSON-compatible.
    """

    exit_code = 1

    def __init__(self, message: str, **data: object) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    def __reduce__(self) -> tuple[object, ...]:
        return (rebuild, (type(self), self.message, self.data))


def rebuild(kind: type[LockgateError], message: str, data: dict[str, object]) -> LockgateError:
    """Make an error again from its parts; pickle's way back."""
    return kind(message, **data)


class BadInput(LockgateError):
    """The user's file, spec, request or argument is wrong; catch it to show the message and exit 2."""

    exit_code = 2


class ConfigError(BadInput):
    """A spec, setting or environment variable is wrong."""


class TransientError(LockgateError):
    """Something outside did not answer; the only error that tasks retry."""


class NotRunning(LockgateError):
    """Something needed is not running."""

    exit_code = 7


class MeasurementError(LockgateError):
    """A gate could not measure; the release records `ERROR`, never `FAIL`."""


class SandboxError(MeasurementError):
    """The sandbox itself broke, not the candidate in it."""


class IntegrityError(LockgateError):
    """Bytes, a signature or a hash chain are not what the record says."""


class LedgerConflict(LockgateError):
    """Another writer appended first; read again and decide again."""


class NotBlessed(LockgateError):
    """The evidence does not allow the step that was asked for."""

    exit_code = 3


class ApprovalVoid(LockgateError):
    """What was approved is no longer what would ship, or the answer came too late."""

    exit_code = 5


class RolloutAborted(LockgateError):
    """A rollout could not be completed and was undone."""

    exit_code = 3
