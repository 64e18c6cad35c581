"""What is done to a real server under load, and must not break it; at full length: `python -m benchmarks.faults`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults.beside import STOOD_STILL
from benchmarks.faults.clock import UNSEEN, NoCompiler, clock_jumps
from benchmarks.faults.disk import NotAllowed, full_disk
from benchmarks.faults.finding import Finding
from benchmarks.faults.kills import kill_a_worker, kill_everything, youngest
from benchmarks.faults.misbehaving import BEHAVIOURS, WAITED, as_challenger, as_champion
from benchmarks.faults.poison import POISONS, SLOW_POISONS, Poison, poisoned
from benchmarks.faults.published import Publication, misrouted
from benchmarks.faults.swaps import swaps_and_rollbacks
from tests.integration.saturation import Answer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
OLD, NEW = "a" * 64, "b" * 64


def held(found: Finding) -> None:
    assert found.problems == [], found


def held_in_one_of_three(find: Callable[[Path], Finding], root: Path, but_for: str) -> None:
    """Find again where all that was found is what a machine or a disk does that stands still for a second.

    A server that makes its callers wait, or ends a lease at the wrong time, does so each time, and one that writes
    too late also where the disk was seen to take all there was. Anything else that is found is a failure at once.
    """
    for number in range(3):
        found = find(root / f"world-{number}")
        assert [each for each in found.problems if not each.startswith(but_for)] == [], found
        if not found.problems:
            return
    raise AssertionError(found)


def answer(sent: float, received: float, digest: str = OLD, status: int = 200, value: float | None = 0.5) -> Answer:
    return Answer(sent, received, 0, status, digest, "champion", value, "p-1")


@pytest.mark.parametrize(
    ("one", "wrong"),
    [
        (answer(1, 2), ""),
        (answer(1, 11, NEW), ""),  # received while the change was being made
        (answer(11.5, 13), ""),  # sent before it was acknowledged
        (answer(12.5, 13), "not published"),
        (answer(1, 9, NEW), "not published"),
        (answer(1, 2, "c" * 64), "not published"),
        (answer(1, 2, status=503), "got 503"),
        (answer(1, 2, value=0.6), "not what bundle"),
        (answer(1, 2, value=None), "not what bundle"),
    ],
)
def test_an_answer_that_was_not_published_then_or_is_another_ones_is_found(one: Answer, wrong: str) -> None:
    published = [Publication(OLD, 0, 0.5), Publication(NEW, 10, 12)]
    found = list(misrouted([one], published, lambda *_: 0.5))
    assert len(found) == bool(wrong)
    assert all(wrong in each for each in found)


def test_the_last_half_second_of_a_process_is_counted_while_it_answers() -> None:
    def of(process: str, *milliseconds: int) -> list[Answer]:
        return [answer(0, at / 1000)._replace(prediction_id=f"{process}-{at}") for at in milliseconds]

    busy, stalled = of("a", *range(0, 2000, 10)), of("b", *range(0, 1000, 10))  # the other stood still for a second
    found = {each.prediction_id for each in youngest([*busy, *stalled], 2.0, 0.5)}
    assert found == {f"a-{at}" for at in range(1500, 2000, 10)} | {f"b-{at}" for at in range(510, 1000, 10)}


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_swaps_and_rollbacks_under_saturation_fail_and_misroute_nobody(tmp_path: Path, workers: int) -> None:
    held(swaps_and_rollbacks(tmp_path / "world", workers=workers, swaps=60, rollbacks=15))


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_two_hundred_swaps_and_fifty_rollbacks_fail_and_misroute_nobody(tmp_path: Path, workers: int) -> None:
    found = swaps_and_rollbacks(tmp_path / "world", workers=workers, swaps=200, rollbacks=50)
    held(found)
    assert found.figures["changes"] == 250


def test_a_killed_worker_costs_what_was_in_flight_on_it_and_nothing_else(tmp_path: Path) -> None:
    held_in_one_of_three(lambda root: kill_a_worker(root, kills=2, settle_s=1.0), tmp_path, but_for=STOOD_STILL)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_after_a_kill_of_everything_the_champion_is_alone_and_the_log_whole_to_its_bound(
    tmp_path: Path, workers: int
) -> None:
    held_in_one_of_three(lambda root: kill_everything(root, workers=workers, load_s=2.0), tmp_path, but_for=STOOD_STILL)


@pytest.mark.parametrize("poison", POISONS, ids=lambda each: each.what.replace(" ", "-"))
def test_a_poisoned_bundle_is_refused_with_its_reason_and_what_was_served_stays(tmp_path: Path, poison: Poison) -> None:
    held(poisoned(tmp_path / "world", poison))


@pytest.mark.soak
@pytest.mark.parametrize("poison", SLOW_POISONS, ids=lambda each: each.what.replace(" ", "-"))
def test_a_bundle_that_hangs_as_it_is_loaded_is_given_up(tmp_path: Path, poison: Poison) -> None:
    held(poisoned(tmp_path / "world", poison))


@pytest.mark.parametrize(
    "name",
    [
        "hangs",
        "throws",
        *(pytest.param(each, marks=pytest.mark.soak) for each in ("takes too much memory", "hangs in one node")),
    ],
)
def test_a_challenger_that_misbehaves_is_fenced_and_the_champion_answers(tmp_path: Path, name: str) -> None:
    held_in_one_of_three(lambda root: as_challenger(root, BEHAVIOURS[name], load_s=2.0), tmp_path, but_for=WAITED)


@pytest.mark.parametrize(
    ("name", "behind"), [("hangs", "previous"), ("throws", "constant"), ("takes too much memory", "previous")]
)
def test_in_place_of_a_champion_that_misbehaves_what_stands_behind_it_answers(
    tmp_path: Path, name: str, behind: str
) -> None:
    held_in_one_of_three(
        lambda root: as_champion(root, BEHAVIOURS[name], load_s=1.5, behind=behind), tmp_path, but_for=WAITED
    )


def test_a_full_disk_is_said_once_bounded_and_over_when_there_is_room(tmp_path: Path) -> None:
    try:
        held(full_disk(tmp_path / "world", load_s=2.0))
    except NotAllowed as why:
        pytest.skip(f"NOT TESTED: {why}")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_a_clock_that_jumps_breaks_neither_leases_nor_logs(tmp_path: Path, workers: int) -> None:
    try:
        held_in_one_of_three(lambda root: clock_jumps(root, workers=workers), tmp_path, but_for=UNSEEN)
    except NoCompiler as why:
        pytest.skip(f"NOT TESTED: {why}")
