"""Answers of everybody on the same rows: the challenger, a model that knows nothing, and the champion now serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.errors import LockgateError
from lockgate.line.model_line import Line, champion_of, release_of_bundle
from lockgate.stages.sampling import ChampionScores, Scores, naive_scores

if TYPE_CHECKING:
    import pandas as pd


def score_holdout(line: Line, so_far: Progress, holdout: pd.DataFrame) -> Scores:
    """Score every row of the holdout.

    A champion that cannot be scored is said to be there and unscored, never to be absent.
    """
    from lockgate.adapters.native_scorer import NativeScorer
    from lockgate.adapters.trainer import read_fit

    folder = line.folder(so_far) / "fit"
    snapshot = line.services.store.snapshot(Digest(so_far.refs["data"]))
    labels = line.services.store.part(snapshot, "train", [line.spec.data.label])[line.spec.data.label]
    champion = champion_of(so_far)
    return Scores(
        challenger=NativeScorer.load(folder).score(holdout),
        naive=naive_scores(line.spec, labels, len(holdout)),
        simple=None,
        champion=None if champion is None else _champion(line, champion, holdout),
        threshold=_threshold(read_fit(folder).facts.get("threshold")),
    )


def _champion(line: Line, bundle: Digest, holdout: pd.DataFrame) -> ChampionScores:
    try:
        scores, threshold = _answers(line, bundle, holdout)
        return ChampionScores(bundle=bundle, scores=scores, known_keys=_known(line, bundle), threshold=threshold)
    except LockgateError as why:
        return ChampionScores(bundle=bundle, scores=None, known_keys=None, unscored_because=why.message)


def _answers(line: Line, bundle: Digest, holdout: pd.DataFrame) -> tuple[Any, float | None]:
    """Answer by the champion's own estimator, or by its graph where the estimator is gone."""
    from lockgate.adapters.native_scorer import NativeScorer, score_bundle

    verified = line.services.bundles.get(bundle)
    release = release_of_bundle(line, bundle)
    folder = None if release is None else line.services.settings.release(ReleaseId(release)) / "fit"
    if folder is not None and (folder / "model.skops").is_file():
        return NativeScorer.load(folder).score(holdout), verified.contract.threshold
    return score_bundle(line.services.bundles.folder(bundle), holdout), verified.contract.threshold


def _known(line: Line, bundle: Digest) -> pd.DataFrame:
    """Return the keys of every row the champion was fitted on, early stopping included."""
    import pandas as pd

    rows = [row for row in line.ledger.rows(line.model, events=(Event.BUNDLE,)) if row.payload["bundle"] == bundle]
    if not rows:
        raise LockgateError(f"the ledger does not say which rows champion {bundle[:12]} was fitted on")
    snapshot = line.services.store.snapshot(Digest(str(rows[-1].payload["data"])))
    keys = list(line.spec.data.key)
    return pd.concat([line.services.store.part(snapshot, part, keys) for part in ("train", "validation")])


def _threshold(chosen: Any) -> float | None:  # noqa: ANN401 - JSON
    return None if chosen is None else float(chosen["value"])
