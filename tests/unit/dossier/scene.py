"""Measurements as the stages write them, of a release that measured everything: what each section is shown from."""

from __future__ import annotations

from lockgate.core.ids import Json


def estimate(value: float, half: float = 0.03) -> dict[str, Json]:
    return {"estimate": value, "low": value - half, "high": value + half, "se": half / 2}


def _past(months: int) -> Json:
    worse = 0.02 * months
    return {
        "bundle": "a" * 64,
        "release": f"toy-000{months}",
        "age_days": 31.0 * months,
        "n": 18000,
        "blocks": 21,
        "metrics": {"log_loss": estimate(0.478 + worse), "auc": estimate(0.716 - worse)},
        "gain": {"log_loss": estimate(worse, 0.01), "auc": estimate(worse, 0.01)},
    }


def _feature(name: str, share: float, theirs: float, *, idle: bool = False) -> Json:
    return {
        "feature": name,
        "share": share,
        "mean_absolute": estimate(share, share / 10),
        "champion_share": theirs,
        "change": share - theirs,
        "worth": estimate(0.0 if idle else share / 5, 0.004),
        "earns_nothing": idle,
        "null_fraction": 0.02,
        "distinct": 310,
    }


SECTIONS: dict[str, Json] = {
    "tests": {
        "champion": "c" * 64,
        "word": "McNemar and DeLong take every row as independent; the comparison by block decides.",
        "n": 18793,
        "blocks": 21,
        "mcnemar": {
            "challenger_only_right": 1410,
            "champion_only_right": 2133,
            "p_value": 1e-30,
            "accuracy_gain": -0.0384,
        },
        "delong": {
            "challenger": 0.7157,
            "champion": 0.6705,
            "gain": 0.0451,
            "se": 0.004,
            "low": 0.037,
            "high": 0.053,
            "p_value": 1e-20,
            "block_se": 0.0155,
            "design_effect": 15.0,
        },
    },
    "staleness": {
        "metrics": {
            "log_loss": {"unit": "nat", "higher_is_better": False},
            "auc": {"unit": "1", "higher_is_better": True},
        },
        "present": {
            "age_days": 0.0,
            "n": 18793,
            "blocks": 21,
            "metrics": {"log_loss": estimate(0.478), "auc": estimate(0.716)},
        },
        "points": [_past(1), _past(2), _past(3)],
        "failures": [{"bundle": "f" * 64, "release": "toy-0000", "reason": "its bundle is gone"}],
        "left_out": 2,
    },
    "folds": {
        "asked": 2,
        "reason": None,
        "random": True,
        "left_out": 1,
        "loss": "log_loss",
        "folds": [
            {
                "fold": fold,
                "n_train": 40000,
                "n_chosen_on": 5000,
                "n": 10000,
                "blocks": 12,
                "loss": 0.49,
                "constant_loss": 0.56,
                "saved": 0.125,
                "best_round": 88,
                "converged": True,
                "seconds": 3.2,
            }
            for fold in (0, 1)
        ],
        "mean": 0.125,
        "sd": 0.01,
        "lowest": 0.12,
        "highest": 0.13,
        "corrected": {"mean": 0.125, "low": 0.1, "high": 0.15, "p_value": 0.001},
    },
    "slice_search": {
        "searched": True,
        "basis": "champion",
        "unit": "nat",
        "overall_loss": 0.5,
        "least_excess": 0.005,
        "fdr": 0.05,
        "n": {"search": 9400, "confirm": 9393},
        "blocks": {"search": 11, "confirm": 10},
        "columns": 24,
        "paired": 24,
        "candidates": 5120,
        "too_small": 310,
        "not_confirmable": 2,
        "findings": [
            {
                "slice": "dest=ATL & carrier=FL",
                "columns": ["dest", "carrier"],
                "n": 412,
                "blocks": 10,
                "excess": {**estimate(0.09), "unit": "nat"},
                "beyond_parents": estimate(0.05),
                "beside": None,
                "searched": {"n": 420, "excess": 0.12},
                "q_value": 0.01,
                "confirmed": True,
            },
            {
                "slice": "wind_gust in (30, 50]",
                "columns": ["wind_gust"],
                "n": 220,
                "blocks": 10,
                "excess": {**estimate(-0.01), "unit": "nat"},
                "beyond_parents": None,
                "beside": estimate(0.0),
                "searched": {"n": 230, "excess": 0.06},
                "q_value": 0.6,
                "confirmed": False,
            },
        ],
    },
    "errors": {
        "n": 18793,
        "blocks": 21,
        "loss": 0.478,
        "reference": "expected",
        "withheld": [],
        "features": [{"feature": "dest", "concentration": 0.1}],
        "bins": [
            {
                "feature": "dest",
                "bin": "ATL",
                "n": 900,
                "rows_fraction": 0.05,
                "loss_fraction": 0.08,
                "lift": 1.6,
                "loss": 0.7,
                "excess": estimate(0.1),
                "q_value": 0.001,
            }
        ],
        "bins_tested": 210,
        "worst": {
            "n": 188,
            "rows_fraction": 0.01,
            "loss_fraction": 0.06,
            "shared": [
                {"feature": "carrier", "bin": "EV", "worst_fraction": 0.3, "overall_fraction": 0.15, "lift": 2.0}
            ],
        },
        "confusion": {
            "classes": ["on_time", "late"],
            "counts": [[10273, 4327], [1621, 2572]],
            "by_class": [{"class": "late", "n": 4193, "decided": 6899, "recall": 0.61, "precision": 0.37}],
            "most": {"actual": "on_time", "decided": "late", "n": 4327, "errors_fraction": 0.73},
        },
        "calibration": [],
        "time": {
            "blocks": [{"block": day, "n": 900, "residual": 0.01 * (day % 3) - 0.01, "loss": 0.5} for day in range(21)],
            "trend": estimate(0.0004, 0.001),
            "autocorrelation": 0.1,
        },
    },
    "contributions": {
        "method": "shapley_trees",
        "unit": "log odds",
        "sample": {"rows": 5000, "of": 18793, "seed": 7},
        "n": 5000,
        "blocks": 21,
        "confidence": 0.95,
        "champion": True,
        "features": [
            _feature("sched_dep_min", 0.31, 0.25),
            _feature("humid", 0.12, 0.2),
            _feature("carrier", 0.11, 0.1),
            _feature("plane_seats", 0.004, 0.003, idle=True),
        ],
        "shift": 0.08,
        "earn_nothing": {"features": ["plane_seats"], "together": estimate(0.001, 0.002)},
        "slices": [
            {
                "slice": "origin=JFK",
                "n": 1600,
                "features": [{"feature": "humid", "share": 0.2, "times_overall": 1.7}],
            }
        ],
    },
}

