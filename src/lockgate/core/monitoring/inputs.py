"""Inputs: what does not keep to the contract, what is missing or was never seen, and what drifted beyond its noise.

Nothing here is harm. On the flights some feature drifts in every month of the year, mostly the weather; a release is
worth it when the loss says so. Ranked, so that a person sees first what the answers lean on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lockgate.core.drift import psi
from lockgate.core.ids import Json
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.judged import Window
from lockgate.core.monitoring.reference import Frozen
from lockgate.core.monitoring.summary import ColumnCounts
from lockgate.core.shift import homogeneity, noise_floor

MISSING_MORE = 0.05
"""Share of rows by which a feature may be missing more often than in training. Ours: as `monitoring.unseen`."""
FLAGGED = 0.05
"""Share of rows that may break the contract before it is shown. Ours, likewise."""
_SHOWN = 10


def shift(frozen: Frozen, counts: ColumnCounts, reference_rows: int) -> tuple[float, float] | None:
    """Return a column's PSI and the PSI that chance stays below 19 times in 20; None where bins do not fit.

    >>> shift(Frozen(shares=(0.5, 0.5, 0.0)), ColumnCounts(bins=(500, 500)), 1000)[0]
    0.0
    """
    actual = np.array((*counts.bins, counts.missing), dtype=np.float64)
    expected = np.array(frozen.shares)
    if len(actual) != len(expected) or not actual.sum():
        return None
    test = homogeneity(expected * reference_rows, actual)
    return psi(expected, actual / actual.sum()), noise_floor(test.cells, int(actual.sum()), reference_rows) or 0.0


def judge_inputs(window: Window) -> tuple[Finding, ...]:
    """Judge the inputs of the window's days together."""
    whole = window.whole
    if whole is None or whole.rows < window.section.min_rows:
        rows = 0 if whole is None else whole.rows
        reason = f"{rows} rows in {window.section.reference_days} days; {window.section.min_rows} are needed"
        return (window.finding("input", Subject.INPUT, state=State.NO_DATA, reason=reason, observed=float(rows),
                               threshold=float(window.section.min_rows), unit="rows",
                               next="see that traffic reaches production: lockgate status"),)  # fmt: skip
    flagged = whole.flagged / whole.rows
    contract = window.finding(
        "input.contract", Subject.INPUT, state=State.NOISE if flagged > FLAGGED else State.OK, observed=flagged,
        threshold=FLAGGED, unit="fraction", harm=flagged if flagged > FLAGGED else 0.0,
        reason=f"{flagged:.1%} of rows do not keep to the contract (out of range, or a value training never saw)",
        next="see which: docs/howto/read-the-prediction-log.md, column flags" if flagged > FLAGGED else "",
    )  # fmt: skip
    unlogged = sorted(set(window.reference.features) - set(whole.features))
    found = [contract, *_features(window)]
    if unlogged:
        found.append(
            window.finding(
                "input.unlogged",
                Subject.INPUT,
                state=State.NO_DATA,
                observed=float(len(unlogged)),
                unit="features",
                reason=f"not in the log, so not watched: {', '.join(unlogged[:_SHOWN])}",
                next="see serving.log in the spec",
            )
        )
    return tuple(found)


def _features(window: Window) -> Iterator[Finding]:
    whole = window.whole
    counts = {} if whole is None else whole.features
    for name, frozen in sorted(window.reference.features.items()):
        if name in counts and counts[name].rows >= window.section.min_rows:
            yield _feature(window, name, frozen, counts[name])


def _feature(window: Window, name: str, frozen: Frozen, counts: ColumnCounts) -> Finding:
    reference, section = window.reference, window.section
    measured = shift(frozen, counts, reference.rows)
    if measured is None:
        reason = f"column {name} was counted in other bins than the bundle's; it cannot be compared"
        return window.finding(f"input.{name}", Subject.INPUT, state=State.BROKEN, reason=reason,
                              next="let the summaries be made anew: remove monitoring/ of this model")  # fmt: skip
    size, noise = measured
    unseen, more = counts.unseen / counts.rows, counts.missing / counts.rows - frozen.shares[-1]
    told = [
        *([f"PSI {size:.2f} (noise {noise:.3f})"] if size > section.psi + noise else []),
        *([f"{unseen:.1%} never seen in training"] if unseen > section.unseen else []),
        *([f"missing {more:+.1%}"] if more > MISSING_MORE else []),
    ]
    importance = reference.importance.get(name, 1.0 / max(len(reference.features), 1))
    evidence: dict[str, Json] = {
        "psi": size, "noise": noise, "unseen": unseen, "missing_more": more, "importance": importance,
        "rows": counts.rows,
    }  # fmt: skip
    return window.finding(
        f"input.{name}", Subject.INPUT, state=State.NOISE if told else State.OK, observed=size,
        threshold=section.psi + noise, unit="PSI",
        harm=(size + unseen + max(more, 0.0)) * importance * stake(window) if told else 0.0,
        reason=f"column {name}: {'; '.join(told)}" if told else f"column {name}: as in training", evidence=evidence,
        next="shown, not an alert: what counts is the loss" if told else "",
    )  # fmt: skip


def stake(window: Window) -> float:
    """Return the loss that may be at stake, as a share of the loss at release: what is expected beyond it, least 0.05.

    Ours: the least, so that drift is still ranked by importance where the expected loss did not rise.
    """
    loss, whole = window.reference.loss, window.whole
    if loss is None or whole is None or not whole.expected_loss.n:
        return 0.05
    return max(whole.expected_loss.total / whole.expected_loss.n / loss.mean - 1.0, 0.05)
