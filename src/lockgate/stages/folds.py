"""Section `folds`: how much the result depends on which blocks were left out of the fit.

    asked       folds asked for; 0: none, and nothing else is there
    reason      why nothing was measured; null when something was
    random      whether blocks were dealt out at random (group and random splits) or in order of time
    left_out    folds that the time did not allow
    loss        name of the loss
    folds       [{fold, n_train, n_chosen_on, n, blocks, loss, constant_loss, saved, best_round, converged, seconds}]
    mean, sd, lowest, highest    of `saved`: the share of a constant's loss that a fold's fit saves on the rows left out
    corrected   {mean, low, high, p_value} of `saved` by Nadeau and Bengio; null where folds are not random, because
                the correction is derived for random ones, and folds in order of time differ by season besides

Folds are fitted on other rows than the model that ships, so they judge the recipe, not the model: shown, not binding.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lockgate.core.estimates import number
from lockgate.core.folds import corrected_t
from lockgate.core.ids import Json
from lockgate.core.intervals import rounded
from lockgate.core.spec import ReleaseSpec
from lockgate.core.task_metrics import loss_name


def folds_section(spec: ReleaseSpec, measured: Mapping[str, Json] | None, reason: str | None = None) -> dict[str, Json]:
    """Return the section `folds`.

    Args:
        spec: The release's spec.
        measured: What `models.fold_process.fit_folds` returned; None when it was not asked, or broke.
        reason: Why it broke.
    """
    asked = spec.evaluation.folds
    if not asked:
        return {"asked": 0}
    listed = [each for each in _listed(measured) if number(each.get("loss")) is not None]
    if measured is None or not listed:
        return {
            "asked": asked,
            "reason": reason or "no fold was fitted in the time given; raise evaluation.folds_time_s",
        }
    folds = [{**each, "saved": _saved(each)} for each in listed]
    saved = [float(each["saved"]) for each in folds if isinstance(each["saved"], float)]
    share = float(np.mean([_share(each) for each in folds]))
    found = corrected_t(saved, share) if measured.get("random") is True else None
    return {
        "asked": asked,
        "reason": None,
        "random": measured.get("random") is True,
        "left_out": measured.get("left_out"),
        "loss": loss_name(spec.task.kind),
        "folds": folds,
        "mean": rounded(float(np.mean(saved))) if saved else None,
        "sd": rounded(float(np.std(saved, ddof=1))) if len(saved) > 1 else None,
        "lowest": rounded(min(saved)) if saved else None,
        "highest": rounded(max(saved)) if saved else None,
        "corrected": None
        if found is None
        else {name: rounded(getattr(found, name)) for name in ("mean", "low", "high", "p_value")},
    }


def _listed(measured: Mapping[str, Json] | None) -> list[Mapping[str, Json]]:
    given = (measured or {}).get("folds")
    return [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []


def _saved(fold: Mapping[str, Json]) -> float | None:
    loss, constant = number(fold.get("loss")), number(fold.get("constant_loss"))
    return None if loss is None or not constant else rounded(1.0 - loss / constant)


def _share(fold: Mapping[str, Json]) -> float:
    tested, fitted = number(fold.get("n")), number(fold.get("n_train"))
    return tested / fitted if tested and fitted else float("nan")
