"""Recurrent networks as estimators of scikit-learn, for sequences of any lengths."""

from nblstm.sklearn.backtest import Backtest
from nblstm.sklearn.classifier import RecurrentClassifier
from nblstm.sklearn.forecaster import RecurrentForecaster
from nblstm.sklearn.regressor import RecurrentRegressor

__all__ = ["Backtest", "RecurrentClassifier", "RecurrentForecaster", "RecurrentRegressor"]


def __dir__() -> list[str]:
    return __all__
