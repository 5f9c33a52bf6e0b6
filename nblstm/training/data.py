"""Samples in arrays: checked once, converted once, then only gathered."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import numpy as np

from nblstm import validate

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


def samples(x, y, sample_weight, class_weight, dtype: str) -> Samples:
    """What a user passes, as arrays: floats in ``dtype``, all else as it is.

    Raises
    ------
    TypeError, ValueError
        If they are no arrays, their sizes differ, there is no sample, or a number is not finite.
    """
    x = array("x", x, dtype)
    if y is None and (sample_weight is not None or class_weight is not None):
        raise ValueError("y is None and there are weights of samples; give the targets too")
    if class_weight is not None and sample_weight is not None:
        raise ValueError("class_weight and sample_weight are both given; give one, or multiply them beforehand")
    y = None if y is None else array("y", y, dtype)
    if class_weight is not None:
        assert y is not None
        sample_weight = class_weights(y, class_weight)
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
    if found.ndim == 0 or len(found) == 0:
        raise ValueError(f"{name} has shape {found.shape}, which is no sample; give an array of one or more")
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


def class_weights(y: np.ndarray, class_weight) -> np.ndarray:
    """One weight per sample, that of its class; 1 for classes without.

    Parameters
    ----------
    y : ndarray, shape (N,), (N, 1) or one-hot (N, C)
    class_weight : dict of int to float

    Raises
    ------
    TypeError, ValueError
        If it is no such dict, or y has no one class per sample.
    """
    if not isinstance(class_weight, dict) or not all(
        isinstance(key, numbers.Integral) and isinstance(value, numbers.Real) for key, value in class_weight.items()
    ):
        raise TypeError(
            f"class_weight is {class_weight!r}; give a dict from class numbers to weights, {{0: 1.0, 1: 5.0}}"
        )
    if y.ndim > 2:
        raise ValueError(
            f"class_weight needs one class per sample and y has shape {y.shape}; give sample_weight instead"
        )
    check_finite("class_weight", np.array([*class_weight.values()], float))
    labels = y if y.ndim == 1 else y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1)
    classes, places = np.unique(np.round(labels), return_inverse=True)
    return np.array([class_weight.get(int(c), 1.0) for c in classes])[places.reshape(-1)]
