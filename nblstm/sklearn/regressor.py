"""RecurrentRegressor: numbers from sequences, and intervals that they fall into."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted

from nblstm.arguments import validate
from nblstm.sklearn.estimator import LEARNING_RATE, RecurrentEstimator
from nblstm.sklearn.quantiles import QuantileLoss, checked_quantiles
from nblstm.sklearn.sequences import Sequences
from nblstm.training.losses import Loss, MeanSquaredError


class RecurrentRegressor(RegressorMixin, RecurrentEstimator):
    """Numbers from sequences, by a recurrent network."""

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
        return self._train(X, y, sample_weight, 1, hasattr(self, "model_"), False)

    def predict(self, X):
        """The numbers.

        Parameters
        ----------
        X : see `fit`

        Returns
        -------
        ndarray, shape (N,) or (N, K); or for targets of each step a list of (T_i, K), or an array (N, T, K)
            With ``quantiles``, the medians.
        """
        x, outputs = self._raw(X)
        if self.quantiles_ is not None:
            outputs = self._by_quantile(outputs)[..., int(np.searchsorted(self.quantiles_, 0.5))]
        return self._as_given(x, outputs)

    def predict_quantiles(self, X):
        """The quantiles of ``quantiles_``, in this order, in a last dimension more than `predict` has.

        They never cross: where the network's outputs do, they are sorted.
        """
        check_is_fitted(self)
        if self.quantiles_ is None:
            raise ValueError("quantiles is None, so no quantiles were fitted; give such as quantiles=(0.05, 0.5, 0.95)")
        x, outputs = self._raw(X)
        return self._as_given(x, self._by_quantile(outputs))

    def predict_interval(self, X, coverage=None):
        """Intervals that the numbers fall into with a probability.

        Parameters
        ----------
        X : see `fit`
        coverage : float, optional
            The probability, such that ``(1 - coverage) / 2`` and ``(1 + coverage) / 2`` are among ``quantiles``. By
            default, that from the smallest of them to the largest.

        Returns
        -------
        ndarray, shape (N, 2) or (N, K, 2)
            The lower and the upper end, in a last dimension more than `predict` has.
        """
        check_is_fitted(self)
        if self.quantiles_ is None:
            raise ValueError("quantiles is None, so no quantiles were fitted; give such as quantiles=(0.05, 0.5, 0.95)")
        ends = [0, len(self.quantiles_) - 1]
        if coverage is not None:
            coverage = validate.number("coverage", coverage, 0, 1, above=True, below=True)
            wanted = np.array([(1 - coverage) / 2, (1 + coverage) / 2])
            apart = np.abs(self.quantiles_ - wanted[:, None])
            if apart.min(axis=1).max() > 1e-6:
                raise ValueError(
                    f"coverage is {coverage:g}, which needs the quantiles {wanted[0]:g} and {wanted[1]:g}; give these "
                    f"to the constructor, which got {[float(f'{q:g}') for q in self.quantiles_]}"
                )
            ends = apart.argmin(axis=1).tolist()
        x, outputs = self._raw(X)
        return self._as_given(x, self._by_quantile(outputs)[..., ends])

    def score(self, X, y, sample_weight=None):
        """R^2 of `predict`, the mean of those of all outputs; of targets of each step, over all steps."""
        x, outputs = self._raw(X)
        targets = self._targets(y, x, reset=False)
        if isinstance(targets, Sequences):
            sample_weight = None if sample_weight is None else np.asarray(sample_weight).repeat(x.lengths)
            targets = targets.flat()
        return self._score_of(targets, outputs, sample_weight)

    def _score_of(self, targets, outputs, weight):
        if self.quantiles_ is not None:
            outputs = self._by_quantile(outputs)[..., int(np.searchsorted(self.quantiles_, 0.5))]
        return float(r2_score(targets, outputs, sample_weight=weight))

    def _by_quantile(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (R, K Q) as (R, K, Q), in ascending order of the quantiles and of the values."""
        return np.sort(outputs.reshape(len(outputs), -1, len(self.quantiles_)), axis=-1)

    def _as_given(self, x: Sequences, outputs: np.ndarray) -> Any:
        """Outputs (N, K, ...) in the form that targets had: (N, ...) for one target, per step as the sequences came."""
        if len(self.model_.output_shape) == 3:
            return x.parts(outputs)
        return outputs[:, 0] if self._one_output else outputs

    def _targets(self, y, x, reset):
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
            y = y.astype(np.float32)
            if not np.isfinite(y).all():
                raise ValueError("Input y contains a number beyond float32; scale it")
            y = y[:, None] if y.ndim == 1 else y
            K = y.shape[1]
        if reset:
            self.n_outputs_, self._one_output = K, one
            self.quantiles_ = None if self.quantiles is None else checked_quantiles(self.quantiles)
        elif K != self.n_outputs_ or isinstance(y, Sequences) != (len(self.model_.output_shape) == 3):
            raise ValueError(f"y has {K} outputs, and the estimator was fitted on {self.n_outputs_}; give as many")
        return y

    def _outputs(self, targets):
        K = targets.features if isinstance(targets, Sequences) else targets.shape[1]
        return K * (1 if self.quantiles_ is None else len(self.quantiles_)), None

    def _loss(self, outputs: int) -> Loss:
        return MeanSquaredError() if self.quantiles_ is None else QuantileLoss(self.quantiles_.tolist())


def _steps(y, x: Sequences):
    """Targets of each step, as `Sequences`; others as they are."""
    listed = isinstance(y, list | tuple) and len(y) and all(getattr(part, "ndim", 0) == 2 for part in y)
    if listed:
        arrays = [check_array(part, input_name=f"y[{n}]", dtype=np.float32) for n, part in enumerate(y)]
        found = Sequences.of_list(arrays, 0)
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
