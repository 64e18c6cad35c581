"""Answers of everybody on the same rows: the challenger, a model that knows nothing, and the champion now serving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from lockgate.core.ids import Digest, Json, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.errors import LockgateError
from lockgate.line.model_line import Line, champion_of, release_of_bundle
from lockgate.stages.examination import Ask, Examination, Explain, HoldoutUses, examination_of
from lockgate.stages.sampling import ChampionScores, Scores, naive_scores

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def examine(line: Line, so_far: Progress, holdout_uses: HoldoutUses | None = None) -> Examination:
    """Read the holdout once and have everybody answer it.

    A champion that cannot be scored is said to be there and unscored, never to be absent.

    Args:
        line: The model's line.
        so_far: The release.
        holdout_uses: How often the holdout was judged on before.
    """
    from lockgate.adapters.native_scorer import NativeScorer
    from lockgate.adapters.trainer import read_fit

    store, folder = line.services.store, line.folder(so_far) / "fit"
    snapshot = store.snapshot(Digest(so_far.refs["data"]))
    holdout = store.part(snapshot, "holdout")
    columns = [*line.spec.data.features, line.spec.data.label]
    train = store.part(snapshot, "train", columns)
    simple, simple_facts = _simple(line, train, holdout)
    challenger = NativeScorer.load(folder)
    bundle = champion_of(so_far)
    champion, asked = (None, None) if bundle is None else _champion(line, bundle, holdout)
    scores = Scores(
        challenger=challenger.score(holdout),
        naive=naive_scores(line.spec, train[line.spec.data.label], len(holdout)),
        simple=simple,
        simple_facts=simple_facts,
        champion=champion,
        threshold=_threshold(read_fit(folder).facts.get("threshold")),
    )
    return examination_of(
        line.spec,
        holdout,
        scores,
        ask=challenger.score,
        ask_champion=None if asked is None else asked.ask,
        part=lambda name, columns: store.part(snapshot, name, columns),
        unlabelled=snapshot.unlabelled.get("holdout", 0),
        holdout_uses=holdout_uses,
        explain=challenger.contributions,
        explain_champion=None if asked is None else asked.explain,
    )


def _simple(
    line: Line, train: pd.DataFrame, holdout: pd.DataFrame
) -> tuple[NDArray[np.float64] | None, Mapping[str, Json]]:
    """Answer by a linear model; one that cannot be fitted says why, and blocks nobody."""
    from lockgate.models.simple import fit_simple

    try:
        simple = fit_simple(train, line.spec)
        return simple.score(holdout), simple.facts
    except LockgateError as why:
        return None, {"unfitted_because": why.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerer:
    """Who answers for a bundle.

    Attributes:
        ask: Answers rows.
        threshold: The bundle's own; None where it decides without one.
        explain: Explains those answers; None: it is the graph, which cannot.
    """

    ask: Ask
    threshold: float | None
    explain: Explain | None


def _champion(line: Line, bundle: Digest, holdout: pd.DataFrame) -> tuple[ChampionScores, Answerer | None]:
    try:
        asked = answerer(line, bundle)
        known, scores = known_keys(line, bundle), asked.ask(holdout)
        scored = ChampionScores(bundle=bundle, scores=scores, known_keys=known, threshold=asked.threshold)
    except LockgateError as why:
        return ChampionScores(bundle=bundle, scores=None, known_keys=None, unscored_because=why.message), None
    return scored, asked


def answerer(line: Line, bundle: Digest) -> Answerer:
    """Return who answers for a bundle: its own estimator, or its graph where that is gone.

    Raises:
        LockgateError: The bundle is gone or is not what was signed.
    """
    from lockgate.adapters.native_scorer import NativeScorer, score_bundle

    verified = line.services.bundles.get(bundle)
    release = release_of_bundle(line, bundle)
    folder = None if release is None else line.services.settings.release(ReleaseId(release)) / "fit"
    if folder is not None and (folder / "model.skops").is_file():
        native = NativeScorer.load(folder)
        return Answerer(ask=native.score, threshold=verified.contract.threshold, explain=native.contributions)
    by_graph = cast("Ask", partial(score_bundle, line.services.bundles.folder(bundle)))  # float32; taken as float64
    return Answerer(ask=by_graph, threshold=verified.contract.threshold, explain=None)


def known_keys(line: Line, bundle: Digest) -> pd.DataFrame:
    """Return the keys of every row a champion was fitted on, early stopping included.

    Raises:
        LockgateError: The ledger does not say which rows those are, or they are gone.
    """
    import pandas as pd

    rows = [row for row in line.ledger.rows(line.model, events=(Event.BUNDLE,)) if row.payload["bundle"] == bundle]
    if not rows:
        raise LockgateError(f"the ledger does not say which rows champion {bundle[:12]} was fitted on")
    snapshot = line.services.store.snapshot(Digest(str(rows[-1].payload["data"])))
    keys = list(line.spec.data.key)
    return pd.concat([line.services.store.part(snapshot, part, keys) for part in ("train", "validation")])


def _threshold(chosen: Any) -> float | None:  # noqa: ANN401 - JSON
    return None if chosen is None else float(chosen["value"])


def refold(line: Line, so_far: Progress) -> Mapping[str, Json]:
    """Fit the folds that the spec asks for and return the section `folds`; what breaks is said, and blocks nobody."""
    from lockgate.stages.folds import folds_section

    if not line.spec.evaluation.folds:
        return folds_section(line.spec, None)
    from lockgate.adapters.folds import fit_folds_isolated
    from lockgate.adapters.trainer import read_fit

    try:
        parameters = read_fit(line.folder(so_far) / "fit").facts.get("parameters")
        snapshot = line.services.store.snapshot(Digest(so_far.refs["data"]))
        given = parameters if isinstance(parameters, Mapping) else {}
        measured = fit_folds_isolated(line.services.settings.project, line.spec, snapshot, given)
    except LockgateError as why:
        return folds_section(line.spec, None, why.message)
    return folds_section(line.spec, measured)
