"""Outputs: whether answers are spread as they were, and whether what they say happens as often as they say.

Calibration needs labels and is measured over the window's labelled days; it is shown, not harm: what it costs is in the
loss, where it is tested.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.core.ids import Json
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.inputs import shift, stake
from lockgate.core.monitoring.judged import Window
from lockgate.core.monitoring.reference import Frozen
from lockgate.core.monitoring.summary import ColumnCounts
from lockgate.core.monitoring.summary_reading import calibration_gap

MISCALIBRATED = 0.05
"""Mean distance of said and happened that is shown. Ours: half of the width of a bin."""


def judge_outputs(window: Window) -> tuple[Finding, ...]:
    """Judge score, class shares and calibration of the window's days together."""
    whole, reference = window.whole, window.reference
    if whole is None:
        return ()
    found: list[Finding] = []
    if reference.score is not None:
        found += _score(window, "output.score", reference.score, whole.score)
    for name, frozen in sorted(reference.class_scores.items()):
        if name in whole.class_scores:
            found += _score(window, f"output.score:{name}", frozen, whole.class_scores[name])
    return (*found, *_calibration(window), *_classes(window))


def _score(window: Window, name: str, frozen: Frozen, counts: ColumnCounts) -> Iterator[Finding]:
    measured = shift(frozen, counts, window.reference.rows) if counts.rows >= window.section.min_rows else None
    if measured is None:
        return
    size, noise = measured
    moved = size > window.section.psi + noise
    evidence: dict[str, Json] = {"psi": size, "noise": noise, "rows": counts.rows}
    yield window.finding(
        name, Subject.OUTPUT, state=State.NOISE if moved else State.OK, observed=size,
        threshold=window.section.psi + noise, unit="PSI", harm=size * stake(window) if moved else 0.0,
        reason="answers are spread otherwise than in training" if moved else "answers are spread as in training",
        evidence=evidence, next="see which inputs drift" if moved else "",
    )  # fmt: skip


def _classes(window: Window) -> Iterator[Finding]:
    whole = window.whole
    rows = sum(whole.classes.values()) if whole else 0
    if whole is None or rows < window.section.min_rows:
        return
    shares: dict[str, Json] = {name: n / rows for name, n in sorted(whole.classes.items())}
    alone = [name for name, n in whole.classes.items() if n == rows]
    yield window.finding(
        "output.classes", Subject.OUTPUT, state=State.NOISE if alone else State.OK,
        observed=max(whole.classes.values()) / rows, unit="fraction", harm=stake(window) if alone else 0.0,
        reason=f"every row was answered {alone[0]}" if alone else "shares of the classes that were answered",
        evidence={"shares": shares}, next="see the score's drift" if alone else "",
    )  # fmt: skip


def _calibration(window: Window) -> Iterator[Finding]:
    whole = window.whole
    bins = whole.labels.calibration if whole else ()
    rows = sum(n for n, _, _ in bins)
    if whole is None or rows < window.section.min_rows:
        return
    loss = window.reference.loss
    # of a regression in its own unit: as a share of the loss at release
    scale = 1.0 if whole.expected_loss.n or loss is None else loss.mean
    apart = calibration_gap(whole.labels) / scale
    table: list[Json] = [{"n": n, "said": said / n, "happened": there / n} for n, said, there in bins if n]
    off = apart > MISCALIBRATED
    yield window.finding(
        "output.calibration", Subject.OUTPUT, state=State.NOISE if off else State.OK, observed=apart,
        threshold=MISCALIBRATED, unit="fraction", harm=apart * apart / (loss.mean if loss else 1.0) if off else 0.0,
        reason=f"what answers say and what happens are {apart:.3f} apart on average",
        evidence={"bins": table, "rows": rows}, next="its cost is in quality.loss and quality.skill" if off else "",
    )  # fmt: skip
