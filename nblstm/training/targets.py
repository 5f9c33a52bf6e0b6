"""Targets, sample weights, class weights and masks: arrays that are aligned with predictions."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from nblstm.arguments import validate

_COMPUTED = tuple(np.dtype(name) for name in validate.DTYPES)


def prediction_array(y_pred) -> np.ndarray:
    """Predictions as an array of one row or more: in their own dtype if that is float32 or float64, else in float64."""
    if type(y_pred) is np.ndarray and y_pred.dtype in _COMPUTED:
        prediction = y_pred
    else:
        given = str(getattr(y_pred, "dtype", ""))
        prediction = validate.real_array("y_pred", y_pred, given if given in validate.DTYPES else "float64")
    if prediction.ndim == 0 or prediction.size == 0:
        raise ValueError(f"y_pred has shape {prediction.shape}; give at least one row of at least one number")
    return prediction


def target_like(target: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``target`` in the predictions' ``shape``; only a last dimension of length 1 is added or dropped.

    Nothing else is broadcast, since (B, 1) against (B,) would mean (B, B) values.
    """
    if target.shape == shape:
        return target
    if target.shape != (*shape, 1) and (*target.shape, 1) != shape:
        raise ValueError(f"y_true has shape {target.shape}; it needs that of y_pred, {shape}")
    return target.reshape(shape)


def target_of_outputs(target: np.ndarray, shape: tuple[int, ...], n: int, meaning: str) -> np.ndarray:
    """``target`` in shape (B, ..., K), of predictions (B, ..., K n) that have n columns side by side for each target.

    ``meaning`` says what these are, such as "2 quantiles". A single target needs no last dimension.
    """
    *rows, C = shape
    if C % n:
        raise ValueError(f"y_pred has shape {shape}; its last dimension needs {meaning} per target")
    needed = (*rows, C // n)
    if target.shape not in (needed, (*needed, 1), needed[: -1 if n == C else None]):
        raise ValueError(f"y_true has shape {target.shape}; {meaning} in y_pred of shape {shape} need {needed}")
    return target.reshape(needed)


def aligned(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``array``, whose dimensions have to be the first of ``shape``, or 1 in their place.

    A weight per row, (B,), weighs all steps of the row in values (B, T). A last dimension too many is dropped if
    its length is 1.
    """
    if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > len(shape) or any(a not in (1, s) for a, s in zip(array.shape, shape, strict=False)):
        raise ValueError(f"{name} has shape {array.shape}; it needs shape {shape} or the first dimensions of that")
    return array


def weight_array(sample_weight, shape: tuple[int, ...], dtype) -> np.ndarray | None:
    """Sample weights for values of ``shape``, or None."""
    if sample_weight is None:
        return None
    array = validate.real_array("sample_weight", sample_weight, np.dtype(dtype).name)
    if not np.isfinite(array).all():
        raise ValueError(f"sample_weight contains {array[~np.isfinite(array)][0]}; give finite numbers")
    return aligned("sample_weight", array, shape)


def mask_array(mask, shape: tuple[int, ...]) -> np.ndarray | None:
    """A mask for values of ``shape``, true where a value counts, or None."""
    if mask is None:
        return None
    array = validate.plain_array("mask", mask)
    if array.dtype != bool and (array.dtype.kind not in "iuf" or not np.isin(array, (0, 1)).all()):
        raise TypeError(f"mask has dtype {array.dtype} and more than two values; give True where a value counts")
    return aligned("mask", array.astype(bool), shape)


def spread(array: np.ndarray, rank: int) -> np.ndarray:
    """Aligned weights or a mask with ``rank`` dimensions, of which the last are 1."""
    return array.reshape(array.shape + (1,) * (rank - array.ndim))


def product(a: np.ndarray | None, b: np.ndarray | None) -> Any:
    """The product of aligned weights or masks; None stands for ones."""
    if a is None or b is None:
        return b if a is None else a
    rank = max(a.ndim, b.ndim)
    return spread(a, rank) * spread(b, rank)


def broadcast(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Aligned weights or a mask, broadcast from the first dimensions to ``shape``."""
    return np.broadcast_to(spread(array, len(shape)), shape)


def check_finite(name: str, value: np.ndarray | None) -> None:
    """Refuse NaN and infinity: the smallest and the largest entry tell, without a temporary array."""
    if value is None or value.dtype.kind != "f" or not value.size:
        return
    for extreme in (value.min(), value.max()):
        if not math.isfinite(extreme):
            first = tuple(map(int, np.argwhere(~np.isfinite(value))[0]))
            raise ValueError(f"{name} has {extreme} at {list(first)}; remove or replace what is not finite")


def class_weights(y: np.ndarray, class_weight, rank: int, dtype: str) -> np.ndarray:
    """One weight (N, ...) per row of predictions, that of its class; 1 for classes without.

    Targets y of predictions (N, ..., C) are class numbers (N, ...) or (N, ..., 1), or one-hot (N, ..., C); ``rank`` is
    the number of dimensions of the predictions.
    """
    if not isinstance(class_weight, dict) or not all(
        isinstance(key, numbers.Real) and float(key).is_integer() and isinstance(value, numbers.Real)
        for key, value in class_weight.items()
    ):
        raise TypeError(
            f"class_weight is {class_weight!r}; give a dict from class numbers to weights, {{0: 1.0, 1: 5.0}}"
        )
    check_finite("class_weight", np.array([*class_weight.values()], float))
    weight_of = {int(key): float(value) for key, value in class_weight.items()}
    if y.ndim > rank:  # with a last dimension of 1 too many, which losses drop
        y = y[..., 0]
    if y.ndim < rank:
        labels = y
    elif y.shape[-1] == 1:
        labels = y[..., 0]
    elif ((y == 0) | (y == 1)).all() and (np.count_nonzero(y, axis=-1) == 1).all():
        labels = y.argmax(axis=-1)
    else:
        raise ValueError(
            f"class_weight needs one class per row and y, of shape {y.shape}, has rows that are not one-hot; give "
            "sample_weight in its place"
        )
    classes, places = np.unique(np.round(labels), return_inverse=True)
    weights = validate.converted("class_weight", np.array([weight_of.get(int(c), 1.0) for c in classes]), dtype)
    return weights[places].reshape(labels.shape)
