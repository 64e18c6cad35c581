"""The delivery figures: worked by hand from a ledger that a test wrote."""

from __future__ import annotations

from datetime import timedelta

import pytest
from scipy import stats

from lockgate.core.delivery import delivery, exact_interval
from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event
from lockgate.stages.rollback import roll_back
from lockgate.stages.traffic import Switch
from tests.fakes import FakeClock, FakeLedger
from tests.record import MODEL, Writer

FIRST, SECOND = ReleaseId("flights-0001"), ReleaseId("flights-0002")
OLD, NEW = Digest("b" * 64), Digest("c" * 64)


@pytest.fixture
def first() -> Writer:
    clock = FakeClock()
    return Writer(FakeLedger(clock), clock, FIRST, OLD)


def promoted_twice(first: Writer) -> Writer:
    first.whole()
    first.clock.advance(10 * 86_400)
    return Writer(first.ledger, first.clock, SECOND, NEW, champion=OLD, target=first.target).whole()


def test_an_empty_ledger_has_no_figures() -> None:
    found = delivery(())
    assert found.since is None
    assert (found.promotions, found.per_30_days, found.failure_fraction, found.lead_time) == (0, None, None, None)


def test_less_than_a_day_of_record_gives_no_frequency(first: Writer) -> None:
    first.whole()
    found = delivery(first.ledger.rows(MODEL))
    assert found.promotions == 1
    assert found.per_30_days is None


def test_frequency_is_promotions_over_the_length_of_the_record(first: Writer) -> None:
    promoted_twice(first)
    rows = first.ledger.rows(MODEL)
    found = delivery(rows)
    days = (rows[-1].at - rows[0].at) / timedelta(days=1)
    assert found.promotions == found.releases == 2
    assert found.per_30_days == pytest.approx(2 * 30 / days)
    assert (found.failures, found.failure_fraction) == (0, 0.0)


def test_lead_time_begins_with_the_releases_own_data(first: Writer) -> None:
    first.ledger.append(MODEL, Event.BATCH_INGESTED, {"sha256": "a", "name": "x", "rows": 1, "table_version": 0})
    landed = first.clock.time
    first.clock.advance(3600)
    first.whole()
    rows = first.ledger.rows(MODEL)
    switched = next(row for row in rows if row.event is Event.TRAFFIC_VERIFIED)
    found = delivery(rows)
    assert found.lead_time is not None
    assert found.lead_time.median_s == (switched.at - landed).total_seconds()
    assert found.lead_time.median_s > 3600
    assert found.waited is not None
    assert found.waited.n == 1


def test_data_of_the_release_before_is_not_counted_again(first: Writer) -> None:
    first.ledger.append(MODEL, Event.BATCH_INGESTED, {"sha256": "a", "name": "x", "rows": 1, "table_version": 0})
    promoted_twice(first)
    found = delivery(first.ledger.rows(MODEL))
    assert found.lead_time is not None
    assert found.lead_time.longest_s < 86_400


def test_a_rollback_is_a_failed_change_with_its_times(first: Writer) -> None:
    second = promoted_twice(first)
    first.clock.advance(7200)
    roll_back(Switch(ledger=first.ledger, target=second.target, model=MODEL, readback_requests=3, timeout_s=0), "worse")
    found = delivery(first.ledger.rows(MODEL))
    assert (found.promotions, found.changes, found.failures) == (2, 2, 1)
    assert found.failure_fraction == 0.5
    assert found.restore is not None
    assert found.exposed is not None
    assert found.restore.median_s < 60
    assert found.exposed.median_s >= 7200


@pytest.mark.parametrize(("hits", "tries"), [(0, 7), (1, 2), (3, 11), (5, 5), (40, 100)])
def test_the_exact_interval_is_scipys(hits: int, tries: int) -> None:
    wanted = stats.binomtest(hits, tries).proportion_ci(method="exact")
    assert exact_interval(hits, tries) == pytest.approx((wanted.low, wanted.high))


def test_staging_is_no_deployment(first: Writer) -> None:
    first.open()
    payload = {"environment": "staging", "kind": "promotion", "sequence": 1, "from": None, "to": OLD, "answers": 3}
    first.add(Event.TRAFFIC_VERIFIED, **payload)
    assert delivery(first.ledger.rows(MODEL)).promotions == 0
