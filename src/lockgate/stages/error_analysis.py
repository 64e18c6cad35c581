"""Section `errors`: where the loss lies, what the worst rows share, how errors move with the answer and with time.

    "n", "blocks", "loss", "reference": "expected" (what the answers themselves expect: entropy) or "overall"
    "withheld": features whose values may not be shown
    "features": [{"feature", "concentration"}]   half the sum over its bins of |share of loss - share expected|; 0 even
    "bins": [{"feature", "bin", "n", "rows_fraction", "loss_fraction", "lift", "loss", "excess": estimate, "q_value"}]
              lift      share of the loss / share of the reference's loss
              excess    mean loss above the reference, minus the same over all other rows
              q_value   of an excess above 0, at a false discovery rate over every bin looked at;
                        bins surely in excess come first, then by loss to gain
    "bins_tested": how many bins that was
    "worst": {"n", "rows_fraction", "loss_fraction",
              "shared": [{"feature", "bin", "worst_fraction", "overall_fraction", "lift"}]}   of the worst rows
    "confusion": {"classes", "counts", "by_class": [{"class", "n", "decided", "recall", "precision"}],
                  "most": {"actual", "decided", "n", "errors_fraction"} | null} | null
    "calibration": deciles of the answer: [{"answered", "happened", "low", "high", "n"}]; multiclass: of the likeliest
                   class
    "time": {"blocks": [{"block": day or index, "n", "residual", "loss"}],
             "trend": estimate of the residual's change a block, "autocorrelation": of neighbouring blocks' residuals}
              residual  answer minus outcome; multiclass: chance of the likeliest class minus whether it was right

Bins are named only when twenty rows share them; no row, key or single value of the data is in the section.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lockgate.core import curves, metrics
from lockgate.core.block_statistics import Statistic, block_sums
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.intervals import block_interval, rounded
from lockgate.core.metrics import Floats, Ints
from lockgate.core.robustness import Blocks, ratio_interval
from lockgate.core.slices import SliceExcess, adjusted, slice_excess, worse_than
from lockgate.core.spec import ReleaseSpec
from lockgate.stages.binning import Binned, binned, withheld
from lockgate.stages.deciding import decided_for
from lockgate.stages.drawn import judged_rows
from lockgate.stages.examination import Examination
from lockgate.stages.sampling import Sample
from lockgate.stages.slicing import row_loss

WORST_FRACTION = 0.01
"""Ours: few enough to be the rows that people complain about, many enough to share something."""
MOST_BINS = 40
"""Ours: what a page shows; the section stays under 30 kB."""
DISCOVERIES = 0.05
"""Share of false ones among the bins that are shown first; the slices gate's default."""
_SHARED = 10
_DIGITS = 6


def errors_section(examination: Examination) -> dict[str, Json]:
    """Return the section; see the module's words.

    Raises:
        MeasurementError: A feature is missing, or a numeric one holds no numbers.
    """
    spec, sample = examination.spec, judged_rows(examination)
    task = spec.task.kind
    loss = row_loss(task, sample.y, sample.score)
    named = "overall" if task is TaskKind.REGRESSION else "expected"
    if not len(loss):
        return {"n": 0, "blocks": sample.blocks, "loss": None, "reference": named}
    reference = np.full(len(loss), loss.mean()) if named == "overall" else metrics.expected_log_loss_rows(sample.score)
    features = binned(spec, sample.frame)
    tested, bins = _bins(features, sample, loss, reference)
    return {
        "n": len(loss),
        "blocks": sample.blocks,
        "loss": _told(loss.mean()),
        "reference": named,
        "withheld": sorted(withheld(spec) & set(spec.data.features)),
        "features": _concentrations(features, loss, reference),
        "bins": bins,
        "bins_tested": tested,
        "worst": _worst(features, loss),
        "confusion": _confusion(spec, sample, examination.scores.threshold),
        "calibration": _calibration(task, sample),
        "time": _time(spec, sample, loss),
    }


def _told(value: float | np.float64) -> float:
    return rounded(float(value), _DIGITS)


def _shares(values: Floats, each: Binned) -> Floats:
    """Return the share of a sum that lies in each bin; NaN throughout where there is nothing to share."""
    whole = float(values.sum())
    sums = np.bincount(each.member, weights=values, minlength=len(each.bins))
    return np.asarray(sums / whole if whole > 0 else np.full(len(sums), np.nan))


