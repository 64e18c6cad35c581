"""A plan that tests a proxy for the loss: said loudly while it decides, and found out by the labels that come later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from typer.testing import CliRunner

from lockgate.adapters.rollout_log import read_stretch
from lockgate.bootstrap import Services
from lockgate.cli.app import app
from lockgate.cli.rollout_lines import rollout_lines
from lockgate.config import load_settings
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json, ModelName, as_float
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.online.means import Contrast, StepSums, Sums
from lockgate.core.rollout.course_rules import rollout_problems
from lockgate.core.rollout.look_record import requests_read
from lockgate.core.rollout.observations import LabelSeen, Observation
from lockgate.core.rollout.proxy import Truth, unknown_by_proxy
from lockgate.core.rollout.proxy_truth import TruthFound, TruthSays, count_again, truth_found
from lockgate.core.rollout.record import MOVES, RolloutRecord, read_rollout
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.core.rollout.steps import course_of
from lockgate.core.rollout.tally_counted import Counted
from lockgate.core.spec import (
    Metric,
    PlanSection,
    ProxySection,
    QualityGuardrail,
    ReleaseSpec,
    RolloutSection,
    RolloutStrategy,
    StepSection,
)
from lockgate.core.spec_sections.rollout_conditions import ProxyMetric
from lockgate.errors import ConfigError, MeasurementError
from lockgate.line.model_line import Line
from lockgate.line.proxy_truth import check_proxy, promoted_by, proxy_truth_told
from lockgate.line.rollout_words import headline, rollout_content, rollout_page, rollout_text
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import Kept
from lockgate.serving.log.labels import Label, LabelLog
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.stages.audit_rollout import audit_rollouts
from lockgate.stages.planned_proxy import with_proxy_words
from lockgate.stages.planned_spread import Logged, spread_of
from lockgate.stages.rollout_forecast import RolloutForecast
from tests.bundles import contract
from tests.unit.rollout.rollouts_on_record import SMALL, allowed, doctored, rows_of, run, spec_of, with_payload
from tests.unit.rollout.several_world import R3, R4, SPLIT, SharedProduction, of_three
from tests.unit.rollout.world import MODEL, R2, Production

WHY = "failed requests and loss moved together in all six releases of last year"
MONTH_S = 30 * 86_400.0
PROXY = ProxySection(metric=ProxyMetric.ERRORS, because=WHY, margin=0.1)
TRUTH = PlanSection(metric=Metric.LOSS, margin=0.05, looks=(0.5, 1.0))
BY_PROXY = replace(SMALL, plan=replace(TRUTH, proxy=PROXY))
YES = 0.1
LONG_AFTER = datetime(2100, 1, 1, tzinfo=UTC)


def spec_by_proxy() -> ReleaseSpec:
    spec = spec_of(BY_PROXY)
    return replace(spec, data=replace(spec.data, label_delay_s=MONTH_S))


@cache
def promoted() -> Production:
    """Return the production of a challenger that fails no request, so that the proxy promotes it."""
    return run(allowed(BY_PROXY))


def recorded(production: Production) -> RolloutRecord:
    found = production.record()
    assert found is not None
    return found


def observed(production: Production, wrong: float) -> list[Observation]:
    """Return what was logged, with another score of the challenger's."""
    logged = [each for seen in production.log.queue for each in seen.observations]
    return [replace(each, scores=(wrong,)) if each.arm == CHALLENGER and each.scores else each for each in logged]


def labelled(observations: list[Observation], share: float = 1.0) -> dict[str, tuple[LabelSeen, ...]]:
    """Return labels of a share of the requests, one in ten of them `yes`."""
    lots = np.random.default_rng(7).random((len(observations), 2))
    found: dict[str, tuple[LabelSeen, ...]] = {}
    for each, (comes, happens) in zip(observations, lots.tolist(), strict=True):
        if comes < share:
            label = "yes" if happens < YES else "no"
            told = LabelSeen(prediction_id=each.prediction_id, row=0, label=label, received=each.time + 60)
            found[each.prediction_id] = (told,)
    return found


def expected_loss(score: float) -> float:
    return YES * (1.0 - score) ** 2 + (1.0 - YES) * score**2


