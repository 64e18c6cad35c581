"""Deciding while it serves: tests that may be looked at any time, and the plan by which a rollout promotes.

Every input is a small frozen dataclass of *sufficient statistics* (counts and sums, no row and no key), written by
`core.ids.to_json` and read by `core.records.read_record`: whoever holds the ledger recomputes the verdict to the last
digit.

    failures                       harm: first failures of entities, e-process with each step's own share
    means                          harm and promotion: difference of two means by step, asymptotic confidence sequence
    rates                          the difference of two rates for the plan, by the score test
    betting                        the same for values in [0, 1], exact at any number
    latency_blocks                 harm: latency quantiles by blocks of time
    quantiles                      interval of a quantile at any look
    populations, population_finding
                                   harm: the same tests in each sub-population of a column
    day_effects                    are the days of a rollout alike? Keeps from promoting
    ratio_mismatch                 is the split what was asked? Without that no verdict is worth anything
    boundaries, plan, plan_look    promotion: group-sequential non-inferiority
    alpha, findings, guardrails    one declared error over all guardrails; statistics to findings to one decision
    detection, planner             before the start: what this traffic can show, and how soon
    bandit, thompson               weights that follow rewards
    off_policy, regret             what each arm is worth, and what a bandit saves
"""
