"""Operators that reduce axes: sums, means, extremes and norms."""

from __future__ import annotations

import numpy as np

from nblstm.onnx.operators.registry import axes_of, axis_of, operator


def _axes(x, axes, noop: int) -> tuple[int, ...]:
    """The axes to reduce: all where none are given, or with ``noop`` none."""
    if axes is None or np.size(axes) == 0:
        return () if noop else tuple(range(x.ndim))
    return axes_of(axes, x.ndim)


@operator("ReduceSum")
def reduce_sum(x, axes=None, *, keepdims, noop_with_empty_axes=0):
    """Sum over axes."""
    return np.add.reduce(x, _axes(x, axes, noop_with_empty_axes), x.dtype, keepdims=bool(keepdims))


@operator("ReduceProd")
def reduce_prod(x, axes=None, *, keepdims, noop_with_empty_axes=0):
    """Product over axes."""
    return np.multiply.reduce(x, _axes(x, axes, noop_with_empty_axes), x.dtype, keepdims=bool(keepdims))


@operator("ReduceMean")
def reduce_mean(x, axes=None, *, keepdims, noop_with_empty_axes=0):
    """Mean over axes; of integers, the whole part."""
    axes = _axes(x, axes, noop_with_empty_axes)
    return np.asarray(np.mean(x, axes, keepdims=bool(keepdims))).astype(x.dtype, copy=False)


def _lowest(dtype: np.dtype):
    return False if dtype.kind == "b" else -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _highest(dtype: np.dtype):
    return True if dtype.kind == "b" else np.inf if dtype.kind == "f" else np.iinfo(dtype).max


@operator("ReduceMax")
def reduce_max(x, axes=None, *, keepdims, noop_with_empty_axes=0):
    """Largest element over axes; of none, the lowest number that there is."""
    axes = _axes(x, axes, noop_with_empty_axes)
    return np.maximum.reduce(x, axes, keepdims=bool(keepdims), initial=_lowest(x.dtype))


@operator("ReduceMin")
def reduce_min(x, axes=None, *, keepdims, noop_with_empty_axes=0):
    """Smallest element over axes; of none, the highest number that there is."""
    axes = _axes(x, axes, noop_with_empty_axes)
    return np.minimum.reduce(x, axes, keepdims=bool(keepdims), initial=_highest(x.dtype))


@operator("ReduceSumSquare")
def reduce_sum_square(x, axes=None, *, keepdims, noop_with_empty_axes=0):
    """Sum of squares over axes."""
    return reduce_sum(np.square(x), axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes)


@operator("ReduceL1")
def reduce_l1(x, axes=None, *, keepdims, noop_with_empty_axes=0):
    """Sum of absolute values over axes."""
    return reduce_sum(np.abs(x), axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes)


@operator("ReduceL2")
def reduce_l2(x, axes=None, *, keepdims, noop_with_empty_axes=0):
    """Square root of the sum of squares over axes."""
    squares = reduce_sum(np.square(x), axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes)
    return np.asarray(np.sqrt(squares)).astype(x.dtype, copy=False)


@operator("ReduceLogSumExp")
def reduce_log_sum_exp(x, axes=None, *, keepdims, noop_with_empty_axes=0):
    """log of the sum of e**x over axes, with no overflow."""
    axes = _axes(x, axes, noop_with_empty_axes)
    top = np.maximum.reduce(x, axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    result = np.log(np.add.reduce(np.exp(x - top), axes, keepdims=True)) + top
    return result if keepdims else np.squeeze(result, axes)


def _extreme(find, x, axis: int, keepdims: int, last: int) -> np.ndarray:
    axis = axis_of(axis, x.ndim)
    place = find(np.flip(x, axis) if last else x, axis, keepdims=bool(keepdims))
    return np.asarray(x.shape[axis] - 1 - place if last else place, np.int64)


@operator("ArgMax")
def arg_max(x, *, axis, keepdims, select_last_index=0):
    """Index of the largest element along an axis, the first of equals or the last."""
    return _extreme(np.argmax, x, axis, keepdims, select_last_index)


@operator("ArgMin")
def arg_min(x, *, axis, keepdims, select_last_index=0):
    """Index of the smallest element along an axis, the first of equals or the last."""
    return _extreme(np.argmin, x, axis, keepdims, select_last_index)
