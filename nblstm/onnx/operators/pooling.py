"""Operators that take the largest element or the mean of windows."""

from __future__ import annotations

from itertools import product as places_of
from math import prod

import numpy as np

from nblstm.onnx.operators.registry import operator
from nblstm.onnx.operators.windows import Windows, padded_elements


@operator("MaxPool", several=True, by_value=True, elements=padded_elements)
def max_pool(
    x, *, auto_pad, kernel_shape, pads=None, strides=None, dilations=None, ceil_mode=0, storage_order=0, count
):  # fmt: skip
    """The largest element of each window, and its index in the flattened input."""
    windows = Windows(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, bool(ceil_mode))
    _check_pads(windows)
    padded = windows.padded(x, -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min)
    best = None
    for place in places_of(*map(range, windows.kernel)):
        seen = windows.at(padded, place)
        best = seen.copy() if best is None else np.maximum(best, seen, out=best)
    if count == 1:
        return (best,)
    return best, _first_index(x, windows, best, storage_order)


def _first_index(x, windows: Windows, best, storage_order: int) -> np.ndarray:
    """Indices of the elements that `max_pool` has found, the first of equals."""
    index_of = np.reshape(np.arange(prod(windows.sizes), dtype=np.int64), windows.sizes, "F" if storage_order else "C")
    own = windows.padded(index_of[None, None], -1)
    padded = windows.padded(x, 0)
    result = np.full(best.shape, -1, np.int64)
    for place in places_of(*map(range, windows.kernel)):
        index = windows.at(own, place)
        found = (windows.at(padded, place) == best) & (index >= 0) & (result < 0)
        result = np.where(found, index, result)
    channels = np.arange(prod(x.shape[:2]), dtype=np.int64).reshape(*x.shape[:2], *[1] * len(windows.sizes))
    return result + channels * prod(windows.sizes)


def _check_pads(windows: Windows) -> None:
    """Refuse windows that could see padding alone."""
    for name, pads in (("before", windows.before), ("behind", windows.behind)):
        if any(pad >= reach for pad, reach in zip(pads, windows.reach, strict=True)):
            raise ValueError(f"pads {name} are {tuple(pads)} and the kernel reaches over {windows.reach}; give fewer")


@operator("AveragePool", by_value=True, elements=padded_elements)
def average_pool(
    x, *, auto_pad, kernel_shape, pads=None, strides=None, dilations=None, ceil_mode=0, count_include_pad=0
):  # fmt: skip
    """The mean of each window, over the elements of the input or with ``count_include_pad`` over its padding too."""
    windows = Windows(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, bool(ceil_mode))
    _check_pads(windows)
    counts = np.zeros((1, 1, *windows.padded_sizes), x.dtype)
    inside = [
        slice(0, before + size + behind) if count_include_pad else slice(before, before + size)
        for before, size, behind in zip(windows.before, windows.sizes, windows.behind, strict=True)
    ]
    counts[(0, 0, *inside)] = 1
    padded = windows.padded(x, 0)
    total, count = np.zeros((*x.shape[:2], *windows.outputs), x.dtype), np.zeros((1, 1, *windows.outputs), x.dtype)
    for place in places_of(*map(range, windows.kernel)):
        total += windows.at(padded, place)
        count += windows.at(counts, place)
    return total / count


@operator("GlobalAveragePool")
def global_average_pool(x):
    """The mean over all but batch and channels."""
    return np.mean(x, tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(x):
    """The largest element over all but batch and channels."""
    return np.max(x, tuple(range(2, x.ndim)), keepdims=True)
