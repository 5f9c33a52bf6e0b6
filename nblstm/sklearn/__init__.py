"""Recurrent networks as estimators of scikit-learn, for sequences of any lengths."""

from nblstm.sklearn.classifier import RecurrentClassifier
from nblstm.sklearn.regressor import RecurrentRegressor

__all__ = ["RecurrentClassifier", "RecurrentRegressor"]


def __dir__() -> list[str]:
    return __all__
