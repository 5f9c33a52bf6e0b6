"""Data that scikit-learn's users give, as sequences: checked, and compared with those of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import validation

from nblstm.arguments import validate
from nblstm.sklearn.sequences import PADDING, Sequences


def read(estimator: Any, X, *, reset: bool, dtype: type = np.float32) -> Sequences:
    """Check and convert what a user gives; set ``n_features_in_`` and ``feature_names_in_``, or compare with them.

    Parameters
    ----------
    estimator : BaseEstimator
    X : list of array_like (T_i, F), array_like (N, T, F) or (N, T), or pandas object
    reset : bool
        Whether this is the first data that the estimator sees, or a fit anew.
    dtype : {np.float32, np.float64}

    Raises
    ------
    TypeError, ValueError
        If they are not as described, do not fit what the estimator was fitted on, or have NaN or infinity.
    """
    if hasattr(X, "__array__") and not hasattr(X, "columns") and not hasattr(X, "iloc"):
        X = validate.plain_array("X", X)
    elif not hasattr(X, "shape") and (not hasattr(X, "__len__") or isinstance(X, str | bytes | dict | set)):
        raise TypeError(f"X is of type {type(X).__name__}; give a list of arrays (T_i, F), or an array (N, T, F)")
    elif isinstance(X, list | tuple) and not X:
        raise ValueError("X is an empty list; give one sequence or more")
    parts = listed("X", X)
    if parts is None:
        found = _of_array(estimator, X, reset, dtype)
    else:
        found = _of_list(estimator, parts, reset, dtype)
    _check_finite(found)
    return found


def listed(name: str, X) -> list | None:
    """The sequences of a list, a pandas Series, a table with two index levels or an array of objects, one by one.

    None if X is an array or a table (N, T), or a list of lists of equal length, which stands for one.
    """
    if hasattr(X, "iloc") and getattr(X.index, "nlevels", 1) == 2:
        if X.index.get_level_values(0).hasnans:
            raise ValueError(f"{name} has rows whose first index level is NaN; name their sequence, or drop them")
        return [part for _, part in X.groupby(level=0, sort=False)]
    if hasattr(X, "iloc") or isinstance(X, np.ndarray):
        return list(X) if X.ndim == 1 and X.dtype == object and len(X) and np.ndim(next(iter(X))) else None
    if not isinstance(X, list | tuple) or not len(X) or isinstance(X[0], str | bytes):
        return None
    ndims = {_ndim(part) for part in X}
    if ndims == {1} and not hasattr(X[0], "ndim") and len({len(part) for part in X}) == 1:
        return None
    return list(X) if ndims <= {1, 2} else None


def _ndim(part) -> int:
    """The number of dimensions of an array, or of nested lists."""
    if hasattr(part, "ndim"):
        return part.ndim
    return 1 + (_ndim(part[0]) if len(part) else 0) if isinstance(part, list | tuple) else 0


def _of_array(estimator, X, reset: bool, dtype: type) -> Sequences:
    known = None if reset else estimator.n_features_in_
    if not reset and not estimator._is_table and np.ndim(X) == 2 and known == 1:
        array = validation.check_array(X, dtype="numeric", ensure_all_finite=False, input_name="X")
        return Sequences.of_array(_converted(array, dtype)[:, :, None], "table")
    shape = np.shape(X)
    if len(shape) == 3:
        array = validation.check_array(
            X, dtype="numeric", ensure_all_finite=False, allow_nd=True, ensure_min_features=0, input_name="X"
        )
        _check_steps(shape[1:])
        _set_features(estimator, array, shape[2], reset, f"in an array (N, T, features) of shape {shape}", shape[1])
        return Sequences.of_array(_converted(array, dtype))
    if not reset and not estimator._is_table and len(shape) == 2:
        raise ValueError(
            f"X has shape {shape}, and {type(estimator).__name__} was fitted on sequences of {known} features; give a "
            "list of arrays (T, features), or an array (N, T, features)"
        )
    array = validation.validate_data(estimator, X, reset=reset, dtype="numeric", ensure_all_finite=False)
    if reset:
        estimator._is_table = True
    return Sequences.of_array(_converted(array, dtype)[:, :, None], "table")


def _of_list(estimator, parts: list, reset: bool, dtype: type) -> Sequences:
    arrays = [_sequence(n, part, dtype) for n, part in enumerate(parts)]
    features = {array.shape[1] for array in arrays}
    if len(features) > 1:
        shapes = " and ".join(str(np.shape(part)) for part in _first_of_each(arrays))
        turned = len({len(array) for array in arrays}) == 1
        fix = "if they are (channels, T), give [x.T for x in X]" if turned else "each is (T, features)"
        raise ValueError(f"X has sequences of different numbers of features, such as {shapes}; {fix}")
    F = features.pop()
    came = f"in sequences such as one of shape {arrays[0].shape}"
    _check_names(parts)
    _set_features(estimator, parts, F, reset, came, min(len(array) for array in arrays))
    return Sequences.of_list(arrays)


def _sequence(n: int, part, dtype: type) -> np.ndarray:
    """Sequence number n as an array (T, F)."""
    array = validate.number_array(f"X[{n}]", part, "give each as an array (T, features)")
    if array.ndim == 1:
        array = array[:, None]
    _check_steps(array.shape, f" at {n}")
    return _converted(array, dtype)


def _check_names(parts: list) -> None:
    """Refuse DataFrames whose columns differ from those of the first in name or order."""
    frames = [(n, part.columns) for n, part in enumerate(parts) if hasattr(part, "columns")]
    for n, columns in frames[1:]:
        first, names = frames[0]
        if columns is not names and list(columns) != list(names):
            raise ValueError(
                f"X[{n}] has the columns {list(columns)}, and X[{first}] has {list(names)}; give all of them the same, "
                "in the same order"
            )


def _first_of_each(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Two arrays that have different numbers of features."""
    other = next(array for array in arrays if array.shape[1] != arrays[0].shape[1])
    return [arrays[0], other]