def _concentrations(features: Sequence[Binned], loss: Floats, reference: Floats) -> list[Json]:
    found = [
        (each.feature, float(np.abs(_shares(loss, each) - _shares(reference, each)).sum() / 2)) for each in features
    ]
    return [
        {"feature": name, "concentration": _told(value)}
        for name, value in sorted(found, key=lambda pair: -pair[1] if np.isfinite(pair[1]) else 1.0)
    ]


def _bins(features: Sequence[Binned], sample: Sample, loss: Floats, reference: Floats) -> tuple[int, list[Json]]:
    """Return how many bins were tested, and those with the most loss above their reference."""
    found: list[tuple[Binned, int, SliceExcess]] = []
    for each in features:
        excess = slice_excess(
            loss,
            reference,
            each.member,
            len(each.bins),
            block=sample.block,
            blocks=sample.blocks,
            against_rest=True,
        )
        found += [(each, at, one) for at, one in enumerate(excess) if np.isfinite(one.excess.se) and one.excess.se > 0]
    q_values = adjusted([worse_than(one.excess.value, one.excess.se, one.blocks, 0.0) for _, _, one in found])
    ranked = sorted(
        zip(found, q_values, strict=True),
        key=lambda pair: (pair[1] > DISCOVERIES, -pair[0][2].excess.value * pair[0][2].rows),
    )
    return len(found), [
        _bin(each, at, one, q, loss=loss, reference=reference) for (each, at, one), q in ranked[:MOST_BINS]
    ]


def _bin(  # noqa: PLR0913 - a bin and what it is held against
    each: Binned, at: int, one: SliceExcess, q_value: float, *, loss: Floats, reference: Floats
) -> Json:
    lost, due = float(_shares(loss, each)[at]), float(_shares(reference, each)[at])
    return {
        "feature": each.feature,
        "bin": each.bins[at],
        "n": one.rows,
        "rows_fraction": _told(one.rows / len(loss)),
        "loss_fraction": _told(lost),
        "lift": _told(lost / due) if due > 0 else None,
        "loss": _told(one.loss),
        "excess": one.excess.to_json(),
        "q_value": _told(q_value),
    }


def _worst(features: Sequence[Binned], loss: Floats) -> Json:
    """Return which bins the rows of the largest losses are in, and how much oftener than others."""
    count = max(1, round(WORST_FRACTION * len(loss)))
    worst = np.argpartition(-loss, count - 1)[:count]
    shared: list[tuple[float, Json]] = []
    for each in features:
        inside = np.bincount(each.member[worst], minlength=len(each.bins))
        overall = np.bincount(each.member, minlength=len(each.bins)) / len(loss)
        for at, name in enumerate(each.bins):
            if inside[at] < 20 or inside[at] / count <= overall[at]:  # so few rows would be described by their bins
                continue
            part = inside[at] / count
            told: Json = {
                "feature": each.feature,
                "bin": name,
                "worst_fraction": _told(part),
                "overall_fraction": _told(overall[at]),
                "lift": _told(part / overall[at]),
            }
            shared.append((float(part - overall[at]), told))
    shared.sort(key=lambda pair: -pair[0])
    total = float(loss.sum())
    return {
        "n": count,
        "rows_fraction": _told(count / len(loss)),
        "loss_fraction": _told(float(loss[worst].sum()) / total) if total > 0 else None,
        "shared": [told for _, told in shared[:_SHARED]],
    }


