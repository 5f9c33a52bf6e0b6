"""Samples in arrays: checked once, converted once, then only gathered."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import numpy as np

from nblstm.arguments import validate

Batch = tuple[np.ndarray, "np.ndarray | None", "np.ndarray | None"]


@dataclass(frozen=True)
class Samples:
    """Arrays with one entry per sample.

    Attributes
    ----------
    x : ndarray, shape (N, ...)
    y, weight : ndarray, shape (N, ...), or None
    """

    x: np.ndarray
    y: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def gathered(self, rows: np.ndarray) -> Batch:
        """Copies of some rows."""
        y = None if self.y is None else self.y.take(rows, axis=0)
        return self.x.take(rows, axis=0), y, None if self.weight is None else self.weight.take(rows, axis=0)

    def between(self, start: int, stop: int) -> Batch:
        """Views of rows that follow each other."""
        y = None if self.y is None else self.y[start:stop]
        return self.x[start:stop], y, None if self.weight is None else self.weight[start:stop]

    def split(self, fraction: float) -> tuple[Samples, Samples]:
        """The first samples for training and the last, a ``fraction`` of all, for validation, as Keras splits them.

        Raises
        ------
        ValueError
            If one of the two would be empty.
        """
        N = len(self)
        at = math.floor(N * (1 - fraction))
        if not 0 < at < N:
            raise ValueError(
                f"validation_split is {fraction} of {N} samples, which leaves {at} to train on and {N - at} to "
                "validate with; give another fraction, or validation_data"
            )
        return Samples(*self.between(0, at)), Samples(*self.between(at, N))


def samples(x, y, sample_weight, dtype: str) -> Samples:
    """What a user passes, as arrays: floats in ``dtype``, all else as it is.

    Raises
    ------
    TypeError, ValueError
        If they are no arrays, their sizes differ, there is no sample, or a number is not finite.
    """
    x = array("x", x, dtype)
    if not len(x):
        raise ValueError(f"x has shape {x.shape}, which is no sample; give an array of one or more")
    y = array("y", y, dtype)
    weight = None if sample_weight is None else array("sample_weight", sample_weight, dtype)
    for name, other in (("y", y), ("sample_weight", weight)):
        if other is not None and len(other) != len(x):
            raise ValueError(f"x has {len(x)} samples and {name} has {len(other)}; give as many of each")
    for name, numbers_ in (("x", x), ("y", y), ("sample_weight", weight)):
        check_finite(name, numbers_)
    return Samples(x, y, weight)


def array(name: str, value, dtype: str) -> np.ndarray:
    """``value`` as an array with a dimension for samples; floats in ``dtype``.

    A file mapped into memory stays there: its batches are converted one by one.
    """
    found = validate.number_array(name, value, "pad the sequences to one length, or give batches by a generator")
    if found.ndim == 0:
        raise ValueError(f"{name} has shape (), which is no sample; give an array of one or more")
    if found.dtype.kind == "f" and not isinstance(value, np.memmap):
        found = validate.converted(name, found, dtype)
    return found


def check_finite(name: str, value: np.ndarray | None) -> None:
    """Refuse NaN and infinity: the smallest and the largest entry tell, without a temporary array."""
    if value is None or value.dtype.kind != "f" or not value.size:
        return
    for extreme in (value.min(), value.max()):
        if not math.isfinite(extreme):
            first = tuple(map(int, np.argwhere(~np.isfinite(value))[0]))
            raise ValueError(f"{name} has {extreme} at {list(first)}; remove or replace what is not finite")


def class_weights(y: np.ndarray, class_weight, rank: int, dtype: str) -> np.ndarray:
    """One weight per row of predictions, that of its class; 1 for classes without.

    Parameters
    ----------
    y : ndarray, shape (N, ...), (N, ..., 1), or one-hot (N, ..., C)
        Targets of predictions (N, ..., C).
    class_weight : dict of int to float
    rank : int
        Dimensions of the predictions.
    dtype : {"float32", "float64"}

    Returns
    -------
    ndarray of dtype, shape (N, ...)

    Raises
    ------
    TypeError, ValueError
        If it is no such dict, or y has no one class per row.
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
