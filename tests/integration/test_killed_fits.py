"""A fit killed in the middle (SIGKILL, a real process) goes on from its checkpoint and ends bit by bit the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.core.ids import digest_bytes, to_json
from lockgate.core.reproduction import answer_difference
from lockgate.core.spec import ReleaseSpec, SearchSection
from lockgate.models import trainer_of
from lockgate.models.fit_process import fit
from lockgate.models.native import load_native
from tests.dying_fits import die_in_a_fit
from tests.unit.models.rows import snapshot_in, spec_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LONG = {"n_estimators": 300, "learning_rate": 0.05}  # rows and columns are sampled: the seeds must go on too
SEARCH = SearchSection(space={"max_depth": (2, 4), "min_child_weight": (1.0, 50.0)}, trials=4, time_budget_s=1e6)
WENT_ON = "had been interrupted and went on from its checkpoint"


@dataclass
class Work:
    """One fit's request, and where its results go."""

    folder: Path
    spec: ReleaseSpec

    def request(self, out: str) -> dict[str, Any]:
        held = self.folder / "snapshot"
        if not held.exists():
            snapshot_in(held, self.spec.task.kind, n=300)
        parts = {part: str(held / f"{part}.parquet") for part in ("train", "validation")}
        return {"spec": to_json(self.spec), **parts, "out": str(self.folder / out)}

    def here(self, out: str) -> dict[str, Any]:
        """Fit in this process."""
        facts: Any = fit(**self.request(out))
        return dict(facts)

    def killed(self, out: str, folder: str, *, kept: int) -> None:
        """Fit in a process of its own that is killed in the middle; see `die_in_a_fit`."""
        die_in_a_fit(self.request(out), folder, kept=kept)
        assert not (self.folder / out / "fit.json").exists()

    def same_model(self, first: str, second: str) -> bool:
        answers = [np.load(self.folder / out / "answers.npy") for out in (first, second)]
        trainer = trainer_of(self.spec)
        natives = [load_native(self.folder / out / "model.skops", trainer.trusted) for out in (first, second)]
        graphs = {digest_bytes(trainer.to_onnx(n, self.spec, trainer.form(n, self.spec))) for n in natives}
        return answer_difference(*answers)["differing"] == 0 and len(graphs) == 1


def trials_kept(out: Path) -> list[Any]:
    for path in (out / "search").glob("*.checkpoint"):
        kept: list[Any] = json.loads(path.read_bytes().split(b"\n")[1])["state"]["trials"]
        return kept
    return []


def test_boosting_goes_on_where_it_was_killed_or_from_the_start_when_its_checkpoint_is_damaged(tmp_path: Path) -> None:
    work = Work(tmp_path, spec_of(parameters=LONG, early_stopping_rounds=None))
    whole = work.here("whole")
    work.killed("killed", "checkpoint", kept=1)
    shutil.copytree(tmp_path / "killed", tmp_path / "damaged")
    (damaged,) = (tmp_path / "damaged" / "checkpoint").glob("*.checkpoint")
    flipped = bytearray(damaged.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    damaged.write_bytes(flipped)

    for out, note in (
        ("killed", f"the fit {WENT_ON}"),
        ("damaged", "a checkpoint of the fit is damaged; it was thrown away and the work is done from the start"),
    ):
        resumed = work.here(out)
        assert resumed["notes"] == [note]
        assert (resumed["loss"], resumed["history"]) == (whole["loss"], whole["history"])
        assert work.same_model("whole", out)
        assert not (tmp_path / out / "checkpoint").exists()


@pytest.mark.soak
def test_a_search_killed_in_a_trial_and_again_in_its_last_fit_goes_on_each_time(tmp_path: Path) -> None:
    work = Work(tmp_path, spec_of(parameters=LONG, search=SEARCH, early_stopping_rounds=None))
    whole = work.here("whole")
    work.killed("killed", "search", kept=2)
    kept = trials_kept(tmp_path / "killed")
    assert len(kept) == 2 < SEARCH.trials
    work.killed("killed", "checkpoint", kept=1)
    assert len(trials_kept(tmp_path / "killed")) == SEARCH.trials
    resumed = work.here("killed")
    assert resumed["notes"] == [f"the search {WENT_ON}", f"the fit {WENT_ON}"]
    told = [[(t["number"], t["parameters"], t["loss"]) for t in each["search"]["trials"]] for each in (whole, resumed)]
    assert told[0] == told[1]
    assert [t["seconds"] for t in resumed["search"]["trials"][: len(kept)]] == [t["seconds"] for t in kept]
    assert resumed["parameters"] == whole["parameters"]
    assert work.same_model("whole", "killed")
