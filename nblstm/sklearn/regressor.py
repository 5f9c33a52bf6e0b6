"""RecurrentRegressor: numbers from sequences, and intervals that they fall into."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted

from nblstm.arguments import validate
from nblstm.sklearn.estimator import RecurrentEstimator, weights_of_steps
from nblstm.sklearn.networks import LEARNING_RATE
from nblstm.sklearn.quantiles import checked_quantiles, interval
from nblstm.sklearn.reading import listed
from nblstm.sklearn.sequences import Sequences
from nblstm.training.losses import Loss, MeanSquaredError, Quantile


class RecurrentRegressor(RegressorMixin, RecurrentEstimator):
    """Numbers from sequences, by a recurrent network.

    Without ``model``, the network is ``num_layers`` recurrent layers and, behind the last step, `Dense`. The loss is
    the mean squared error, or with ``quantiles`` the pinball loss.

    Targets are (N,), or (N, K) for K numbers of each sequence. For numbers of each step they are a list of arrays
    (T_i, K), or an array (N, T, K). Scale them to about 1, as by `sklearn.compose.TransformedTargetRegressor`.

    Parameters
    ----------
    cell, hidden_size, num_layers, bidirectional, dropout, optimizer, learning_rate, batch_size, max_epochs, \
    early_stopping, validation_fraction, n_iter_no_change, tol, warm_start, callbacks, verbose, random_state
        See `RecurrentClassifier`.
    model : Sequential or callable, optional
        See `RecurrentClassifier`; its output has a column for each target, or with Q quantiles Q of them side by side.
    quantiles : sequence of float, optional
        Quantiles of the targets to learn, between 0 and 1, such as ``(0.05, 0.5, 0.95)``; the median is added where it
        is not among them. `predict` then gives the medians, `predict_interval` intervals, and `predict_quantiles` all.

    Attributes
    ----------
    n_outputs_ : int
        K.
    quantiles_ : ndarray or None
        The quantiles that are learned, in ascending order.
    n_features_in_, feature_names_in_, n_iter_, loss_curve_, model_
        See `RecurrentClassifier`.
    validation_scores_, best_validation_score_
        Likewise, of R^2.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm.sklearn import RecurrentRegressor
    >>> random = np.random.default_rng(0)
    >>> X = [random.normal(size=(T, 2)) for T in random.integers(5, 20, size=200)]
    >>> y = np.array([x[-1].sum() for x in X]) + random.normal(size=200)
    >>> regressor = RecurrentRegressor(quantiles=(0.1, 0.9), max_epochs=20, random_state=0).fit(X, y)
    >>> regressor.predict(X[:4]).shape, regressor.predict_interval(X[:4], coverage=0.8).shape
    ((4,), (4, 2))
    """

    def __init__(
        self, cell="lstm", hidden_size=32, num_layers=1, bidirectional=False, dropout=0.0, optimizer="adam",
        learning_rate=LEARNING_RATE, batch_size=32, max_epochs=100, early_stopping=False, validation_fraction=0.1,
        n_iter_no_change=10, tol=1e-4, warm_start=False, callbacks=None, verbose=0, random_state=None, model=None,
        quantiles=None,
    ):  # fmt: skip
        super().__init__(
            cell, hidden_size, num_layers, bidirectional, dropout, optimizer, learning_rate, batch_size, max_epochs,
            early_stopping, validation_fraction, n_iter_no_change, tol, warm_start, callbacks, verbose, random_state,
            model,
        )  # fmt: skip
        self.quantiles = quantiles

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch, going on from what was learned; arguments as for `fit`."""
        return self._train_one_epoch(X, y, sample_weight)

    def predict(self, X):
        """The numbers.

        Parameters
        ----------
        X : list of array_like (T_i, F), or array_like (N, T, F) or (N, T)
            As for `fit`.

        Returns
        -------
        ndarray, shape (N,) or (N, K); or for targets of each step a list of (T_i, K), or an array (N, T, K)
            With ``quantiles``, the medians.
        """
        x, outputs = self._raw(X)
        return self._as_given(x, self._point(outputs))

    def predict_quantiles(self, X):
        """The quantiles of ``quantiles_``, in this order, in a last dimension more than `predict` has.

        They never cross: where the network's outputs do, they are sorted.
        """
        self._need_quantiles()
        x, outputs = self._raw(X)
        return self._as_given(x, self._by_quantile(outputs))

    def predict_interval(self, X, coverage=None):
        """Intervals that the numbers fall into with a probability.

        Parameters
        ----------
        X : list of array_like (T_i, F), or array_like (N, T, F) or (N, T)
            As for `fit`.
        coverage : float, optional
            The probability, such that ``(1 - coverage) / 2`` and ``(1 + coverage) / 2`` are among ``quantiles``. By
            default, that from the smallest of them to the largest.

        Returns
        -------
        ndarray, shape (N, 2) or (N, K, 2)
            The lower and the upper end, in a last dimension more than `predict` has.
        """
        self._need_quantiles()
        if len(self.quantiles_) == 1:
            raise ValueError("quantiles has the median alone, which is no interval; give such as (0.05, 0.95)")
        ends = [0, len(self.quantiles_) - 1]
        if coverage is not None:
            ends = interval(self.quantiles_.tolist(), coverage)
        x, outputs = self._raw(X)
        return self._as_given(x, self._by_quantile(outputs)[..., ends])

    def score(self, X, y, sample_weight=None):
        """R^2 of `predict`, the mean of those of all outputs; of targets of each step, over all steps."""
        if not self._each_step:
            return super().score(X, y, sample_weight)
        x, outputs = self._raw(X)
        targets = self._targets(y, x, None, reset=False).flat()
        return self._score_of(targets, outputs, weights_of_steps(sample_weight, x))

    def _score_of(self, targets, outputs, weight):
        return float(r2_score(targets, self._point(outputs), sample_weight=weight))

    def _point(self, outputs: np.ndarray) -> np.ndarray:
        """One number for each target, (R, K): outputs as they are, or medians."""
        if self.quantiles_ is None:
            return outputs
        return self._by_quantile(outputs)[..., int(np.searchsorted(self.quantiles_, 0.5))]

    def _need_quantiles(self) -> None:
        check_is_fitted(self)
        if self.quantiles_ is None:
            raise ValueError("quantiles is None, so no quantiles were fitted; give such as quantiles=(0.05, 0.5, 0.95)")

    def _by_quantile(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (R, K Q) as (R, K, Q), in ascending order of the quantiles and of the values."""
        return np.sort(outputs.reshape(len(outputs), -1, len(self.quantiles_)), axis=-1)

    def _as_given(self, x: Sequences, outputs: np.ndarray) -> Any:
        """Outputs (N, K, ...) in the form that targets had: (N, ...) for one target, per step as the sequences came."""
        if self._each_step:
            return x.parts(outputs)
        return outputs[:, 0] if self._one_output else outputs

    def _targets(self, y, x, classes, reset):
        y = _steps(y, x)
        if isinstance(y, Sequences):
            K, one = y.features, False
        else:
            y = check_array(y, input_name="y", ensure_2d=False, dtype="numeric", allow_nd=True)
            check_consistent_length(x.lengths, y)
            if y.ndim > 2:
                raise ValueError(f"y has shape {y.shape}; give (N,), (N, K), or for each step (N, T, K)")
            one = y.ndim == 1
            if y.ndim == 2 and y.shape[1] == 1:
                y, one = column_or_1d(y, warn=True), True
            y = validate.converted("y", y, "float32")
            y = y[:, None] if y.ndim == 1 else y
            K = y.shape[1]
        if reset:
            self.n_outputs_, self._one_output = K, one
            self.quantiles_ = None if self.quantiles is None else checked_quantiles(self.quantiles)
        elif self.n_outputs_ != K or isinstance(y, Sequences) != self._each_step:
            raise ValueError(f"y has {K} outputs, and the estimator was fitted on {self.n_outputs_}; give as many")
        return y

    def _outputs(self, targets):
        K = targets.features if isinstance(targets, Sequences) else targets.shape[1]
        return K * (1 if self.quantiles_ is None else len(self.quantiles_)), None

    def _loss(self, outputs: int) -> Loss:
        return MeanSquaredError() if self.quantiles_ is None else Quantile(self.quantiles_.tolist())


def _steps(y, x: Sequences):
    """Targets of each step, as `Sequences`; others as they are."""
    parts = listed("y", y)
    if parts is not None and all(np.ndim(part) == 2 for part in parts):
        arrays = [check_array(part, input_name=f"y[{n}]", dtype=np.float32) for n, part in enumerate(parts)]
        found = Sequences.of_list(arrays, 0)
    elif parts is not None:
        if len(shapes := {np.shape(part) for part in parts}) > 1:
            raise ValueError(
                f"y has arrays of shapes such as {min(shapes)} and {max(shapes)}; for numbers of each step give "
                "(T_i, 1), as [np.reshape(part, (-1, 1)) for part in y]"
            )
        return np.array(parts)
    elif getattr(y, "ndim", 0) == 3:
        found = Sequences.of_array(check_array(y, input_name="y", dtype=np.float32, allow_nd=True), padding=0)
    else:
        return y
    check_consistent_length(x.lengths, found.lengths)
    wrong = np.flatnonzero(found.lengths != x.lengths)
    if len(wrong):
        n = wrong[0]
        raise ValueError(f"y has {found.lengths[n]} steps in sequence {n}, of which X has {x.lengths[n]}; give as many")
    return found
