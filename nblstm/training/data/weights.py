"""Sample weights and masks, laid beside the values that they weigh."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate


def aligned(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``array`` as weights of values of ``shape``, dimension by dimension from the first.

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


def product(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    """The product of weights of the same values; None is a weight of 1 for all."""
    if a is None or b is None:
        return b if a is None else a
    rank = max(a.ndim, b.ndim)
    return a.reshape(a.shape + (1,) * (rank - a.ndim)) * b.reshape(b.shape + (1,) * (rank - b.ndim))


def spread(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Aligned weights, one for each value of ``shape``."""
    return np.broadcast_to(array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape)
