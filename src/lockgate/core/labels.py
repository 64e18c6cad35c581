"""How a label column's values meet the class names of a spec: one rule for fitting, evaluating and replaying."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lockgate.errors import BadInput


def class_indices(labels: Iterable[object], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return each label's index in `classes`.

    A label meets the class that is its text. Storage formats write one label in several ways, so a truth value also
    meets "true"/"false" and "1"/"0", and a whole number its form without a decimal point.

    Args:
        labels: One value a row; none missing.
        classes: Class names by index.

    Returns:
        int64 [n].

    Raises:
        BadInput: A label meets no class, or more than one; says which label, and the classes.

    >>> class_indices([True, 0.0, "1"], ("0", "1"))
    array([1, 0, 1])
    """
    known: dict[object, int] = {}
    indices = []
    for label in labels:
        key = (type(label), label)  # True == 1 == 1.0, yet their texts differ
        if key not in known:
            known[key] = _class_of(label, classes)
        indices.append(known[key])
    return np.array(indices, dtype=np.int64)


def _class_of(label: object, classes: Sequence[str]) -> int:
    met = sorted({classes.index(text) for text in _texts(label) if text in classes})
    if len(met) != 1:
        said = "is none of" if not met else "is more than one of"
        raise BadInput(f"label {label!r} {said} the classes {', '.join(classes)}; see task.classes in the spec")
    return met[0]


def _texts(label: object) -> tuple[str, ...]:
    if isinstance(label, bool | np.bool_):
        return ("true", "True", "1") if label else ("false", "False", "0")
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return (str(label), str(int(label)))
    return (str(label),)
