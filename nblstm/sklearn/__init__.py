"""Recurrent networks as estimators of scikit-learn, for sequences of any lengths, and forecasts of series."""

try:
    from sklearn.utils.validation import validate_data as _  # noqa: F401, of scikit-learn 1.6
except ImportError as error:
    raise ImportError(
        f"nblstm.sklearn needs scikit-learn 1.6 or newer ({error}); pip install -e '.[sklearn]' in nblstm's folder"
    ) from None

from nblstm.sklearn.backtest import Backtest
from nblstm.sklearn.classifier import RecurrentClassifier
from nblstm.sklearn.forecaster import RecurrentForecaster
from nblstm.sklearn.regressor import RecurrentRegressor
from nblstm.sklearn.scaler import SequenceScaler

__all__ = ["Backtest", "RecurrentClassifier", "RecurrentForecaster", "RecurrentRegressor", "SequenceScaler"]


def __dir__() -> list[str]:
    return __all__