def _confusion(spec: ReleaseSpec, sample: Sample, threshold: float | None) -> Json:
    if spec.task.kind is TaskKind.REGRESSION:
        return None
    y, classes = sample.y.astype(np.int64), spec.task.classes
    decided = decided_for(spec, sample.score, threshold)
    size = len(classes)
    counts = np.bincount(y * size + decided, minlength=size * size).reshape(size, size)
    by_class: list[Json] = [
        {
            "class": name,
            "n": int(counts[k].sum()),
            "decided": int(counts[:, k].sum()),
            "recall": _told(counts[k, k] / counts[k].sum()) if counts[k].sum() else None,
            "precision": _told(counts[k, k] / counts[:, k].sum()) if counts[:, k].sum() else None,
        }
        for k, name in enumerate(classes)
    ]
    wrong = counts - np.diag(np.diag(counts))
    actual, taken = (int(at) for at in np.unravel_index(int(wrong.argmax()), wrong.shape))
    most: Json = {
        "actual": classes[actual],
        "decided": classes[taken],
        "n": int(wrong[actual, taken]),
        "errors_fraction": _told(wrong[actual, taken] / wrong.sum()) if wrong.sum() else None,
    }
    shown = most if wrong.sum() else None
    return {"classes": list(classes), "counts": counts.tolist(), "by_class": by_class, "most": shown}


def _outcome(task: TaskKind, sample: Sample) -> tuple[Floats, Floats]:
    """Return answer and outcome on one scale, shape [n] each."""
    if task is not TaskKind.MULTICLASS:
        return sample.score, sample.y.astype(np.float64)
    return sample.score.max(axis=1), (sample.score.argmax(axis=1) == sample.y).astype(np.float64)


def _calibration(task: TaskKind, sample: Sample) -> list[Json]:
    answer, outcome = _outcome(task, sample)
    if task is not TaskKind.REGRESSION:
        return curves.reliability(outcome.astype(np.int64), answer, sample.block, sample.blocks)
    edges = np.unique(np.quantile(answer, np.linspace(0, 1, 11)[1:-1]))
    place = np.searchsorted(edges, answer, side="right")
    return [_decile(answer, outcome, sample, np.flatnonzero(place == k)) for k in np.unique(place)]


def _decile(answer: Floats, outcome: Floats, sample: Sample, inside: Ints) -> Json:
    blocks = Blocks(of=sample.block[inside], count=sample.blocks)
    happened = ratio_interval(outcome[inside], np.ones(len(inside)), blocks)
    return {
        "answered": _told(answer[inside].mean()),
        "happened": _told(happened.value),
        "low": _told(happened.low),
        "high": _told(happened.high),
        "n": len(inside),
    }


def _time(spec: ReleaseSpec, sample: Sample, loss: Floats) -> Json:
    answer, outcome = _outcome(spec.task.kind, sample)
    rows = block_sums(np.ones(len(loss)), sample.block, sample.blocks)
    residual, lost = (block_sums(each, sample.block, sample.blocks) / rows for each in (answer - outcome, loss))
    names = _block_names(spec, sample)
    listed: list[Json] = [
        {"block": names[g], "n": int(rows[g]), "residual": _told(residual[g]), "loss": _told(lost[g])}
        for g in range(sample.blocks)
    ]
    trend = block_interval(_slope(residual, rows), sample.blocks)
    return {"blocks": listed, "trend": trend.to_json(), "autocorrelation": _autocorrelation(residual)}


def _block_names(spec: ReleaseSpec, sample: Sample) -> list[str | int]:
    """Return the first day of each block; a number for blocks of a column, whose values may be somebody's."""
    if spec.split.block != "day":
        return list(range(sample.blocks))
    times = sample.frame[spec.data.time].reset_index(drop=True)
    first = times.groupby(sample.block).min()
    return [f"{first[g]:%Y-%m-%d}" for g in range(sample.blocks)]


def _slope(residual: Floats, rows: Floats) -> Statistic:
    """Return the slope of block means over the order of blocks, each weighed by its rows (weighted least squares)."""
    place = np.arange(len(residual), dtype=np.float64)

    def statistic(weights: Floats) -> Floats:
        each = weights * rows
        total = each.sum(axis=1, keepdims=True)
        centred = place - (each @ place)[:, None] / total
        spread = (each * centred**2).sum(axis=1)
        along = (each * centred * residual).sum(axis=1)
        return np.asarray(np.divide(along, spread, out=np.full(len(weights), np.nan), where=spread > 0))

    return statistic


def _autocorrelation(residual: Floats) -> float | None:
    """Return the lag-1 autocorrelation of block residuals; None with fewer than eight blocks, or no spread."""
    centred = residual - residual.mean()
    if len(residual) < 8 or not (centred**2).sum():
        return None
    return _told((centred[1:] * centred[:-1]).sum() / (centred**2).sum())
