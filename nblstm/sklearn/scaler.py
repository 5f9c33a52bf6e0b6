"""SequenceScaler: each feature with mean 0 and variance 1 over the steps of all sequences."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from nblstm.arguments import validate
from nblstm.sklearn.sequences import Sequences, read


class SequenceScaler(  # no set_output, as a table cannot hold what it gives
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """Standardizes each feature over the steps of all sequences: ``(x - mean) / standard deviation``.

    A table (N, T) has one feature, so all its columns are scaled alike. `sklearn.preprocessing.StandardScaler` would
    scale each of them, and so take away what differs from step to step.

    Parameters
    ----------
    with_mean : bool, default True
        Whether the mean is subtracted.
    with_std : bool, default True
        Whether numbers are divided by the standard deviation; where it is 0, by 1.

    Attributes
    ----------
    mean_, var_, scale_ : ndarray of float64, shape (F,)
        Of each feature; F is 1 for a table. With ``with_std=False`` ``scale_`` is 1.
    n_samples_seen_ : int
        Steps of all sequences.
    n_features_in_ : int
        F, or of a table the number of columns.
    feature_names_in_ : ndarray of str
        Where data has names of columns that are strings.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm.sklearn import SequenceScaler
    >>> X = [np.array([[1.0, 10.0], [3.0, 10.0]]), np.array([[5.0, 40.0]])]
    >>> scaled = SequenceScaler().fit_transform(X)
    >>> [part.shape for part in scaled], np.concatenate(scaled).std(axis=0)
    ([(2, 2), (1, 2)], array([1., 1.]))
    """

    mean_: np.ndarray
    var_: np.ndarray

    def __init__(self, with_mean=True, with_std=True):
        self.with_mean = with_mean
        self.with_std = with_std

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X, y=None):
        """Find mean and variance.

        Parameters
        ----------
        X : list of array_like (T_i, F), or array_like (N, T, F) or (N, T)
            As `RecurrentClassifier.fit` takes it.
        y : ignored

        Returns
        -------
        self
        """
        return self._add(read(self, X, reset=True, dtype=np.float64), 0)

    def partial_fit(self, X, y=None):
        """Find mean and variance of this data and all before it; arguments as for `fit`."""
        first = not hasattr(self, "mean_")
        return self._add(read(self, X, reset=first, dtype=np.float64), 0 if first else self.n_samples_seen_)

    def _add(self, x: Sequences, seen: int):
        """Combine mean and variance of ``seen`` steps with those of more (Chan, Golub and LeVeque, 1979)."""
        with_std = validate.flag("with_std", self.with_std)
        rows = x.rows[:-1]
        mean, var, total = rows.mean(axis=0), rows.var(axis=0), seen + len(rows)
        if seen:
            apart = mean - self.mean_
            mean = self.mean_ + apart * (len(rows) / total)
            var = (self.var_ * seen + var * len(rows)) / total + apart**2 * (seen * len(rows) / total**2)
        self.mean_, self.var_, self.n_samples_seen_ = mean, var, total
        # A constant feature has a variance of rounding errors alone.
        constant = var <= total * np.finfo(np.float64).eps * var + (total * np.finfo(np.float64).eps * mean) ** 2
        self.scale_ = np.where(constant, 1, np.sqrt(var)) if with_std else np.ones_like(var)
        return self

    def transform(self, X):
        """The numbers, scaled.

        Returns
        -------
        list of ndarray (T_i, F), or ndarray (N, T, F) or (N, T), as X
        """
        return self._mapped(X, lambda rows: (rows - self._offset) / self.scale_)

    def inverse_transform(self, X):
        """The numbers before they were scaled, in the form of X."""
        return self._mapped(X, lambda rows: rows * self.scale_ + self._offset)

    @property
    def _offset(self) -> np.ndarray:
        return self.mean_ if validate.flag("with_mean", self.with_mean) else np.zeros_like(self.mean_)

    def _mapped(self, X, function):
        check_is_fitted(self)
        x = read(self, X, reset=False, dtype=np.float64)
        rows = function(x.rows[:-1])
        return rows.reshape(len(x), -1) if x.kind == "table" else x.parts(rows)
