"""Operators that choose, place and order elements."""

from __future__ import annotations

from math import prod

import numpy as np

from nblstm.onnx.operators.registry import axes_of, axis_of, integers, operator


@operator("Slice", views=True)
def slice_(x, starts, ends, axes=None, steps=None):
    """``x[start:end:step]`` along some axes."""
    starts, ends = integers("starts", starts), integers("ends", ends)
    axes = range(len(starts)) if axes is None else axes_of(axes, x.ndim)
    steps = (1,) * len(starts) if steps is None else integers("steps", steps)
    if not len(starts) == len(ends) == len(axes) == len(steps) <= x.ndim or 0 in steps:
        raise ValueError(
            f"starts {starts}, ends {ends}, axes {tuple(axes)} and steps {steps} do not fit together, or to the "
            f"{x.ndim} dimensions of the array"
        )
    chosen = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 0 and start < -x.shape[axis]:  # ONNX's first element, where Python has none
            start = 0
        chosen[axis] = slice(start, end, step)
    return x[tuple(chosen)]


def _gathered(x, indices, *, axis) -> int:
    axis = axis_of(axis, x.ndim)
    return indices.size * prod(n for k, n in enumerate(x.shape) if k != axis)


@operator("Gather", elements=_gathered)
def gather(x, indices, *, axis):
    """Slices of an array by their indices along an axis."""
    return np.take(x, indices, axis)


@operator("GatherElements", 11)
def gather_elements(x, indices, *, axis):
    """``x[..., indices[place], ...]`` at each place of the indices."""
    return x[_along(x, indices, axis)]


def _along(x, indices, axis) -> tuple[np.ndarray, ...]:
    """Indices for all dimensions: along the axis those that are given, else their own places."""
    axis = axis_of(axis, x.ndim)
    if indices.ndim != x.ndim:
        raise ValueError(f"indices have {indices.ndim} dimensions and the array {x.ndim}; they need as many")
    places = list(np.ogrid[tuple([slice(n) for n in indices.shape])])
    places[axis] = indices
    return tuple(places)


def _gathered_slices(x, indices, *, batch_dims=0) -> int:
    return prod(indices.shape[:-1]) * prod(x.shape[batch_dims + indices.shape[-1] :])


@operator("GatherND", 11, elements=_gathered_slices)
def gather_nd(x, indices, *, batch_dims=0):
    """Elements or slices by tuples of indices."""
    batch = x.shape[:batch_dims]
    if indices.shape[:batch_dims] != batch or not 0 <= batch_dims < min(x.ndim, indices.ndim):
        raise ValueError(f"indices of shape {indices.shape} and x of {x.shape} do not share {batch_dims} dimensions")
    own = indices.shape[batch_dims:-1]
    places = np.ogrid[tuple([slice(n) for n in batch])] if batch else []
    places = [place.reshape(place.shape + (1,) * len(own)) for place in places]
    return x[(*places, *np.moveaxis(indices, -1, 0))]


_REDUCTIONS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _put(x, places, updates, reduction: str) -> np.ndarray:
    """A copy of x with elements replaced, or joined with the new ones."""
    if reduction != "none" and reduction not in _REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}; it needs to be 'none', {', '.join(map(repr, _REDUCTIONS))}")
    result = np.array(x)
    if reduction == "none":
        result[places] = updates
    else:
        _REDUCTIONS[reduction].at(result, places, updates)
    return result


@operator("ScatterElements", 11)
def scatter_elements(x, indices, updates, *, axis, reduction="none"):
    """A copy of x with ``x[..., indices[place], ...] = updates[place]``, or joined with it by a reduction."""
    return _put(x, _along(x, indices, axis), updates, reduction)


@operator("ScatterND", 11)
def scatter_nd(x, indices, updates, *, reduction="none"):
    """A copy of x with elements or slices, by tuples of indices, replaced or joined with others by a reduction."""
    return _put(x, tuple(np.moveaxis(indices, -1, 0)), updates, reduction)


@operator("TopK", several=True)
def top_k(x, k, *, axis, largest=1, sorted=1, count):
    """The k largest elements along an axis, largest first, or the smallest; and their indices."""
    axis, (k,) = axis_of(axis, x.ndim), integers("k", k)
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"k is {k} and there are {x.shape[axis]} elements along the axis")
    if largest:  # of equal elements, the first index comes first
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    order = np.take(order, range(k), axis)
    return (np.take_along_axis(x, order, axis), order)[:count]


@operator("ReverseSequence", 10)
def reverse_sequence(x, lengths, *, batch_axis, time_axis):
    """Each sequence's first steps in reverse, as many as its length says."""
    if {batch_axis, time_axis} != {0, 1} or x.ndim < 2:
        raise ValueError(f"batch_axis is {batch_axis} and time_axis {time_axis}; they need to be 0 and 1")
    lengths = integers("sequence_lens", lengths)
    rows = x if time_axis else np.swapaxes(x, 0, 1)
    if len(lengths) != len(rows) or not all(0 <= n <= rows.shape[1] for n in lengths):
        raise ValueError(f"sequence_lens are {lengths[:20]} for {len(rows)} sequences of {rows.shape[1]} steps")
    result = np.array(rows)
    for row, old, n in zip(result, rows, lengths, strict=True):
        row[:n] = old[:n][::-1]
    return result if time_axis else np.swapaxes(result, 0, 1)


@operator("CumSum", 11)
def cumulative_sum(x, axis, *, exclusive, reverse):
    """Sums up to each element along an axis, without itself if ``exclusive``, from the end if ``reverse``."""
    (axis,) = integers("axis", axis)
    axis = axis_of(axis, x.ndim)
    x = np.flip(x, axis) if reverse else x
    result = np.cumsum(x, axis, dtype=x.dtype)
    result = result - x if exclusive else result
    return np.flip(result, axis) if reverse else result


def _places(x) -> int:
    return max(x.ndim, 1) * x.size


@operator("NonZero", 9, elements=_places)
def non_zero(x):
    """Indices of the elements that are not 0, a row for each dimension."""
    return np.array(np.nonzero(np.atleast_1d(x)), np.int64)


@operator("Trilu", 14)
def triangle(x, k=None, *, upper):
    """The upper or lower triangle of matrices; 0 elsewhere."""
    diagonal = 0 if k is None else int(np.reshape(k, ()))
    return np.triu(x, diagonal) if upper else np.tril(x, diagonal)
