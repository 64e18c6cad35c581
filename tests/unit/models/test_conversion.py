"""What is refused before it is fitted, with the reason and the alternative."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from xgboost import XGBClassifier

from lockgate.core.contract import TaskKind
from lockgate.errors import ConfigError
from lockgate.models.conversion import refuse_unfaithful
from tests.estimators import CLASSIFIERS, ONE_HOT, ORDINAL, REGRESSORS, imputed, over, scaled

LOGISTIC = LogisticRegression()
BOOSTED = GradientBoostingClassifier()

REFUSED: dict[str, tuple[Any, str]] = {
    "scaler before boosting": (
        over(BOOSTED, scaled(), ORDINAL),
        "before GradientBoostingClassifier.*take the scaler out",
    ),
    "scaler before XGBoost": (over(XGBClassifier(), scaled(), ORDINAL), "StandardScaler before XGBClassifier"),
    "scaler before a forest": (over(RandomForestClassifier(), scaled(), ONE_HOT), "before RandomForestClassifier"),
    "scaler as a later step": (
        Pipeline([("c", ColumnTransformer([("n", imputed(), ["x0"])])), ("s", StandardScaler()), ("m", BOOSTED)]),
        "before GradientBoostingClassifier",
    ),
    "XGBoost itself": (over(XGBClassifier(), imputed(), ORDINAL), "XGBClassifier.*use family: xgboost"),
    "histogram boosting": (over(HistGradientBoostingClassifier(), imputed(), ORDINAL), "use family: xgboost"),
    "indicators": (over(LOGISTIC, SimpleImputer(add_indicator=True), ONE_HOT), "drops the indicators"),
    "constant imputer": (over(LOGISTIC, SimpleImputer(strategy="constant"), ONE_HOT), "use 'median' or 'mean'"),
    "infrequent": (over(LOGISTIC, scaled(), OneHotEncoder(handle_unknown="infrequent_if_exist")), "use 'ignore'"),
    "unknown raises": (over(LOGISTIC, scaled(), OneHotEncoder()), "stops at a string never seen"),
    "dropped column": (over(LOGISTIC, scaled(), OneHotEncoder(handle_unknown="ignore", drop="first")), "drop"),
    "ordinal raises": (over(LOGISTIC, scaled(), OrdinalEncoder()), "unknown_value=-1"),
    "ordinal NaN": (
        over(LOGISTIC, scaled(), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"))),
        "use -1",
    ),
    "forest with missing": (over(RandomForestClassifier(), "passthrough", ORDINAL), "put SimpleImputer"),
    "robust scaler": (over(LOGISTIC, RobustScaler(), ONE_HOT), "use StandardScaler before a linear"),
    "power": (over(LOGISTIC, PowerTransformer(), ONE_HOT), "73 % of rows"),
    "quantile": (over(LOGISTIC, QuantileTransformer(), ONE_HOT), "KBinsDiscretizer"),
    "one-hot bins": (over(LOGISTIC, KBinsDiscretizer(), ONE_HOT), "encode='ordinal'"),
    "not measured": (over(LOGISTIC, MinMaxScaler(), ONE_HOT), "MinMaxScaler is not on the proved list"),
    "half a scaler": (over(LOGISTIC, StandardScaler(with_mean=False), ONE_HOT), "use its defaults"),
    "a function": (over(LOGISTIC, FunctionTransformer(), ONE_HOT), "prepare columns in data.prepare"),
    "votes": (over(VotingClassifier([("l", LOGISTIC)]), imputed(), ONE_HOT), "use StackingClassifier"),
    "isotonic": (over(CalibratedClassifierCV(BOOSTED, method="isotonic"), imputed(), ORDINAL), "use method='sigmoid'"),
    "a search": (over(GridSearchCV(LOGISTIC, {}), scaled(), ONE_HOT), "use training.search"),
    "columns inside stacking": (
        StackingClassifier([("b", over(BOOSTED, imputed(), ORDINAL))]),
        "put the ColumnTransformer in front of it",
    ),
    "bare model": (LogisticRegression(), "first step is a ColumnTransformer"),
    "no probabilities": (over(Ridge(), scaled(), ONE_HOT), "needs predict_proba"),
    "remainder": (
        Pipeline([("c", ColumnTransformer([("n", scaled(), ["x0"])], remainder="passthrough")), ("m", LOGISTIC)]),
        "name every column",
    ),
    "columns by place": (
        Pipeline([("c", ColumnTransformer([("n", scaled(), slice(0, 2))])), ("m", LOGISTIC)]),
        "a list of column names",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_convert_faithfully_is_refused_with_the_alternative(name: str) -> None:
    estimator, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        refuse_unfaithful(estimator, TaskKind.BINARY)


def test_a_class_of_the_user_is_refused() -> None:
    class LogisticRegression:  # of the proved name, but not scikit-learn's
        def predict_proba(self) -> None: ...

    with pytest.raises(ConfigError, match="not on the proved list"):
        refuse_unfaithful(over(LogisticRegression(), scaled(), ONE_HOT), TaskKind.BINARY)


def test_target_encoding_of_several_classes_is_refused() -> None:
    estimator = over(LOGISTIC, scaled(), TargetEncoder())
    refuse_unfaithful(estimator, TaskKind.BINARY)
    with pytest.raises(ConfigError, match="TargetEncoder of several classes"):
        refuse_unfaithful(estimator, TaskKind.MULTICLASS)


def test_the_refusal_names_the_part() -> None:
    with pytest.raises(ConfigError, match=r"Pipeline\.columns\.n\.robustscaler is refused") as caught:
        refuse_unfaithful(over(LOGISTIC, make_pipeline(imputed(), RobustScaler()), ONE_HOT), TaskKind.BINARY)
    assert caught.value.data["part"] == "Pipeline.columns.n.robustscaler"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_proved_classifier_is_taken(name: str) -> None:
    refuse_unfaithful(CLASSIFIERS[name](7), TaskKind.BINARY)


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_proved_regressor_is_taken(name: str) -> None:
    refuse_unfaithful(REGRESSORS[name](7), TaskKind.REGRESSION)
