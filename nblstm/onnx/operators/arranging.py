"""Operators that arrange, make, repeat, split and join arrays."""

from __future__ import annotations

from math import ceil, prod

import numpy as np

from nblstm.onnx.operators.registry import axes_of, axis_of, integers, operator
from nblstm.onnx.tensors import dtype_of


@operator("Identity", views=True)
def identity(x):
    """``x`` itself."""
    return x


@operator("Dropout", 7, several=True, views=True)
def dropout(x, ratio=None, training_mode=None, *, seed=None, count):
    """``x`` itself, as in inference, and a mask that keeps all; ``seed`` is training's."""
    if training_mode is not None and np.any(training_mode):
        raise ValueError("training_mode is True; nblstm runs models for inference, so export it after model.eval()")
    return (x, np.ones(x.shape, bool))[:count]


@operator("Cast", 6, views=True)
def cast(x, *, to, saturate=None, round_mode=None):
    """``x`` in another dtype; the other attributes are those of 8-bit floats, which are refused."""
    return x.astype(dtype_of(to), copy=False)


@operator("CastLike", 15, views=True)
def cast_like(x, target, *, saturate=None, round_mode=None):
    """``x`` in the dtype of another array."""
    return x.astype(target.dtype, copy=False)


@operator("Shape")
def shape(x, *, start=0, end=None):
    """Sizes of the dimensions from ``start`` to before ``end``."""
    return np.array(x.shape[slice(start, end)], np.int64)


@operator("Size")
def size(x):
    """Number of elements."""
    return np.array(x.size, np.int64)


@operator("Reshape", 5, views=True)
def reshape(x, shape, *, allowzero=0):
    """Elements in another shape; -1 is what is left over, 0 the size of the same dimension unless ``allowzero``."""
    wanted = integers("shape", shape)
    if 0 in wanted and not allowzero:
        if 0 in wanted[x.ndim :]:
            raise ValueError(f"shape is {wanted} and the array has {x.ndim} dimensions, none of which a 0 could copy")
        if not x.size and wanted.count(-1) == 1:  # the rest is that of the other dimensions, as where none is empty
            other, given = (n for k, n in enumerate(x.shape) if wanted[k : k + 1] != (0,)), (n for n in wanted if n > 0)
            rest, over = divmod(prod(other), prod(given))
            if not over:
                wanted = tuple([rest if n == -1 else n for n in wanted])
        wanted = tuple([x.shape[k] if n == 0 else n for k, n in enumerate(wanted)])
    return np.reshape(x, wanted)


@operator("Flatten", views=True)
def flatten(x, *, axis):
    """Two dimensions: those before the axis, and the others."""
    if not -x.ndim <= axis <= x.ndim:
        raise ValueError(f"axis is {axis} and the array has {x.ndim} dimensions")
    rows = prod(x.shape[: axis + x.ndim if axis < 0 else axis])
    return np.reshape(x, (rows, x.size // rows if rows else prod(x.shape[axis:])))


@operator("Transpose", views=True)
def transpose(x, *, perm=None):
    """Dimensions in another order; reversed if none is given."""
    return x.transpose(perm)


@operator("Squeeze", views=True)
def squeeze(x, axes=None):
    """Drop dimensions of size 1."""
    return np.squeeze(x, None if axes is None else axes_of(axes, x.ndim))


@operator("Unsqueeze", views=True)
def unsqueeze(x, axes):
    """Insert dimensions of size 1."""
    axes = integers("axes", axes)
    return np.expand_dims(x, axes_of(axes, x.ndim + len(axes)))


@operator("Concat", 4)
def concat(*arrays, axis):
    """Arrays side by side."""
    return np.concatenate(arrays, axis)


@operator("Split", several=True, views=True)
def split(x, split=None, *, axis, num_outputs=None, count):
    """Parts of an array along an axis, of given sizes or of equal ones, the last of which may be smaller."""
    axis = axis_of(axis, x.ndim)
    length = x.shape[axis]
    if split is None:
        part = ceil(length / (num_outputs or count))
        if num_outputs is None and length % count:
            raise ValueError(f"{length} elements do not split into {count} equal parts")
        sizes = [min(part, max(length - k * part, 0)) for k in range(count)]
    else:
        sizes = list(integers("split", split))
    if len(sizes) != count or min(sizes) < 0 or sum(sizes) != length:
        raise ValueError(f"parts of {sizes} are not {count} that make up {length} elements")
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))


# --- sizes that values decide -------------------------------------------------------------------------


