"""What fits of past releases answer to a month's rows, by the bundle that was sealed, or by the fit where none was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockgate.core.block_statistics import Metric
from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.replay_comparison import ScoredMonth
from lockgate.core.replay_plan import MEASURES
from lockgate.core.task_metrics import Costs, task_metrics
from lockgate.errors import MeasurementError
from lockgate.line.model_line import Line
from lockgate.line.replay_calendar import fit_folder
from lockgate.stages.sampling import Sample, take_sample

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores what the releases of a line made.

    Attributes:
        line: The model's line.
    """

    line: Line

    def of_month(self, month: str, frame: pd.DataFrame, releases: Sequence[str]) -> ScoredMonth:
        """Return every release's measures on all labelled rows of a month.

        Raises:
            MeasurementError: The month has no labelled row, or a fit answered with no number.
        """
        samples = {release: self._sample(release, frame) for release in releases}
        first = next(iter(samples.values()))
        return ScoredMonth(
            month=month,
            rows=len(first.y),
            blocks=first.blocks,
            metrics={release: self._metrics(sample) for release, sample in samples.items()},
        )

    def on_holdout(self, release: str, measure: str) -> float | None:
        """Return a measure on the holdout that a release was judged on; None where it sealed no bundle."""
        import numpy as np

        row = self._sealed(release)
        if row is None:
            return None
        snapshot = self.line.services.store.snapshot(Digest(row["data"]))
        sample = self._sample(release, self.line.services.store.part(snapshot, "holdout"))
        metric = self._metrics(sample)[measure]
        return float(metric.statistic(np.ones((1, sample.blocks)))[0])

    def _sample(self, release: str, frame: pd.DataFrame) -> Sample:
        sample = take_sample(self.line.spec, frame, self._ask(release, frame))
        if not len(sample.y) or sample.invalid:
            raise MeasurementError(
                f"{release} answered {sample.invalid} of {len(sample.y) + sample.invalid} labelled rows with no number"
            )
        return sample

    def _ask(self, release: str, frame: pd.DataFrame) -> Any:  # noqa: ANN401 - numbers of the task's shape
        from lockgate.adapters.native_scorer import NativeScorer, score_bundle

        settings = self.line.services.settings
        row = self._sealed(release)
        if row is None:
            folder = fit_folder(settings, release) or settings.release(ReleaseId(release)) / "fit"
            return NativeScorer.load(folder).score(frame)
        bundles, bundle = self.line.services.bundles, Digest(row["bundle"])
        bundles.get(bundle)  # verified
        return score_bundle(bundles.folder(bundle), frame)

    def _metrics(self, sample: Sample) -> dict[str, Metric]:
        spec = self.line.spec
        costs = Costs(threshold=spec.task.threshold)  # none of the measures decides
        found = task_metrics(
            spec.task.kind, sample.y, sample.score, block=sample.block, blocks=sample.blocks, costs=costs
        )
        return {name: found[name] for name in MEASURES[spec.task.kind]}

    def _sealed(self, release: str) -> Mapping[str, str] | None:
        rows = self.line.ledger.rows(self.line.model, release=ReleaseId(release), events=(Event.BUNDLE,))
        return {key: str(rows[-1].payload[key]) for key in ("bundle", "data")} if rows else None
