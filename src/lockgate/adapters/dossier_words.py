"""How the dossier writes numbers and names: short, equal everywhere, and the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lockgate.core.estimates import number, within
from lockgate.core.ids import Json

PLAIN = {
    "auc": "a positive gets a higher score than a negative this often",
    "log_loss": "how surprised the model was by what happened; 0 is never",
    "brier": "squared distance of the probability from what happened",
    "expected_cost": "what a decision cost on average, in the spec's own prices",
    "accuracy": "decisions that were right",
    "precision": "of what was called positive, how much was",
    "recall": "of what was positive, how much was called so",
    "calibration_error": "how far probabilities are from observed shares",
    "bias": "answers minus what happened, on average; 0 is best",
    "macro_f1": "precision and recall in one, every class counting alike",
    "macro_auc": "AUC of each class against the rest, averaged",
    "rmse": "typical error, large ones counting more",
    "mae": "typical error",
    "r2": "share of the variation that is explained",
}
_NAMES = {
    "auc": "AUC",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "macro_f1": "Macro F1",
    "macro_auc": "Macro AUC",
    "q_value_of_excess_loss": "Adjusted p-value of excess loss",
}


def metric_name(name: str) -> str:
    """Return a metric's or check's name for people.

    >>> metric_name("gain_log_loss"), metric_name("skill_over_naive")
    ('Gain in log loss', 'Skill over naive')
    """
    if name in _NAMES:
        return _NAMES[name]
    if name.startswith("gain_"):
        inner = metric_name(name.removeprefix("gain_"))
        acronym = inner.isupper() or inner[1:2].isupper()
        return f"Gain in {inner if acronym else inner[0].lower() + inner[1:]}"
    words = name.replace("_", " ").replace(".", " ")
    return words[:1].upper() + words[1:]


def number_text(value: float | None) -> str:
    """Return a number as people read it: grouped when large and whole, else three significant digits.

    >>> number_text(18404.0), number_text(0.48213), number_text(-0.0), number_text(None)
    ('18,404', '0.482', '0', 'n/a')
    """
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if abs(value) >= 1000 or (abs(value) >= 1 and value == int(value)):
        return f"{value:,.0f}"
    if abs(value) < 0.0001:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.4f}".rstrip("0").rstrip(".")


def interval_text(low: float, high: float) -> str:
    """Return an interval.

    >>> interval_text(0.01, 0.0434)
    '[0.01, 0.0434]'
    """
    return f"[{number_text(low)}, {number_text(high)}]"


def sentence(text: str) -> str:
    """Return a reason as a sentence.

    >>> sentence("too few rows"), sentence("Done.")
    ('Too few rows.', 'Done.')
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", ")")) else ".")


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them.

    >>> listed(["quality"]), listed(["drift", "skew", "privacy"])
    ('quality', 'drift, skew and privacy')
    """
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "check"), plural(3, "check")
    ('1 check', '3 checks')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def per_thousand(confusion: Json) -> tuple[str, str, str] | None:
    """Return, of 1,000 rows: called positive, of these rightly, and positives missed; None without two classes.

    >>> per_thousand({"counts": [[700, 100], [50, 150]]})
    ('250', '150 (60%)', '50')
    """
    counts = within(confusion, "counts")
    if not isinstance(counts, Sequence) or len(counts) != 2:
        return None
    cells = [number(cell) for row in counts if isinstance(row, Sequence) for cell in row]
    kept = [cell for cell in cells if cell is not None]
    if len(kept) != 4 or not sum(kept):
        return None
    _, false_alarms, missed, caught = (1000 * cell / sum(kept) for cell in kept)
    called = false_alarms + caught
    share = f" ({caught / called:.0%})" if called else ""
    return f"{called:.0f}", f"{caught:.0f}{share}", f"{missed:.0f}"
