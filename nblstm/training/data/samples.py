"""Samples in arrays: checked once, converted once; batches are views or copies of their rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nblstm.arguments import validate


@dataclass(eq=False, slots=True)
class Samples:
    """Arrays with one entry per sample: of a whole data set, or of a batch.

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

    def take(self, rows: np.ndarray) -> Samples:
        """Copies of ``rows``, by their numbers."""
        y = None if self.y is None else self.y.take(rows, axis=0)
        return Samples(self.x.take(rows, axis=0), y, None if self.weight is None else self.weight.take(rows, axis=0))

    def between(self, start: int, stop: int) -> Samples:
        """Views of the rows from ``start`` to ``stop - 1``."""
        y = None if self.y is None else self.y[start:stop]
        return Samples(self.x[start:stop], y, None if self.weight is None else self.weight[start:stop])

    def split(self, fraction: float) -> tuple[Samples, Samples]:
        """Split off the last samples, a ``fraction`` of all, for validation; the first are for training, as in Keras.

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
        return self.between(0, at), self.between(at, N)


def checked_samples(x, y, sample_weight, dtype: str) -> Samples:
    """Arrays of what a user passes: floats in ``dtype``, all else in its own.

    Raises
    ------
    TypeError, ValueError
        If they are no arrays, their sizes differ, there is no sample, or a number is not finite.
    """
    x = sample_array("x", x, dtype)
    if not len(x):
        raise ValueError(f"x has shape {x.shape}, which is no sample; give an array of one or more")
    y = sample_array("y", y, dtype)
    weight = None if sample_weight is None else sample_array("sample_weight", sample_weight, dtype)
    for name, other in (("y", y), ("sample_weight", weight)):
        if other is not None and len(other) != len(x):
            raise ValueError(f"x has {len(x)} samples and {name} has {len(other)}; give as many of each")
    for name, numbers_ in (("x", x), ("y", y), ("sample_weight", weight)):
        check_finite(name, numbers_)
    return Samples(x, y, weight)


def sample_array(name: str, value, dtype: str) -> np.ndarray:
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
