"""Folds: how much the result depends on which blocks were left out of the fit."""

from __future__ import annotations

from lockgate.adapters.dossier_blocks import Section, not_measured, table
from lockgate.adapters.dossier_words import interval_text, metric_name, number_text
from lockgate.core.estimates import count, items, number, within
from lockgate.core.ids import Json

ID, TITLE = "folds", "Fitted on other rows"


def folds(section: Json) -> Section:
    """Return the section of `stages.folds`'s measurements."""
    fitted = [each for each in items(within(section, "folds")) if number(within(each, "loss")) is not None]
    if not fitted:
        reason = within(section, "reason")
        none = "no folds are asked for (evaluation.folds), so how much the result hangs on the split is not known."
        return not_measured(ID, TITLE, f"{reason}." if isinstance(reason, str) else none)
    loss = str(within(section, "loss"))
    lead = ["Each fold is a fit on other rows than the model that ships: it judges the recipe, and binds nothing."]
    mean, low, high = (number(within(section, name)) for name in ("mean", "lowest", "highest"))
    if mean is not None and low is not None and high is not None:
        lead.append(
            f"Of a constant's loss {len(fitted)} folds save {mean:.1%} on average, from {low:.1%} to {high:.1%}."
        )
    corrected = within(section, "corrected")
    below, above = number(within(corrected, "low")), number(within(corrected, "high"))
    if below is not None and above is not None:
        lead.append(f"Nadeau and Bengio's corrected interval of that share: {interval_text(below, above)}.")
    left = count(within(section, "left_out"))
    lead += [f"{left} folds did not fit into the time."] if left else []
    columns = ("fold", "fitted on", "judged on", "blocks", metric_name(loss), "saved", "best round")
    rows = [_row(each) for each in fitted]
    return Section(id=ID, title=TITLE, lead=tuple(lead), blocks=table("Each fold", columns, rows))


def _row(fold: Json) -> tuple[str, ...]:
    counts = [count(within(fold, name)) for name in ("n_train", "n", "blocks")]
    loss, saved, best = (number(within(fold, name)) for name in ("loss", "saved", "best_round"))
    told = ["" if each is None else f"{each:,}" for each in counts]
    share = "" if saved is None else f"{saved:.1%}"
    return str(within(fold, "fold")), *told, number_text(loss), share, "" if best is None else f"{best:.0f}"
