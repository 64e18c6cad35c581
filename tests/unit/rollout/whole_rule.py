"""The rows of `docs/statistics.md` on the whole rule: each is many rollouts, and what was wanted of them.

    python -m tests.unit.rollout.whole_rule --into FOLDER [--runs 2000] [ROW ...]

appends each rollout to FOLDER/ROW.jsonl as it ends and prints the row when it has them all. Begun again it goes on
where it stopped; with `--runs` of what is there it prints what is there.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from scipy import stats  # type: ignore[import-untyped]  # no stubs installed

from lockgate.core.delivery import exact_interval
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.stages.calibrating import Ended
from tests.unit.rollout.tally_rollouts import World, rollout, section_of

RUNS = 2000
GROWING = section_of((0.1, 0.2, 0.5), 600, 2000.0)
"""200 looks, ten seconds apart."""
FIXED = section_of((0.1,), 3000, 3600.0)
"""30 requests of the canary a minute, beside 270."""
PROMOTING = section_of((0.1, 0.2, 0.5), 600, 3600.0)
"""200 looks in its hour where they are 18 seconds apart."""
CLIENTS = World(entities=3000)
BURSTS = World(entities=3000, failure=0.02, burst=10)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table.

    Attributes:
        world: Its traffic.
        section: Its rollout.
        first_seed: Run k has this seed plus k, so that no two rows share one.
        look_s: Seconds from look to look.
        most_rolled_back: Share of runs; None: nothing is wanted of it.
        found_within_min: Minutes, in the median; None: likewise.
        least_promoted: Share of runs; None: likewise.
    """

    world: World
    section: RolloutSection
    first_seed: int
    look_s: float = 10.0
    most_rolled_back: float | None = None
    found_within_min: float | None = None
    least_promoted: float | None = None

    def run(self, begin: int = 0) -> Iterator[Ended]:
        """Carry out one rollout after the other, without end."""
        seed = self.first_seed + begin
        while True:
            yield rollout(seed, self.world, self.section, self.look_s)
            seed += 1

    def holds(self, ends: Sequence[Ended]) -> bool:
        """Whether what was wanted came."""
        return (
            (self.most_rolled_back is None or share(ends, RolloutVerdict.ROLL_BACK) <= self.most_rolled_back)
            and (self.least_promoted is None or share(ends, RolloutVerdict.PROMOTE) >= self.least_promoted)
            and (self.found_within_min is None or found_after_min(ends, 0.5)[0] <= self.found_within_min)
        )


ROWS = {
    "failures-1-to-5": Row(world=World(risk=5.0), section=FIXED, first_seed=6000, found_within_min=8.0),
    "failures-1-to-3": Row(world=World(risk=3.0), section=FIXED, first_seed=4000, found_within_min=20.0),
    "equal-bursts": Row(world=BURSTS, section=GROWING, first_seed=2000, most_rolled_back=0.05),
    "equal-new": Row(
        world=World(), section=PROMOTING, first_seed=8000, look_s=18.0, most_rolled_back=0.05, least_promoted=0.9
    ),
    "equal-clients": Row(world=CLIENTS, section=PROMOTING, first_seed=10_000, look_s=18.0, most_rolled_back=0.05),
}


def share(ends: Sequence[Ended], verdict: RolloutVerdict) -> float:
    """Return the share of runs that ended so."""
    return sum(end.verdict is verdict for end in ends) / len(ends)


def found_after_min(ends: Sequence[Ended], quantile: float) -> tuple[float, float, float]:
    """Return a quantile of the minutes to the rollback with its 95 % interval; a run without one took for ever.

    Source: order statistics and the binomial distribution (David and Nagaraja 2003, 7.1).
    """
    minutes = sorted(end.after_s / 60 if end.verdict is RolloutVerdict.ROLL_BACK else math.inf for end in ends)
    n = len(minutes)
    low, high = int(stats.binom.ppf(0.025, n, quantile)), int(stats.binom.ppf(0.975, n, quantile)) + 1
    at = max(math.ceil(quantile * n), 1)
    return minutes[at - 1], minutes[max(low, 1) - 1], minutes[high - 1] if high <= n else math.inf


def told(name: str, ends: Sequence[Ended]) -> str:
    """Return a row in words."""
    lines = [f"{name}: {len(ends)} runs, {'holds' if ROWS[name].holds(ends) else 'MISSED'}"]
    for verdict in (RolloutVerdict.ROLL_BACK, RolloutVerdict.PROMOTE, RolloutVerdict.INCONCLUSIVE):
        hits = sum(end.verdict is verdict for end in ends)
        low, high = exact_interval(hits, len(ends))
        lines.append(f"  {verdict.value:12} {hits:5} = {hits / len(ends):.2%} ({low:.2%} to {high:.2%})")
    for quantile in (0.5, 0.9):
        at, low, high = found_after_min(ends, quantile)
        lines.append(f"  {quantile:.0%} rolled back within {at:.1f} min ({low:.1f} to {high:.1f})")
    lines += [f"  {runs:5} {why}" for why, runs in Counter(end.by for end in ends if end.by).most_common()]
    return "\n".join(lines)


def kept(name: str, folder: Path, runs: int) -> list[Ended]:
    """Return a row's runs, those that a file holds and then new ones, which are appended as they end."""
    file = folder / f"{name}.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    ends = [
        Ended(verdict=RolloutVerdict(verdict), after_s=after_s, by=by)
        for verdict, after_s, by in map(json.loads, lines)
    ]
    with file.open("a", buffering=1) as into:
        for end in islice(ROWS[name].run(len(ends)), max(runs - len(ends), 0)):
            into.write(json.dumps([end.verdict.value, end.after_s, end.by]) + "\n")
            ends.append(end)
    return ends[:runs]


def main() -> None:
    """Make the rows that were asked for, all of them by default."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; none: all of them")
    wanted.add_argument("--into", type=Path, required=True)
    wanted.add_argument("--runs", type=int, default=RUNS)
    asked = wanted.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    gc.disable()  # nothing here is a circle; a tenth of the time
    for name in asked.rows or ROWS:
        print(told(name, kept(name, asked.into, asked.runs)), flush=True)  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