def _check_steps(shape: tuple[int, ...], place: str = "") -> None:
    T, F = shape
    if not T or not F:
        raise ValueError(f"X has a sequence of shape ({T}, {F}){place}; give one step or more, of one feature or more")


def _set_features(estimator, X, F: int, reset: bool, came: str, T: int) -> None:
    """Take note of the number of features and their names, or compare them with those of the fit."""
    named = X[0] if isinstance(X, list) and all(hasattr(part, "columns") for part in X) else X
    validation.validate_data(estimator, named, reset=reset, skip_check_array=True, ensure_2d=False)  # names alone
    if reset:
        estimator.n_features_in_, estimator._is_table = F, False
        return
    channels = 1 if estimator._is_table else estimator.n_features_in_
    if channels == F:
        return
    turned = ""
    if channels == T:
        fix = "[x.T for x in X]" if isinstance(X, list) else "np.swapaxes(X, 1, 2)"
        turned = f"; if it has channels before steps, as of aeon and sktime, give {fix}"
    raise ValueError(
        f"X has {F} features {came}, but {type(estimator).__name__} is expecting {channels} features as input{turned}"
    )


def _converted(array: np.ndarray, dtype: type) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # `_check_finite` finds what is too large
        return array.astype(dtype, copy=False)


def _check_finite(found: Sequences) -> None:
    """Refuse NaN, infinity, and what float32 cannot hold."""
    rows = found.rows[:-1]
    if rows.min() > PADDING and rows.max() < -PADDING:  # neither is true of NaN
        return
    row, feature = np.argwhere(~(np.abs(rows) < -PADDING))[0]
    value = rows[row, feature]
    n = int(np.searchsorted(found.starts, row, "right") - 1)
    name = "NaN" if np.isnan(value) else "infinity or a number beyond float32"
    raise ValueError(
        f"Input X contains {name}, in sequence {n} at step {row - found.starts[n]}, feature {feature}; remove or "
        "replace what is not a finite number"
    )
