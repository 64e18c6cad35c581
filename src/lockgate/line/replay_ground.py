"""The real ground of a replay: a temporary stack whose own flows take in, judge, approve and roll out.

Nothing is done in their place: a file lands and the watcher, the policy and the deployments do the rest. What a replay
adds is the time (`FileClock`), the clients, and the labels that come late.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.adapters.durable_files import sha256_of
from lockgate.adapters.local_stack import bring_up, take_down
from lockgate.adapters.sample_batches import prepared_batch, write_sample
from lockgate.adapters.virtual_clock import FileClock
from lockgate.bootstrap import Services
from lockgate.config import Settings
from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.replay_comparison import ScoredMonth
from lockgate.core.replay_plan import Alarm, Ended
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput
from lockgate.line.model_line import Line, release_of_bundle
from lockgate.line.replay_calendar import fit_aside
from lockgate.line.replay_release import (
    again_where_busy,
    await_end,
    await_none,
    end_leftovers,
    started_by_harm,
    taken_up,
)
from lockgate.line.replay_scores import Scores
from lockgate.line.replay_traffic import (
    QUIET_RPS,
    ROLLOUT_RPS,
    Clients,
    Sent,
    ask_by_day,
    request_rows_of,
    tell_labels,
    whom,
)

if TYPE_CHECKING:
    import pandas as pd

    from lockgate.adapters.traffic_generator import Rows

REQUESTS = 2_000
"""Requests about a month: ours, enough that a day has 60, and ten seconds of the server."""
READY_WITHIN_S = 300.0
_NOON = timedelta(hours=12)


@dataclass(kw_only=True)
class StackGround:
    """One policy's stack.

    Attributes:
        settings: Of its home; see `adapters.replay_project.replay_settings`.
        seed: Of which rows are asked about, and by whom.
        requests: How many a month.
    """

    settings: Settings
    model: str
    seed: int = 1
    requests: int = REQUESTS
    _untold: list[tuple[str, Json]] = field(default_factory=list)
    _beside: Sent = field(default_factory=Sent)
    _frames: dict[str, pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def services(self) -> Services:
        """The stack's ports."""
        return Services(self.settings)

    @cached_property
    def spec(self) -> ReleaseSpec:
        """The spec as it is replayed."""
        return self.services.spec(self.model)

    @property
    def line(self) -> Line:
        """The model's line."""
        return Line(services=self.services, spec=self.spec)

    @property
    def clock(self) -> FileClock:
        """The replay's clock."""
        clock = self.services.clock
        if not isinstance(clock, FileClock):
            raise BadInput(f"{self.settings.home} is no replay's home")
        return clock

    # -- up and down -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Bring the stack up; what a killed replay left half done is ended first."""
        take_down(self.settings, tell=lambda _: None)
        bring_up(self.settings, tell=lambda _: None, within_s=READY_WITHIN_S)
        end_leftovers(self.line)

    def close(self) -> None:
        """Take the stack down; what it holds stays."""
        take_down(self.settings, tell=lambda _: None)
        if "ledger" in vars(self.services):
            self.services.ledger.close()
            del vars(self.services)["ledger"]

    # -- what is there ---------------------------------------------------------------------------------------------

    def _rows(self, *events: Event) -> tuple[LedgerRow, ...]:
        return self.services.ledger.rows(self.line.model, events=events)

    def frame(self, month: str) -> pd.DataFrame:
        """Return a month's rows, prepared, by their time."""
        if month not in self._frames:
            whole = prepared_batch(self.settings, self.spec, month)
            if not len(whole):
                raise BadInput(f"month {month} of {self.model} holds no rows; leave it out")
            while len(self._frames) > 1:  # the month at hand and the one after it
                del self._frames[next(iter(self._frames))]
            self._frames[month] = whole.sort_values(self.spec.data.time, kind="stable").reset_index(drop=True)
        return self._frames[month]

    def times(self, month: str) -> tuple[datetime, datetime]:
        """Return when a month's first and last row were."""
        when = self.frame(month)[self.spec.data.time]
        return when.iloc[0].to_pydatetime(), when.iloc[-1].to_pydatetime()

    def champion(self) -> str:
        """Return the release that serves; empty when none does."""
        served = self.services.ledger.state(self.line.model).serving.get("production")
        if served is None:
            return ""
        return str(served.release or release_of_bundle(self.line, served.bundle) or "")

    def newest(self) -> str:
        """Return the newest release that came as far as a fit; empty when none did."""
        opened = [row.release for row in self._rows(Event.RELEASE_OPENED) if row.release]
        fitted = [each for each in opened if self._fitted(each)]
        return str(fitted[-1]) if fitted else ""

    def _fitted(self, release: ReleaseId) -> bool:
        return (self.settings.release(release) / "fit" / "model.skops").is_file()

    def record(self) -> Sequence[LedgerRow]:
        """Return the ledger's rows of the model; the stack may be down."""
        return self._rows()

    def monthly_fit(self, months: Sequence[str], release: str | None) -> str:
        """Return the fit that a calendar has after a month: a release's own, or one made aside."""
        if release is not None and self._fitted(ReleaseId(release)):
            return release
        return fit_aside(self.services, self.spec, months, self._write)

    # -- clients ---------------------------------------------------------------------------------------------------

    def ask(self, month: str) -> tuple[int, int]:
        """Let clients ask about a sample of a month's rows, on the rows' own days."""
        frame = self.frame(month)
        drawn = frame.sample(n=min(self.requests, len(frame)), random_state=self.seed).sort_index()
        sent = ask_by_day(whom(self.services, self.spec), self._days(drawn), self.seed * 1000)
        self._untold += sent.untold
        return sent.asked, sent.answered

    def _days(self, drawn: pd.DataFrame) -> Iterator[tuple[Callable[[], None], Rows]]:
        for day, rows in drawn.groupby(drawn[self.spec.data.time].dt.floor("D"), sort=True):
            yield partial(self._move, day.to_pydatetime() + _NOON), request_rows_of(self.spec, rows)

    def _move(self, to: datetime) -> None:
        """Move the clock on and wait until every process reads it; one that is further already stays."""
        if to > self.clock.now():
            self.clock.move(to)
            time.sleep(0.1)

    def label(self, month: str) -> int:
        """Tell the server, after a month's end, what turned out to be true of everything that was asked so far."""
        self._move(self._known(month))
        told, self._untold = self._untold, []
        tell_labels(self.settings, told)
        return len(told)

    def _known(self, month: str) -> datetime:
        """Return when the labels of all of a month's rows are known."""
        return self.times(month)[1] + timedelta(seconds=self.spec.data.label_delay_s)

    @contextmanager
    def _clients(self, about: str) -> Iterator[Clients | None]:
        """Let clients ask while a release is under way; nobody asks where nothing serves yet."""
        if not self.champion():
            yield None
            return
        clients = Clients(
            whom(self.services, self.spec),
            request_rows_of(self.spec, self.frame(about)),
            self.seed * 1000 + len(self._untold),
        )
        clients.ask(QUIET_RPS)
        try:
            yield clients
        finally:
            clients.end()
            self._untold += clients.sent.untold
            self._beside.asked += clients.sent.asked
            self._beside.answered += clients.sent.answered

    def by_harm(self) -> tuple[Ended, ...]:
        """Return every release so far that harm started and that has ended, oldest first."""
        return started_by_harm(self.line)

    def beside(self) -> tuple[int, int]:
        """Return how many asked, and were answered, beside releases since this was last asked for."""
        told, self._beside = self._beside, Sent()
        return told.asked, told.answered

    # -- data and releases -----------------------------------------------------------------------------------------

    def land(self, months: Sequence[str], about: str | None) -> Ended:
        """Land months as one file, after their labels are known, and wait for what comes of it."""
        model = self.line.model
        self._move(self._known(months[-1]))
        await_none(self.line)  # harm that was found may have started a release
        seen = self.services.ledger.last_seq(model)
        with (
            self._clients(about or months[-1]) as clients,
            tempfile.TemporaryDirectory(prefix="lockgate-replay-") as at,
        ):
            path = Path(at) / f"{model}-{months[-1]}.parquet"
            self._write(months, path)
            ended = taken_up(self.line, sha256_of(path))
            rollout = None if clients is None else partial(clients.ask, ROLLOUT_RPS)
            if ended is None:
                self.services.store.land(model, path)
                ended = await_end(self.line, seen, rollout)
            return again_where_busy(self.line, ended, rollout)

    def _write(self, months: Sequence[str], path: Path) -> None:
        import pandas as pd

        parts = []
        for month in months:
            write_sample(self.settings, self.spec, month, path)
            parts.append(pd.read_parquet(path))
        if len(parts) > 1:
            pd.concat(parts, ignore_index=True).to_parquet(path, index=False)

    # -- the monitor, and what fits were worth -----------------------------------------------------------------------

    def watch(self) -> tuple[Alarm, ...] | None:
        """Let the monitor look once; None where there is none."""
        from lockgate.line.replay_watch import watch_once

        return watch_once(self.line)

    @cached_property
    def _scores(self) -> Scores:
        return Scores(line=self.line)

    def scored(self, month: str, releases: Sequence[str]) -> ScoredMonth:
        """Return what releases' fits answer to all labelled rows of a month."""
        return self._scores.of_month(month, self.frame(month), releases)

    def at_release(self, release: str, measure: str) -> float | None:
        """Return a measure on the holdout that a release was judged on."""
        return self._scores.on_holdout(release, measure)
