"""What scikit-learn has around estimators, with lists of sequences of different lengths."""

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6", reason="needs scikit-learn 1.6, the extra 'sklearn'")

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    GroupKFold,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    learning_curve,
    permutation_test_score,
)  # fmt: skip
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor

from nblstm.sklearn import RecurrentClassifier, RecurrentRegressor

random = np.random.default_rng(0)
X = [random.normal(size=(T, 3)) for T in random.integers(4, 12, size=60)]
NUMBER = np.array([x[-1, 0] for x in X])
Y = np.where(NUMBER > 0, "up", "down")
OPTIONS = {"hidden_size": 4, "max_epochs": 2, "random_state": 0}
CLASSIFY, REGRESS = RecurrentClassifier("gru", **OPTIONS), RecurrentRegressor("gru", **OPTIONS)
CLASSIFIERS = [("gru", CLASSIFY), ("rnn", clone(CLASSIFY).set_params(cell="rnn"))]
REGRESSORS = [("gru", REGRESS), ("rnn", clone(REGRESS).set_params(cell="rnn"))]


@pytest.mark.parametrize(
    "tool",
    [
        CalibratedClassifierCV(CLASSIFY, cv=2), VotingClassifier(CLASSIFIERS, voting="soft"),
        StackingClassifier(CLASSIFIERS, cv=2), TunedThresholdClassifierCV(CLASSIFY, cv=2),
    ],
    ids=lambda tool: type(tool).__name__,
)  # fmt: skip
def test_classifiers_around_it(tool):
    assert set(tool.fit(X, Y).predict(X)) <= set(Y)
    assert tool.predict_proba(X).shape == (60, 2)


@pytest.mark.parametrize(
    "tool",
    [StackingRegressor(REGRESSORS, cv=2), VotingRegressor(REGRESSORS), TransformedTargetRegressor(REGRESS)],
    ids=lambda tool: type(tool).__name__,
)
def test_regressors_around_it(tool):
    assert tool.fit(X, NUMBER).predict(X).shape == (60,)


def test_several_classes_and_outputs():
    assert OneVsRestClassifier(CLASSIFY).fit(X, np.arange(60) % 3).predict_proba(X).shape == (60, 3)
    two = np.stack([NUMBER, -NUMBER], axis=1)
    alone = clone(REGRESS).fit(X, -NUMBER).predict(X)
    np.testing.assert_array_equal(MultiOutputRegressor(REGRESS).fit(X, two).predict(X)[:, 1], alone)


def test_one_that_is_fitted_already():
    fitted = clone(CLASSIFY).fit(X, Y)
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted)).fit(X, Y)
    order = fitted.predict_proba(X)[:, 1].argsort(kind="stable")
    steps = np.diff(calibrated.predict_proba(X)[order, 1])
    assert (steps >= 0).all() or (steps <= 0).all(), "calibration is a monotonic function of the probability"


def test_splits_curves_and_searches():
    groups = np.arange(60) % 5
    found = cross_val_predict(CLASSIFY, X, Y, groups=groups, cv=GroupKFold(5), method="predict_proba")
    held_out = groups == 3
    rest = clone(CLASSIFY).fit([x for x, out in zip(X, held_out, strict=True) if not out], Y[~held_out])
    alone = rest.predict_proba([x for x, out in zip(X, held_out, strict=True) if out])
    np.testing.assert_array_equal(found[held_out], alone)
    assert learning_curve(CLASSIFY, X, Y, train_sizes=[0.5, 1.0], cv=2)[2].shape == (2, 2)
    assert permutation_test_score(CLASSIFY, X, Y, cv=2, n_permutations=2)[1].shape == (2,)
    search = RandomizedSearchCV(CLASSIFY, {"hidden_size": [3, 4], "cell": ["gru"]}, n_iter=2, cv=2, random_state=0)
    assert search.fit(X, Y).predict(X).shape == (60,)