def truth_by(wrong: float, *, share: float = 1.0, now: float | None = None, kept: float = 1.0) -> TruthFound:
    production = promoted()
    found = observed(production, wrong)
    found = found[round(len(found) * (1.0 - kept)) :]
    course = recorded(production).course
    assert course.truth is not None
    counted = count_again(
        course,
        BY_PROXY,
        TaskKind.BINARY,
        ("no", "yes"),
        due_s=MONTH_S,
        now=LONG_AFTER.timestamp() if now is None else now,
        observations=found,
        labels=labelled(found, share),
    )
    row = production.rows(Event.ROLLOUT_LOOK)[-1]
    assert isinstance(row.payload["counted"], Mapping)
    requests = as_float(row.payload["counted"]["read_requests"])
    return truth_found(counted, course.truth, alpha=0.05, requests=round(requests))


# -- what is declared --------------------------------------------------------------------------------------------------


def test_the_plan_tests_the_proxy_at_its_own_margin_and_the_course_says_what_is_meant() -> None:
    course = course_of(BY_PROXY, sd=None)
    assert course.plan is not None
    assert course.truth is not None
    assert (course.metric, course.plan.margin) == (Metric.ERRORS, 0.1)
    assert (course.truth.metric, course.truth.margin, course.truth.because) == (Metric.LOSS, 0.05, WHY)


