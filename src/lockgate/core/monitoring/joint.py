"""Features together: do their combinations tell the days from training, beyond what each feature tells by itself?

Two classifiers try to tell logged rows from training rows, out of fold, days kept whole. One may combine features, one
adds up what each tells alone. Where only single features moved, the second does as well as the first; what the first is
ahead is the combination. It is held to a size *and* to its interval by day: its noise floor.

As every drift it is a reason to look and never harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lockgate.core.estimates import count, items, number, read_estimate, within
from lockgate.core.ids import Json, ModelName
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.spec_sections.watching import JointSection

NAME: Final = "inputs.joint"
CHANCE: Final = 0.5
"""AUC of a classifier that can tell nothing."""
_STAKE: Final = 0.05
"""Loss that may be at stake, as in `inputs.stake` where the expected loss did not rise."""
_NAMED: Final = 4


def judge_joint(
    model: ModelName, measured: Mapping[str, Json], section: JointSection, importance: Mapping[str, float]
) -> Finding:
    """Judge what `stages.joint.measure_joint` measured.

    Args:
        model: Whose.
        measured: Its measurements; with `not_measured` they say why there are none.
        section: The spec's.
        importance: How much answers lean on each feature, 0..1; those that are not in it count alike.
    """
    together, alone, excess = (read_estimate(within(dict(measured), name)) for name in ("auc", "alone", "excess"))
    if together is None or alone is None or excess is None:
        told = measured.get("not_measured")
        return joint_unknown(
            model, str(told or "the days are too few for an interval"), "look again when there are more days"
        )
    if alone["estimate"] > 1.0 - 2.0 * section.excess_auc:  # no room is left above it, so it would always be clear
        reason = (
            f"single features tell the days from training already (AUC {alone['estimate']:.2f}); nothing can be added"
        )
        return joint_unknown(
            model, reason, "see input.<feature> of the same look; lockgate release renews what is compared"
        )
    moved = excess["low"] > section.excess_auc and together["low"] > CHANCE
    names = [str(within(each, "feature")) for each in items(measured.get("by"))][:_NAMED]
    shown = (
        f"AUC {together['estimate']:.2f} [{together['low']:.2f}, {together['high']:.2f}] together, "
        f"{alone['estimate']:.2f} each alone, {excess['estimate']:+.3f} [{excess['low']:.3f}, {excess['high']:.3f}] by "
        f"their combination, {count(measured.get('n')) or 0} rows of {count(measured.get('blocks')) or 0} days"
    )
    weight = sum(importance.get(name, 1.0 / max(len(importance), 1)) for name in names)
    return Finding(
        model=model, name=NAME, subject=Subject.INPUT, state=State.NOISE if moved else State.OK,
        observed=number(excess["estimate"]), threshold=section.excess_auc, unit="AUC",
        harm=excess["estimate"] * min(weight, 1.0) * _STAKE if moved else 0.0, evidence=dict(measured),
        reason=f"{', '.join(names)} combine in another way than in training: {shown}" if moved
        else f"no combination of features tells the days from training: {shown}",
        next="shown, not an alert: what counts is the loss; ask what fills these columns whether they changed" if moved
        else "",
    )  # fmt: skip


def joint_unknown(model: ModelName, reason: str, next: str) -> Finding:  # noqa: A002 - the finding's own word
    """Return the finding of features that could not be looked at together; it clears nothing."""
    return Finding(model=model, name=NAME, subject=Subject.INPUT, state=State.NO_DATA, reason=reason, next=next)
