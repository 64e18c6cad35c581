"""The order of a replay, what survives a kill, and what its result says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.replay_report import report_html
from lockgate.core.replay_plan import Alarm, months_of
from lockgate.core.replay_waits import without_waits
from lockgate.core.replay_words import failed_fits, headline, month_rows
from lockgate.errors import BadInput, NotBlessed
from lockgate.line.replay_state import STATE, Asked
from lockgate.line.replaying import RESULT, Policy, replay
from lockgate.spec_file import parse_spec
from tests.e2e.toy_project import HUMAN, spec
from tests.unit.replay.fake_ground import MONTHS, FakeGround, Killed


def asked(folder: Path, since: str = "mar", until: str = "apr") -> Asked:
    months = months_of("toy", MONTHS, since, until)
    return Asked(model="toy", since=since, until=until, months=months, output=folder / "out")


def policy(ground: FakeGround, name: str = "as specified", **sections: object) -> Policy:
    toy = parse_spec(spec("toy", HUMAN) | sections)
    return Policy(name=name, spec=toy, shortened=without_waits(toy)[1], ground=lambda: ground)


def quiet(text: str) -> None:
    del text


def test_each_month_is_asked_about_labelled_and_then_lands(tmp_path: Path) -> None:
    ground = FakeGround()
    replay(asked(tmp_path), [policy(ground)], quiet)
    assert ground.calls == [
        "open",
        "land jan+feb about mar",
        *("ask mar", "label mar", "land mar about apr"),
        *("ask apr", "label apr", "land apr about may"),
        "close",
    ]


def test_the_champion_of_a_month_is_who_served_before_its_own_data_landed(tmp_path: Path) -> None:
    result: Any = replay(asked(tmp_path), [policy(FakeGround(outcomes={"mar": "blocked"}))], quiet)
    months = result["policies"][0]["months"]
    assert [each["champion"] for each in months] == ["fit-feb", "fit-feb"]
    assert [each["ended"]["outcome"] for each in months] == ["blocked", "promoted"]


def test_a_replay_that_was_killed_goes_on_at_the_month_it_was_in(tmp_path: Path) -> None:
    ground = FakeGround(killed_in="apr")
    with pytest.raises(Killed):
        replay(asked(tmp_path), [policy(ground)], quiet)
    assert ground.calls[-1] == "close", "its stack is taken down"
    ground.calls.clear()
    resumed = replay(asked(tmp_path), [policy(ground)], quiet)
    assert ground.calls == ["open", "ask apr", "label apr", "land apr about may", "close"]
    whole = replay(asked(tmp_path / "other"), [policy(FakeGround())], quiet)
    assert _without_seconds(resumed) == _without_seconds(whole)


def test_a_replay_that_was_killed_before_its_first_champion_begins_with_it_again(tmp_path: Path) -> None:
    ground = FakeGround(killed_in="feb")
    with pytest.raises(Killed):
        replay(asked(tmp_path), [policy(ground)], quiet)
    result: Any = replay(asked(tmp_path), [policy(ground)], quiet)
    assert result["policies"][0]["first"] == "fit-feb"
    assert ground.calls.count("land jan+feb about mar") == 1


def test_a_replay_that_is_done_starts_no_stack_again(tmp_path: Path) -> None:
    ground = FakeGround()
    replay(asked(tmp_path), [policy(ground)], quiet)
    ground.calls.clear()
    replay(asked(tmp_path), [policy(ground)], quiet)
    assert ground.calls == []


def test_two_policies_are_replayed_one_after_the_other_each_on_its_own_ground(tmp_path: Path) -> None:
    first, second = FakeGround(), FakeGround(outcomes={"mar": "held back"})
    result: Any = replay(asked(tmp_path), [policy(first), policy(second, "cautious")], quiet)
    names = [each["policy"] for each in result["policies"]]
    assert names == ["as specified", "cautious"]
    assert first.calls[-1] == second.calls[-1] == "close"
    assert result["policies"][1]["releases"]["held_back"] == 1


def test_without_a_first_champion_there_is_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(NotBlessed, match=r"no first champion.*jan, feb.*blocked"):
        replay(asked(tmp_path), [policy(FakeGround(outcomes={"feb": "blocked"}))], quiet)


def _foreign(folder: Path) -> None:
    (folder / "out" / "notes.txt").write_text("mine")


def _broken(folder: Path) -> None:
    (folder / "out" / STATE).write_text('{"schema_version": 1')


@pytest.mark.parametrize(("spoil", "why"), [(_foreign, "not empty"), (_broken, "no state of a replay")])
def test_a_folder_that_holds_something_else_is_refused_and_kept(
    tmp_path: Path, spoil: Callable[[Path], None], why: str
) -> None:
    (tmp_path / "out").mkdir()
    spoil(tmp_path)
    before = {each.name: each.read_text() for each in (tmp_path / "out").iterdir()}
    with pytest.raises(BadInput, match=why):
        replay(asked(tmp_path), [policy(FakeGround())], quiet)
    assert {each.name: each.read_text() for each in (tmp_path / "out").iterdir()} == before


def test_a_folder_of_another_replay_or_another_policy_is_refused(tmp_path: Path) -> None:
    replay(asked(tmp_path), [policy(FakeGround())], quiet)
    with pytest.raises(BadInput, match="holds another replay"):
        replay(asked(tmp_path, until="mar"), [policy(FakeGround())], quiet)
    with pytest.raises(BadInput, match="another spec or policy"):
        replay(asked(tmp_path), [policy(FakeGround(), split={"validation_days": 6, "holdout_days": 21})], quiet)


def test_a_months_alarm_is_true_only_where_the_champions_loss_really_was_worse(tmp_path: Path) -> None:
    harm = (Alarm(name="quality", reason="worse"),)
    # at release the fake's loss is 0.2, so 0.21 is tolerated: a fit that finds nothing loses more, a good one less
    bad = FakeGround(quality={"feb": 0.0, "mar": 1.0}, alarms={"mar": harm, "apr": harm})
    result: Any = replay(asked(tmp_path), [policy(bad)], quiet)
    kinds = [each["kind"] for each in result["policies"][0]["alarms"]["months"]]
    assert kinds == ["true", "false"]


class Unmeasured(FakeGround):
    """Nobody can say what its champions lost at release."""

    def at_release(self, release: str, measure: str) -> float:
        del release, measure
        return float("nan")


def test_an_alarm_that_there_is_nothing_to_hold_against_is_neither_true_nor_rightly_quiet(tmp_path: Path) -> None:
    harm = (Alarm(name="quality", reason="worse"),)
    result: Any = replay(asked(tmp_path), [policy(Unmeasured(alarms={"mar": harm, "apr": ()}))], quiet)
    assert [each["kind"] for each in result["policies"][0]["alarms"]["months"]] == ["unknown", "unknown"]


def test_a_month_that_the_policy_held_back_gets_a_fit_aside_of_everything_so_far(tmp_path: Path) -> None:
    ground = FakeGround(outcomes={"mar": "held back"})
    result: Any = replay(asked(tmp_path), [policy(ground)], quiet)
    assert "fit jan+feb+mar" in ground.calls
    (told,) = result["policies"]
    assert [each["monthly"] for each in told["months"]] == ["monthly-mar", "fit-apr"]
    assert told["cost"]["fits_aside"] == 1
    assert told["cost"]["takeovers"] == {"served": 1, "never": 0, "always": 1, "monthly": 2}


def test_where_no_fit_can_be_made_aside_the_calendar_keeps_the_one_before_and_that_is_told(tmp_path: Path) -> None:
    heard: list[str] = []
    ground = FakeGround(outcomes={"mar": "held back"}, unfit=("mar",))
    result: Any = replay(asked(tmp_path), [policy(ground)], heard.append)
    assert result["policies"][0]["months"][0]["monthly"] == "fit-feb"
    assert any("no monthly fit, fit-feb stays: too few rows" in each for each in heard)
    (told,) = result["policies"]
    assert [each["monthly_failed"] for each in told["months"]] == ["too few rows", ""]
    says = "no fit of mar's data for the monthly curve, which keeps fit-feb: too few rows"
    assert failed_fits(told) == [says]
    assert "which keeps fit-feb: too few rows." in report_html(result)


def test_a_release_that_harm_started_is_in_its_months_rows_and_counted(tmp_path: Path) -> None:
    ground = FakeGround(harmed={"mar": "blocked"}, outcomes={"mar": "held back"})
    result: Any = replay(asked(tmp_path), [policy(ground)], quiet)
    (told,) = result["policies"]
    assert [[each["release"] for each in month["harm"]] for month in told["months"]] == [["harm-mar"], []]
    assert told["releases"] == {
        "opened": 2,
        "by_harm": 1,
        "held_back": 1,
        "outcomes": {"blocked": 1, "promoted": 1},
        "stopped_by": {"champion": 1},
    }
    _, rows = month_rows(told)
    assert [row[0] for row in rows] == ["mar", "mar, by harm", "apr"]
    assert rows[1][-3:-1] == ("harm-mar blocked by champion, started by harm", "degradation: loss")
    assert "started by harm" not in "".join(rows[2])
    page = report_html(result)
    assert "mar, by harm" in page
    assert "1 of the releases were started by harm" in page


def test_a_champion_that_harm_brought_is_judged_on_the_month_that_it_served(tmp_path: Path) -> None:
    ground = FakeGround(harmed={"mar": "promoted"}, outcomes={"mar": "blocked", "apr": "held back"})
    result: Any = replay(asked(tmp_path), [policy(ground)], quiet)
    (told,) = result["policies"]
    assert [each["champion"] for each in told["months"]] == ["fit-feb", "harm-mar"]
    assert told["cost"]["takeovers"]["served"] == 1
    assert [(each["release"], each["judged_on"]) for each in told["takeovers"]] == [("harm-mar", "apr")]


def test_of_two_that_took_over_in_a_month_only_the_one_that_served_the_next_is_judged(tmp_path: Path) -> None:
    result: Any = replay(asked(tmp_path), [policy(FakeGround(harmed={"mar": "promoted", "apr": "promoted"}))], quiet)
    (told,) = result["policies"]
    judged = [(each["release"], each["judged_on"]) for each in told["takeovers"]]
    assert judged == [("harm-mar", None), ("fit-mar", "apr"), ("harm-apr", None), ("fit-apr", "may")]
    assert told["cost"]["takeovers"]["served"] == 4
    assert [each["harm"][0]["release"] for each in told["months"]] == ["harm-mar", "harm-apr"]


def test_a_release_by_harm_is_not_lost_where_the_replay_was_killed_after_it(tmp_path: Path) -> None:
    ground = FakeGround(harmed={"mar": "blocked"}, killed_in="mar")
    ground._started_by_harm("mar")
    ground.harmed = {}
    with pytest.raises(Killed):
        replay(asked(tmp_path), [policy(ground)], quiet)
    result: Any = replay(asked(tmp_path), [policy(ground)], quiet)
    assert [len(month["harm"]) for month in result["policies"][0]["months"]] == [1, 0]


def test_a_state_of_before_monthly_fits_were_kept_reads_as_it_did(tmp_path: Path) -> None:
    replay(asked(tmp_path), [policy(FakeGround())], quiet)
    state = tmp_path / "out" / STATE
    old = json.loads(state.read_text())
    for month in old["policies"][0]["months"]:
        for name in ("monthly", "beside_asked", "beside_answered", "harm", "monthly_failed"):
            del month[name]
    state.write_text(json.dumps(old))
    result: Any = replay(asked(tmp_path), [policy(FakeGround(fits=["fit-feb", "fit-mar", "fit-apr"]))], quiet)
    assert any({"always", "monthly"} <= set(group) for group in result["policies"][0]["alike"])


def test_requests_without_an_answer_are_counted_by_the_month_and_beside_releases(tmp_path: Path) -> None:
    result: Any = replay(asked(tmp_path), [policy(FakeGround())], quiet)
    # two months of 100 asked and 99 answered, and 10 and 8 beside each
    assert result["policies"][0]["cost"]["requests"] == {"asked": 220, "answered": 214, "lost": 6}


def test_the_result_is_written_and_reads_in_words(tmp_path: Path) -> None:
    ground = FakeGround(quality={"feb": 0.3, "mar": 0.9}, outcomes={"apr": "held back"})
    result: Any = replay(asked(tmp_path), [policy(ground)], quiet)
    assert json.loads((tmp_path / "out" / RESULT).read_text()) == result
    (told,) = result["policies"]
    assert "1 releases, 1 promoted" in headline(told)
    head, rows = month_rows(told)
    assert len(head) == len(rows[0])
    assert [row[:2] for row in rows] == [("mar", "fit-feb"), ("apr", "fit-mar")]
    assert "held back" in rows[1]


def _without_seconds(given: object) -> object:
    if isinstance(given, dict):
        return {key: _without_seconds(value) for key, value in given.items() if key != "seconds"}
    return [_without_seconds(each) for each in given] if isinstance(given, list) else given