def test_without_a_declaration_the_plan_tests_the_loss_and_nobody_is_promoted_without_labels() -> None:
    plain = replace(SMALL, plan=replace(TRUTH, sd=0.2), max_duration_s=60.0)
    rows = rows_of(run(allowed(plain)))
    end = next(row for row in rows if row.event is Event.ROLLOUT_ENDED)
    assert end.payload["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (replace(BY_PROXY, plan=replace(BY_PROXY.plan, metric=None)), "rollout.plan.metric is not given; set that to"),
        (replace(BY_PROXY, plan=replace(BY_PROXY.plan, metric=Metric.KPI)), "rollout.plan.metric is kpi; set that to"),
        (replace(BY_PROXY, plan=replace(TRUTH, proxy=replace(PROXY, because=" "))), "because is empty; say why"),
        (
            replace(BY_PROXY, plan=replace(TRUTH, proxy=replace(PROXY, metric=ProxyMetric.DISAGREEMENT))),
            "rollout.plan.proxy.metric is disagreement, which shadow steps alone measure",
        ),
        (
            replace(BY_PROXY, plan=replace(TRUTH, proxy=replace(PROXY, metric=ProxyMetric.KPI))),
            "rollout.guardrails.kpi is empty; declare it there",
        ),
        (replace(BY_PROXY, plan=replace(TRUTH, proxy=replace(PROXY, margin=1.0))), "rollout.plan.proxy.margin is 1"),
        (replace(BY_PROXY, strategy=RolloutStrategy.BLUE_GREEN, steps=()), "compares nothing; leave it out"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused_with_what_to_do(section: RolloutSection, says: str) -> None:
    with pytest.raises(ConfigError, match="rollout") as refused:
        course_of(section, sd=0.2)
    assert says in refused.value.message
    assert list(rollout_problems(section, MONTH_S)) == [refused.value.message]


def test_a_proxy_is_refused_where_labels_come_in_time_unless_harm_in_them_is_watched() -> None:
    watched = replace(BY_PROXY, guardrails=replace(BY_PROXY.guardrails, quality=QualityGuardrail()))
    assert list(rollout_problems(BY_PROXY, MONTH_S)) == []
    assert "declare rollout.guardrails.quality" in next(rollout_problems(BY_PROXY, 60.0))
    assert list(rollout_problems(watched, 60.0)) == []
    assert "leave it out" in next(rollout_problems(watched, MONTH_S))


def test_the_proxys_spread_is_the_one_that_recent_traffic_is_asked_for() -> None:
    some = Observation(time=0.0, prediction_id="p", arm="champion", propensity=1.0)
    found = spread_of(BY_PROXY, Logged(live=(some,)), TaskKind.BINARY, ("no", "yes"), 0.0)
    assert found.sd is not None
    assert found.source == "recent failures and the margin"


# -- what is said while it decides -------------------------------------------------------------------------------------


def test_a_promotion_by_proxy_says_so_wherever_it_is_told_and_the_record_can_be_recomputed() -> None:
    production = promoted()
    rows, found = rows_of(production), recorded(production)
    assert found.rollout.verdict is RolloutVerdict.PROMOTE
    rests = f"it rests on the proxy errors, not on loss, accepted because: {WHY}"
    end = next(row for row in rows if row.event is Event.ROLLOUT_ENDED)
    assert rests in str(end.payload["reason"])
    assert "labels had come for 0 of " in str(end.payload["reason"])
    assert headline(found).startswith("promoted by the proxy errors, not by loss")
    for told in (rollout_page(found, {}), rollout_text(found), json.dumps(rollout_content(found))):
        assert f"The plan tests the proxy errors in place of loss, accepted because: {WHY}" in told
        assert "What labels say since then: lockgate rollout status --model toy" in told
    begun = next(row for row in rows if row.event is Event.ROLLOUT_BEGUN)
    assert any(rests in words for words, _ in rollout_lines(begun))
    assert rests in promoted_by(found)
    assert rests not in promoted_by(read_rollout(rows_of(run(allowed(SMALL))), R2))
    assert list(audit_rollouts(rows)) == []


def test_a_look_that_counts_more_labels_than_answers_is_found_by_the_auditor() -> None:
    rows = rows_of(promoted())
    look = next(row for row in reversed(rows) if row.event is Event.ROLLOUT_LOOK)
    forged = doctored(look.payload, ("counted", "labels", "champion_labelled"), lambda _: 10_000_000)
    told = [each.message for each in audit_rollouts(with_payload(rows, look.seq, forged))]
    assert any("more labels than answers" in each for each in told)


def test_a_course_whose_truth_was_changed_is_found_by_the_auditor() -> None:
    rows = rows_of(promoted())
    begun = next(row for row in rows if row.event is Event.ROLLOUT_BEGUN)
    forged = doctored(begun.payload, ("course", "truth", "because"), lambda _: "they are the same thing")
    told = [each.message for each in audit_rollouts(with_payload(rows, begun.seq, forged))]
    assert any("its course is not the one that the spec on record declares" in each for each in told)


def test_rows_of_before_there_were_proxies_are_read_as_they_were() -> None:
    rows = rows_of(run(allowed(SMALL)))

    def old(row: LedgerRow) -> dict[str, Json]:
        course = row.payload["course"]
        assert isinstance(course, Mapping)
        return {**row.payload, "course": {key: each for key, each in course.items() if key != "truth"}}

    begun = next(row for row in rows if row.event is Event.ROLLOUT_BEGUN)
    before = with_payload(rows, begun.seq, old(begun))
    found = read_rollout(before, R2)
    assert found is not None
    assert (found.course.truth, found.labels) == (None, None)
    assert list(audit_rollouts(before)) == []


def test_an_approver_and_who_plans_are_told_before_it_starts() -> None:
    assert WHY in unknown_by_proxy(BY_PROXY)[0]
    assert unknown_by_proxy(SMALL) == ()
    bare = RolloutForecast(strategy="canary", traffic=None, steps=(), harm=0.1, harm_power=0.8, alpha=0.05,
                           max_duration_s=200.0)  # fmt: skip
    by_proxy = replace(bare, metric=Metric.ERRORS, truth=course_of(BY_PROXY, sd=None).truth)
    assert WHY in with_proxy_words(by_proxy, MONTH_S).warnings[0]
    by_loss = replace(bare, metric=Metric.LOSS)
    assert "say in rollout.plan.proxy" in with_proxy_words(by_loss, MONTH_S).warnings[0]
    assert with_proxy_words(by_loss, 60.0).warnings == ()
    assert with_proxy_words(replace(bare, metric=Metric.ERRORS), MONTH_S).warnings == ()


# -- what labels say afterwards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(0.7, TruthSays.WORSE), (0.3, TruthSays.NOT_WORSE), (0.1, TruthSays.BETTER), (0.36, TruthSays.CANNOT_SAY)],
)
def test_labels_that_come_later_tell_whether_the_proxy_was_right(wrong: float, says: TruthSays) -> None:
    found = truth_by(wrong)
    assert found.says is says
    assert found.worse_by == pytest.approx(expected_loss(wrong) - expected_loss(0.3), abs=0.05)
    assert found.low < expected_loss(wrong) - expected_loss(0.3) < found.high
    assert (found.coverage, found.logged_fraction) == (1.0, 1.0)


def test_before_labels_are_due_or_with_too_few_of_them_nothing_is_concluded() -> None:
    ended = recorded(promoted()).ended_at
    assert ended is not None
    early = truth_by(0.7, now=ended.timestamp() + 3600.0)
    assert (early.says, early.coverage) == (TruthSays.CANNOT_SAY, None)
    assert "no label is due yet" in early.reason
    few = truth_by(0.7, share=0.5)
    assert few.says is TruthSays.CANNOT_SAY
    assert "rollout.plan.proxy.coverage" in few.reason


def test_a_log_that_no_longer_holds_the_rollout_concludes_nothing() -> None:
    gone = truth_by(0.7, kept=0.9)
    assert gone.says is TruthSays.CANNOT_SAY
    assert "keep the archive longer than labels take" in gone.reason


def test_a_rollout_without_a_look_on_record_concludes_nothing() -> None:
    course = recorded(promoted()).course
    assert course.truth is not None
    nothing = Counted(
        evidence=(), contrast=None, paired=None, bandit=None, challenger_requests=0, champion_requests=0,
        challenger_entities=0, champion_entities=0, coverage=1.0, shown={}, read_requests=50,
    )  # fmt: skip
    found = truth_found(nothing, course.truth, alpha=0.05, requests=0)
    assert (found.says, found.reason) == (TruthSays.CANNOT_SAY, "no look of the rollout had counted a request")


def write(state: Path, observations: list[Observation]) -> None:
    log = PredictionLog(state / "predictions", worker=0)
    for each in observations:
        outputs: dict[str, Any] = {"probability": np.array(each.scores, np.float32), "label": list(each.labels)}
        log.append(
            Record(
                time=each.time,
                prediction_id=each.prediction_id,
                model=MODEL,
                digest="d" * 64,
                arm=each.arm,
                entity=each.entity,
                rows=1,
                inputs={"amount": [1.5], "colour": ["red"]},
                outputs=outputs,
                flags=(),
                latency_us=each.latency_us,
                propensity=each.propensity,
                contract=contract("toy"),
            )
        )
    log.close()


def tell(state: Path, observations: list[Observation], label: str) -> None:
    async def main() -> None:
        log = LabelLog(state / "labels")
        await log.add([Label(each.prediction_id, label, 0) for each in observations])
        await log.aclose()

    asyncio.run(main())


def line_of(home: Path, production: Production | SharedProduction) -> Line:
    settings = SimpleNamespace(serving=lambda environment: home / "serving" / environment)
    services = SimpleNamespace(settings=settings, clock=SimpleNamespace(now=lambda: LONG_AFTER))
    line = SimpleNamespace(services=services, spec=spec_by_proxy(), model=MODEL, ledger=production.ledger)
    return cast("Line", line)


def test_a_challenger_that_the_proxy_promoted_is_found_out_by_its_own_archived_and_logged_requests(
    tmp_path: Path,
) -> None:
    production, state = promoted(), tmp_path / "serving" / "production"
    record, logged = recorded(production), observed(production, 0.7)
    early, late = logged[: len(logged) // 2], logged[len(logged) // 2 :]
    write(state, early)
    tell(state, early, "yes")  # corrected below: the newest label of a row holds
    Archive(state, Kept(days=0, max_bytes=0)).run()
    write(state, late)
    line = line_of(tmp_path, production)
    (waits, _), *_ = proxy_truth_told(line, record)[0]
    assert "cannot say yet" in waits
    tell(state, logged, "no")
    lines, content = proxy_truth_told(line, record)
    told = "\n".join(words for words, _ in lines)
    assert "the proxy errors: promoted it; the truth (loss): worse, by labels of" in told
    assert "lockgate rollback toy" in told
    assert isinstance(content, dict)
    assert (content["says"], content["proxy"], content["proxy_said"]) == ("worse", "errors", "promote")
    assert as_float(content["worse_by"]) == pytest.approx(0.4, abs=1e-6)  # .7 squared less .3 squared
    ended = record.ended_at
    assert ended is not None
    now, began = LONG_AFTER.timestamp(), record.rollout.began
    stretch = read_stretch(state, MODEL, since=began, until=ended.timestamp(), now=now)
    assert len({each.prediction_id for each in stretch.observations}) == len(stretch.observations)
    with pytest.raises(MeasurementError, match="more than 100 requests"):
        read_stretch(state, MODEL, since=began, until=ended.timestamp(), now=now, at_most=100)


def test_a_log_that_cannot_be_read_is_said_and_is_no_verdict(tmp_path: Path) -> None:
    state = tmp_path / "serving" / "production" / "predictions"
    state.mkdir(parents=True)
    (state / MODEL).symlink_to(MODEL)
    lines, content = proxy_truth_told(line_of(tmp_path, promoted()), recorded(promoted()))
    assert "cannot be read now" in lines[0][0]
    assert isinstance(content, dict)
    assert content["says"] == "cannot_say"


def test_a_rollout_that_went_by_what_is_meant_has_no_truth_to_check(tmp_path: Path) -> None:
    production = run(allowed(SMALL))
    assert proxy_truth_told(line_of(tmp_path, production), recorded(production)) == ([], None)


def test_status_says_of_an_ended_rollout_what_the_truth_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    model, ledger = ModelName("flight-delays"), Services(load_settings()).ledger
    for row in rows_of(promoted()):
        if row.event in MOVES:
            ledger.append(model, row.event, row.payload, release=R2)
    result = CliRunner().invoke(app, ["rollout", "status", model, "--json"])
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert content["truth"]["says"] == "cannot_say"  # there is no log here at all
    assert "keep the archive longer" in content["truth"]["reason"]
    words = CliRunner().invoke(app, ["rollout", "status", model]).stdout
    assert "PROXY The plan tests the proxy errors in place of loss" in words
    assert "the proxy errors: promoted it; the truth (loss): cannot say yet" in " ".join(words.split())


def test_a_shadow_that_went_by_disagreement_is_compared_request_by_request() -> None:
    plan = replace(TRUTH, proxy=replace(PROXY, metric=ProxyMetric.DISAGREEMENT))
    shadow = replace(SMALL, strategy=RolloutStrategy.SHADOW, steps=(StepSection(shadow=1.0, bake_s=10.0),), plan=plan)
    production = run(allowed(shadow))
    record = recorded(production)
    truth = record.course.truth
    assert (record.rollout.verdict, record.course.metric) == (RolloutVerdict.PROMOTE, Metric.DISAGREEMENT)
    assert truth is not None
    logged = observed(production, 0.7)
    counted = count_again(record.course, shadow, TaskKind.BINARY, ("no", "yes"), due_s=MONTH_S,
                          now=LONG_AFTER.timestamp(), observations=logged, labels=labelled(logged))  # fmt: skip
    found = truth_found(counted, truth, alpha=0.05, requests=requests_read(rows_of(production)))
    assert counted.paired is not None
    assert found.says is TruthSays.WORSE
    assert found.challenger_labelled == counted.paired.n > 100


def test_of_several_challengers_each_is_compared_with_the_champion_alone(tmp_path: Path) -> None:
    production = of_three(section=replace(SPLIT, plan=replace(TRUTH, margin=0.1, proxy=PROXY)))
    production.carry()
    logged = [each for seen in production.log.queue for each in seen.observations]
    second = production.record(R3)
    state = tmp_path / "serving" / "production"
    write(state, [replace(each, scores=(0.7,)) if each.arm == second.course.arm else each for each in logged])
    tell(state, logged, "no")
    said = {}
    for release in (R2, R3, R4):
        found = check_proxy(line_of(tmp_path, production), production.record(release))
        assert found is not None
        assert found.logged_fraction > 0.98
        said[release] = found.says
    assert said == {R2: TruthSays.NOT_WORSE, R3: TruthSays.WORSE, R4: TruthSays.NOT_WORSE}


def asked_again_and_again(rng: np.random.Generator, worse_by: float) -> list[TruthSays]:
    """Return what is said twenty times, as the labels of 4,000 entities of either arm come."""
    losses = [rng.beta(1.0, 6.0, 4_000) + shift for shift in (0.0, worse_by)]
    truth = Truth(metric=Metric.LOSS, margin=0.02, because="so", coverage=0.8)
    said = []
    for n in range(200, 4_001, 200):
        champion, challenger = (Sums(n=n, total=float(x[:n].sum()), squares=float((x[:n] ** 2).sum())) for x in losses)
        counted = Counted(
            evidence=(), contrast=Contrast(steps=(StepSums(challenger=challenger, champion=champion),)), paired=None,
            bandit=None, challenger_requests=n, champion_requests=n, challenger_entities=n, champion_entities=n,
            coverage=1.0, shown={}, read_requests=n,
        )  # fmt: skip
        said.append(truth_found(counted, truth, alpha=0.05, requests=n).says)
    return said


@pytest.mark.parametrize("runs", [150, pytest.param(2_000, marks=pytest.mark.soak)])
def test_who_asks_whenever_labels_come_is_rarely_told_wrong(runs: int) -> None:
    rng = np.random.default_rng(11)
    equal = [asked_again_and_again(rng, 0.0) for _ in range(runs)]
    bad = [asked_again_and_again(rng, 0.03) for _ in range(runs)]
    wrongly = sum(TruthSays.WORSE in each or TruthSays.BETTER in each for each in equal) / runs
    passed = sum(TruthSays.NOT_WORSE in each or TruthSays.BETTER in each for each in bad) / runs
    edge = [asked_again_and_again(rng, 0.02) for _ in range(runs)]
    assert wrongly <= 0.05
    assert passed <= 0.025
    assert sum(TruthSays.NOT_WORSE in each or TruthSays.BETTER in each for each in edge) / runs <= 0.025
    assert sum(each[-1] is TruthSays.WORSE for each in bad) / runs > 0.95
    assert sum(each[-1] is TruthSays.NOT_WORSE for each in equal) / runs > 0.9
