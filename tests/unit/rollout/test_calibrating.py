"""The whole rule on replayed traffic: equal models pass, planted failures are found, and equal seeds agree."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation
from lockgate.core.rollout.steps import course_of, rate_sd
from lockgate.core.spec_sections.rollout import (
    GuardrailsSection,
    Metric,
    PlanSection,
    QualityGuardrail,
    RolloutSection,
    RolloutStrategy,
    StepSection,
)
from lockgate.stages.calibrating import Calibration, calibrate
from lockgate.stages.replayed_traffic import Replay, Stretch

BEGIN = 1_700_000_000.0
CLASSES = ("no", "yes")
SMALL = RolloutSection(
    strategy=RolloutStrategy.CANARY,
    steps=(StepSection(set_weight=0.2, bake_s=60.0), StepSection(set_weight=0.5, bake_s=120.0)),
    plan=PlanSection(margin=0.05),
    guardrails=GuardrailsSection(latency=None),
    max_duration_s=600.0,
)


def stretch(requests: int = 3000, per_s: float = 10.0, *, failing: float = 0.01, entities: int = 100_000) -> Stretch:
    rng = random.Random(5)  # noqa: S311 - traffic, no secret
    live = [
        Observation(
            time=BEGIN + number / per_s,
            prediction_id=f"p-{number}",
            arm="champion",
            propensity=1.0,
            entity=f"e{rng.randrange(entities)}",
            failed=rng.random() < failing,
            latency_us=int(rng.lognormvariate(8.0, 0.5)),
            scores=(rng.random(),),
            labels=("yes",),
        )
        for number in range(requests)
    ]
    return Stretch.of(live, (), ())


def replayed(
    section: RolloutSection = SMALL, of: Stretch | None = None, *, runs: int = 8, harm: float = 0.0, seed: int = 1
) -> Calibration:
    course = course_of(section, sd=rate_sd(0.01, section.plan.margin))
    return calibrate(course, section, TaskKind.BINARY, CLASSES, of or stretch(), runs=runs, harm=harm, seed=seed)


def test_equal_models_are_promoted_and_not_rolled_back() -> None:
    found = replayed()
    back, promoted, undecided = found.verdicts
    assert back.runs + promoted.runs + undecided.runs == 8
    assert back.runs <= 1  # at most 5 % are; two of eight would be one chance in twenty even at the bound
    assert promoted.runs >= 6
    assert promoted.median_s is not None
    assert promoted.median_s >= 180.0  # never before the steps are done
    assert found.keeps_its_word
    assert "declared 0.05" in found.sentence


def test_planted_failures_are_rolled_back_by_the_guardrail_of_errors() -> None:
    found = replayed(harm=0.3)
    assert [each.runs for each in found.verdicts] == [8, 0, 0]
    assert found.stopped_by == {"errors": 8}
    assert found.verdicts[0].median_s is not None
    assert found.verdicts[0].median_s <= 120.0


def test_intervals_are_exact() -> None:
    back = replayed(harm=0.3).verdicts[0]
    assert (round(back.low, 4), back.high) == (0.6306, 1.0)  # 0.025 ** (1 / 8)


def test_equal_seeds_give_equal_figures_and_others_do_not() -> None:
    few = stretch(requests=600, per_s=3.0)
    ends = [replayed(of=few, harm=0.1, seed=seed, runs=6) for seed in (1, 1, 2)]
    assert ends[0] == ends[1]
    assert ends[0] != ends[2]


def test_traffic_too_thin_for_the_plan_ends_inconclusive() -> None:
    found = replayed(of=stretch(requests=200, per_s=0.5), runs=3)
    assert found.verdicts[1].runs == 0
    assert found.verdicts[2].runs == 3
    assert found.stopped_by
    assert any("somebody new" in each for each in found.notes)


@pytest.mark.parametrize("strategy", [RolloutStrategy.SHADOW, RolloutStrategy.BANDIT])
def test_every_strategy_with_steps_can_be_calibrated(strategy: RolloutStrategy) -> None:
    section = replace(SMALL, strategy=strategy, steps=(), max_duration_s=None, plan=PlanSection(margin=0.05))
    section = replace(section, bandit=replace(section.bandit, periods=3, period_s=60.0))
    assert replayed(section, runs=2).verdicts[1].runs == 2
    assert replayed(section, runs=2, harm=0.4).verdicts[0].runs == 2


def test_a_pause_does_not_keep_a_replay_waiting() -> None:
    steps = (SMALL.steps[0], StepSection(pause="look at the slices"), SMALL.steps[1])
    assert replayed(replace(SMALL, steps=steps, max_duration_s=600.0), runs=2).verdicts[1].runs == 2


def test_a_quality_guardrail_without_labels_is_told() -> None:
    section = replace(SMALL, guardrails=GuardrailsSection(latency=None, quality=QualityGuardrail()))
    found = replayed(section, runs=1)
    assert found.verdicts[2].runs == 1
    assert any("no label" in each for each in found.notes)


def test_labels_come_as_late_as_they_did_and_belong_to_the_replayed_answers() -> None:
    plain = stretch(requests=50)
    labels = [
        LabelSeen(prediction_id=each.prediction_id, row=0, label="yes", received=each.time + 7.0) for each in plain.live
    ]
    kpis = [KpiSeen(name="basket", time=plain.live[20].time, entity=plain.live[20].entity or "", value=1.0)]
    replay = Replay(Stretch.of(plain.live, labels, kpis), np.random.default_rng(1))
    first = replay.until(6.0, share=0.5, shadow=0.0)
    second = replay.until(14.0, share=0.5, shadow=0.0)
    assert first.labels == ()
    at = {each.prediction_id: each.time for each in (*first.observations, *second.observations)}
    assert second.labels
    assert all(each.received - at[each.prediction_id] == pytest.approx(7.0) for each in second.labels)
    told = [each for seen in (first, second) for each in seen.kpis]
    assert {each.entity for each in told} <= {each.entity for seen in (first, second) for each in seen.observations}
    assert told


def test_entities_keep_their_arm_as_the_share_grows_and_come_round_as_somebody_else() -> None:
    replay = Replay(stretch(requests=300, entities=40), np.random.default_rng(2))
    arms: dict[str, list[str]] = {}
    for now_s, share in ((15.0, 0.2), (29.0, 0.5)):
        for each in replay.until(now_s, share=share, shadow=0.0).observations:
            arms.setdefault(each.entity or "", []).append(each.arm)
            assert each.propensity == (share if each.arm == "challenger" else 1.0 - share)
    assert all("champion" not in told[told.index("challenger") :] for told in arms.values() if "challenger" in told)
    later = {each.entity for each in replay.until(90.0, share=0.5, shadow=0.0).observations}
    assert any(name and name.endswith("~2") for name in later)


def test_a_loss_plan_is_replayed_with_its_labels() -> None:
    plain = stretch(failing=0.0)
    labels = [
        LabelSeen(prediction_id=each.prediction_id, row=0, label="yes", received=each.time + 5.0) for each in plain.live
    ]
    section = replace(SMALL, plan=PlanSection(metric=Metric.LOSS, margin=0.08, sd=0.3))
    found = replayed(section, Stretch.of(plain.live, labels, ()), runs=2)
    assert found.verdicts[1].runs == 2


@pytest.mark.soak
def test_false_rollbacks_stay_within_the_declared_error_over_many_runs() -> None:
    found = replayed(runs=1000)
    assert found.verdicts[0].high < 0.07
    assert found.verdicts[1].fraction > 0.88