MEASURED: dict[str, dict[str, Json]] = {
    "drift": {
        "champion": "c" * 64,
        "rows": 28834,
        "features": {
            name: {
                "psi": index,
                "total_variation": 0.1,
                "n": 28834,
                "missing": 0.02,
                "shift_sd": 0.3,
                "noise_floor": 0.002,
                "cramers_v": 0.12,
                "p_value": 0.0,
                "q_value": 0.0,
            }
            for name, index in (("wind_speed", 6.4), ("temp", 2.5), ("carrier", 0.003))
        },
        "not_compared": [],
        "domain": {
            "n": 10000,
            "reference_n": 10000,
            "blocks": 31,
            "reference_blocks": 59,
            "auc": estimate(0.83),
            "by": [{"feature": "temp", "drop": 0.21}],
            "seed": 7,
        },
    },
    "stress": {
        "plan": {"duration_s": 20.0, "target_rps": 50.0, "windows": 14},
        "challenger": {
            "asked": 310,
            "error_fraction": 0.0,
            "errors": {},
            "steady": {"asked": 144, "p50_ms": 1.6, "p95_ms": 11.8, "p99_ms": 26.7, "max_ms": 45.8},
        },
        "champion": {
            "asked": 314,
            "error_fraction": 0.0,
            "errors": {},
            "steady": {"asked": 144, "p50_ms": 1.6, "p95_ms": 9.2, "p99_ms": 43.3, "max_ms": 50.3},
        },
        "generator": {"asked": 72, "p50_ms": 0.6, "p95_ms": 6.8},
        "knee": {
            "rps": 75.0,
            "first_beyond_rps": 100.0,
            "limited_by": "server",
        },
        "curve": {
            arm: [{"offered_rps": rate, "p95_ms": ms} for rate, ms in ((12.5, 1.5), (75, 4), (100, 180))]
            for arm in ("challenger", "champion")
        },
        "ratio": {"p95": {"estimate": 1.28, "low": 0.9, "high": 1.8}},
        "self_ratio": {"arm": "champion", "p95": {"estimate": 1.02, "low": 0.7, "high": 1.5}},
        "memory": {"challenger": estimate(12.0, 40.0)},
    },
    "staging": {
        "replay": {
            "requests": 200,
            "unanswered": 3,
            "asked": 180,
            "agreement_fraction": 0.87,
            "slices": [{"slice": "carrier=B6", "agreement_fraction": 0.7, "n": 40}],
        }
    },
    "robustness": {
        "task": "binary",
        "n": 5000,
        "blocks": 21,
        "confidence": 0.95,
        "moved_by": 0.05,
        "sample": {"rows": 5000, "of": 18793, "seed": 7},
        "perturbations": [
            {
                "kind": kind,
                "column": column,
                "expected": None,
                "n": 5000,
                "invalid": invalid,
                "loss_ratio": estimate(ratio),
                "beyond_champion": None,
                "change": {"p99": 0.2, "largest": 0.4, "moved": estimate(0.1)},
                "flips": estimate(0.06),
            }
            for kind, column, ratio, invalid in (("null", None, 1.1, 0), ("noise", "humid", 0.9, 2))
        ],
        "extremes": {"n": 100, "invalid": 0, "worst": None, "asked": 10, "largest_change": 0.4},
        "expectations": [
            {
                "kind": "invariant",
                "column": "tail",
                "asked": None,
                "n": 5000,
                "violations": estimate(0.001, 0.001),
                "largest": 0.02,
                "tolerance": 0.01,
                "rows_fraction": 0.01,
            }
        ],
    },
    "fairness": {
        "declared": ["carrier"],
        "n": 18793,
        "blocks": 21,
        "columns": [
            {
                "column": "carrier",
                "groups": [
                    {"group": f"carrier={name}", "n": 900, "excess": {**estimate(value), "unit": "nat"}}
                    for name, value in (("UA", 0.05), ("B6", -0.01))
                ],
                "unlisted": {"groups": 3, "rows": 40, "largest": 20},
                "gaps": {
                    "selection_rate": {
                        "judged": ["carrier=UA", "carrier=B6"],
                        "overall": 0.3,
                        "n": 1800,
                        "unit": "fraction",
                        "lowest": "carrier=UA",
                        "highest": "carrier=B6",
                        "detectable": 0.05,
                        "difference": estimate(0.08),
                        "ratio": {"estimate": 0.75, "low": 0.6, "high": 0.9},
                        "to_overall": None,
                    }
                },
            }
        ],
        "intersections": [],
    },
    "reproducibility": {
        "reloaded": {"rows": 6082, "differing": 0, "largest": 0.0, "digests": ["a", "a"]},
        "refit": {"rows": 6082, "differing": 12, "largest": 1e-7, "digests": ["a", "b"], "same_graph": False},
        "cause": "threads",
        "search": None,
        "seconds": 21.0,
    },
    "skew": {
        "champion": "c" * 64,
        "requests": 200,
        "rows": 200,
        "features": {"joined": 180, "exact_rows": 170, "match_fraction": 0.997, "by_feature": {"humid": 0.94}},
        "answers": {"compared": 180, "exact_fraction": 1.0, "largest_difference": 0.0},
    },
}
