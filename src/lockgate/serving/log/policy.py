"""What of a bundle's requests may be written, made ready for many records."""

from __future__ import annotations

from lockgate.core.contract import ColumnType, ModelContract


class Policy:
    """A contract's log policy.

    Attributes:
        inputs: Whether inputs are kept.
        plain: Columns that are kept as they came.
        seen_plain: What was found to be plain last: most requests have the same columns.
        hashed: Columns of which a hash is kept.
        omitted: Columns that are left out.
        hides_entity: Whether the entity is hashed.
        numeric_entity: Whether it is hashed as a number.
    """

    def __init__(self, contract: ModelContract) -> None:
        """Take the contract."""
        policy, entity = contract.log, contract.entity
        hidden = {*policy.hashed, *policy.omitted}
        known = [column.name for column in contract.inputs]
        if entity is not None and entity not in known:
            known.append(entity)
        self.inputs = policy.inputs
        self.plain = frozenset(known) - hidden
        self.seen_plain: tuple[str, ...] = ()
        self.hashed = tuple(name for name in known if name in policy.hashed and name not in policy.omitted)
        self.omitted = tuple(name for name in known if name in policy.omitted)
        self.hides_entity = entity in hidden
        numbers = {column.name for column in contract.inputs if column.type is ColumnType.NUMBER}
        self.numeric_entity = entity in numbers

    def needs_key(self, *, entity: bool, inputs: bool) -> bool:
        """Tell whether something of a record is written as a hash alone.

        Args:
            entity: Whether the record has one.
            inputs: Whether it has any.
        """
        return (entity and self.hides_entity) or (inputs and self.inputs and bool(self.hashed))