def _shape_of(shape) -> tuple[int, ...]:
    wanted = integers("shape", shape)
    if min(wanted, default=0) < 0:
        raise ValueError(f"shape is {wanted}; sizes are 0 or more")
    return wanted


def _shape_elements(shape, **_) -> int:
    return prod(_shape_of(shape))


@operator("ConstantOfShape", 9, by_value=True, elements=_shape_elements)
def constant_of_shape(shape, *, value=None):
    """An array of one value, 0 if none is given."""
    if value is not None and value.size != 1:
        raise ValueError(f"value has {value.size} elements; it needs to have one")
    return np.zeros(_shape_of(shape), np.float32) if value is None else np.full(_shape_of(shape), value.reshape(()))


def _expanded_elements(x, shape) -> int:
    return prod(np.broadcast_shapes(x.shape, _shape_of(shape)))


@operator("Expand", 8, by_value=True, elements=_expanded_elements)
def expand(x, shape):
    """Repeat dimensions of size 1 as broadcasting does."""
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, _shape_of(shape))).copy()


def _tiled_elements(x, repeats) -> int:
    return x.size * prod(_shape_of(repeats))


@operator("Tile", 6, by_value=True, elements=_tiled_elements)
def tile(x, repeats):
    """Repeat an array along each dimension."""
    repeats = _shape_of(repeats)
    if len(repeats) != x.ndim:
        raise ValueError(f"repeats are {len(repeats)} and the array has {x.ndim} dimensions")
    return np.tile(x, repeats)


def _steps(start, limit, delta, **_) -> int:
    start, limit, delta = (np.asarray(value).reshape(()).item() for value in (start, limit, delta))
    if delta == 0 or not all(map(np.isfinite, (start, limit, delta, (limit - start) / delta))):
        raise ValueError(f"a range from {start} to {limit} in steps of {delta} has no end")
    return max(ceil((limit - start) / delta), 0)


@operator("Range", 11, by_value=True, elements=_steps)
def range_(start, limit, delta, *, stash_type=1):
    """``start + k delta`` for k = 0, 1, ... while it is before the limit; float16 by way of float32 if so stashed."""
    dtype = np.float32 if start.dtype == np.float16 and stash_type == 1 else start.dtype
    steps = np.arange(_steps(start, limit, delta)).astype(dtype)
    return (np.reshape(start, ()).astype(dtype) + steps * np.reshape(delta, ()).astype(dtype)).astype(start.dtype)


def _pads(x, pads, axes) -> list[tuple[int, int]]:
    amounts = integers("pads", pads)
    axes = range(x.ndim) if axes is None else axes_of(axes, x.ndim)
    if len(amounts) != 2 * len(axes):
        raise ValueError(f"pads are {len(amounts)}, and {len(axes)} dimensions need two each")
    found = [(0, 0)] * x.ndim
    for k, axis in enumerate(axes):
        found[axis] = amounts[k], amounts[k + len(axes)]
    return found


def _padded_size(x, pads, value=None, axes=None, **_) -> int:
    return prod(max(n + max(a, 0) + max(b, 0), 0) for n, (a, b) in zip(x.shape, _pads(x, pads, axes), strict=True))


@operator("Pad", 2, by_value=True, elements=_padded_size)
def pad(x, pads, value=None, axes=None, *, mode):
    """Elements before and after each dimension; of a negative amount, elements are dropped."""
    amounts = _pads(x, pads, axes)
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise ValueError(f"mode is {mode!r}; it needs to be 'constant', 'edge', 'reflect' or 'wrap'")
    kept = [slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, amounts, strict=True)]
    fill = {"constant_values": 0 if value is None else np.asarray(value).reshape(())} if mode == "constant" else {}
    return np.pad(x[tuple(kept)], [(max(a, 0), max(b, 0)) for a, b in amounts], mode, **fill)


def _one_hot_elements(indices, depth, values, **_) -> int:
    return indices.size * int(np.reshape(depth, ()))


@operator("OneHot", 9, by_value=True, elements=_one_hot_elements)
def one_hot(indices, depth, values, *, axis):
    """``values[1]`` at each index along a new axis, ``values[0]`` elsewhere."""
    depth = int(np.reshape(depth, ()))
    if depth < 0 or values.shape != (2,):
        raise ValueError(f"depth is {depth} and values have shape {values.shape}; it needs 0 or more, and two values")
    axis = axis_of(axis, indices.ndim + 1)
    indices = np.where(indices < 0, indices + depth, indices)
    places = np.arange(depth).reshape([-1 if k == axis else 1 for k in range(indices.ndim + 1)])
    return np.where(np.expand_dims(indices, axis) == places, values[1], values[0])
