"""Windows that slide over time or space, and convolutions: windows as rows of a matrix (im2col), and one product.

R is the number of sliding dimensions, 1 for time and 2 for images; C the channels, last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from nblstm import activations, constraints, initializers, regularizers
from nblstm.arguments import validate
from nblstm.layers.base import shapes
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import (
    ActivationLike,
    ConstraintLike,
    InitializerLike,
    LayerOptions,
    RegularizerLike,
    Unpack,
)
from nblstm.layers.base.parameters import Parameter
from nblstm.layers.base.shapes import Shape
from nblstm.layers.dense import affine, affine_parameters, d_affine


@dataclass(frozen=True)
class Windows:
    """Sizes and steps of sliding windows, in each of R dimensions.

    The padding "same" is even, with the odd entry at the end, so that there are ceil(size / stride) windows; "causal"
    pads the beginning, so that no window sees what comes later.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str
    dilation: tuple[int, ...]

    @property
    def spans(self) -> list[int]:
        """Entries from a window's first to its last, both included."""
        return [(k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True)]

    def counts(self, label: str, shape: Shape) -> Shape:
        """Number of windows in each sliding dimension of (B, ..., C); None where the size is unknown."""
        result: list[int | None] = []
        for n, span, stride in zip(shape[1:-1], self.spans, self.strides, strict=True):
            if n is None:
                result.append(None)
                continue
            count = (n - span) // stride + 1 if self.padding == "valid" else -(-n // stride)
            if count < 1:
                raise ValueError(
                    f"{label} got shape {tuple(shape)}, in which no window of {tuple(self.spans)} fits; give a larger "
                    "input, a smaller window, or padding='same'"
                )
            result.append(count)
        return tuple(result)

    def pads(self, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
        """Entries to put before and behind each sliding dimension."""
        result = []
        for n, span, stride in zip(sizes, self.spans, self.strides, strict=True):
            total = max((-(-n // stride) - 1) * stride + span - n, 0)
            before = {"valid": 0, "same": total // 2, "causal": span - 1}[self.padding]
            result.append((before, total - before if self.padding == "same" else 0))
        return result

    def padded(self, x: np.ndarray, value: float) -> np.ndarray:
        """``x`` with ``value`` around it; ``x`` itself if no padding is needed."""
        pads = self.pads(x.shape[1:-1])
        return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value) if any(map(any, pads)) else x

    def unpadded(self, padded: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
        """The part of ``padded`` that is not padding."""
        inner = (slice(p, p + n) for (p, _), n in zip(self.pads(x_shape[1:-1]), x_shape[1:-1], strict=True))
        return padded[(slice(None), *inner)]

    def entries(self, sizes: tuple[int, ...]) -> np.ndarray:
        """Number of each window's entries that are not padding, in a shape that broadcasts over (B, ..., C)."""
        total = np.ones((1,) * (len(sizes) + 2), int)
        for axis, (n, (before, behind)) in enumerate(zip(sizes, self.pads(sizes), strict=True), 1):
            span, stride, d = self.spans[axis - 1], self.strides[axis - 1], self.dilation[axis - 1]
            first = np.arange(0, before + n + behind - span + 1, stride)[:, None] - before
            steps = first + np.arange(0, span, d)
            count = ((steps >= 0) & (steps < n)).sum(axis=1)
            total = total * count.reshape([-1 if k == axis else 1 for k in range(total.ndim)])
        return total

    def places(self, counts: tuple[int, ...]):
        """Per entry of the window: its index, and the slice of a padded array that it meets, for all windows."""
        for entry in product(*map(range, self.size)):
            slices = [
                slice(i * d, i * d + (n - 1) * s + 1, s)
                for i, d, n, s in zip(entry, self.dilation, counts, self.strides, strict=True)
            ]
            yield entry, (slice(None), *slices)


def sliding(rank: int, size, strides, padding, dilation=1, *, name: str, paddings=("valid", "same")) -> Windows:
    """Checked `Windows`; ``name`` is what the size is called."""
    return Windows(
        shapes.integers(name, size, rank),
        shapes.integers("strides", strides, rank),
        validate.choice("padding", padding, paddings),
        shapes.integers("dilation_rate", dilation, rank),
    )


class _Convolution(Layer):
    """A convolution over ``rank`` dimensions, as a product of a matrix: x, window by window, and the kernel."""

    rank: int
    fixed_axes = (-1,)

    def __init__(
        self, filters: int, kernel_size: int | Sequence[int], strides: int | Sequence[int] = 1, padding: str = "valid",
        data_format: str | None = None, dilation_rate: int | Sequence[int] = 1, groups: int = 1,
        activation: ActivationLike = None, use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform", bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None, bias_regularizer: RegularizerLike = None,
        activity_regularizer: None = None, kernel_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None, **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        self.ndim = self.rank + 2
        self.filters = validate.positive_integer("filters", filters)
        paddings = ("valid", "same", "causal") if self.rank == 1 else ("valid", "same")
        self._windows = sliding(
            self.rank, kernel_size, strides, padding, dilation_rate, name="kernel_size", paddings=paddings
        )
        self.kernel_size, self.strides = self._windows.size, self._windows.strides
        self.padding, self.dilation_rate = padding, self._windows.dilation
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(f"strides is {strides} and dilation_rate {dilation_rate}; leave one of them at 1")
        self.data_format = validate.channels_last(data_format)
        self.groups = validate.only("groups", groups, 1)
        super().__init__(**kwargs)
        self.activity_regularizer = validate.only("activity_regularizer", activity_regularizer, None)
        self.activation = activations.get(activation)
        self.use_bias = validate.flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def _output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *self._windows.counts(self._label, shape), self.filters)

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        assert shape[-1] is not None
        return affine_parameters(self, (*self.kernel_size, shape[-1], self.filters))

    def _forward(self, x, training, mask, generator):
        y, saved = affine(self, self._rows(x))
        return y.reshape(self._output_shape(x.shape)), (saved, x.shape)

    def _backward(self, saved, dy, gradients, input_gradient):
        saved, x_shape = saved
        d_rows = d_affine(self, saved, dy, gradients, input_gradient)
        return None if d_rows is None else self._d_input(d_rows, x_shape)

    def _rows(self, x):
        """im2col: one row (K,) for each place of the output.

        Entry by entry of the window: for one channel, 3 times as fast as a copy of a view of all windows.
        """
        counts: Any = self._windows.counts(self._label, x.shape)
        padded = self._windows.padded(x, 0)
        rows = np.empty((x.shape[0], *counts, *self.kernel_size, x.shape[-1]), x.dtype)
        for entry, place in self._windows.places(counts):
            rows[(..., *entry, slice(None))] = padded[place]
        return rows.reshape(x.shape[0] * math.prod(counts), math.prod(self.kernel_size) * x.shape[-1])

    def _d_input(self, d_rows, x_shape):
        """col2im, the transpose of `_rows`: each row's entries added where they came from."""
        counts: Any = self._windows.counts(self._label, x_shape)
        sizes = [n + sum(pads) for n, pads in zip(x_shape[1:-1], self._windows.pads(x_shape[1:-1]), strict=True)]
        d_padded = np.zeros((x_shape[0], *sizes, x_shape[-1]), d_rows.dtype)
        d_windows = d_rows.reshape(x_shape[0], *counts, *self.kernel_size, x_shape[-1])
        for entry, place in self._windows.places(counts):
            d_padded[place] += d_windows[(..., *entry, slice(None))]
        return self._windows.unpadded(d_padded, x_shape)


@register("Convolution1D")
class Conv1D(_Convolution):
    """Convolution over time: (B, T, C) to (B, T', filters).

    Parameters
    ----------
    filters : int
        Features of the output.
    kernel_size : int
        Steps that a window sees.
    strides : int, default 1
    padding : {"valid", "same", "causal"}
    data_format : {None, "channels_last"}
    dilation_rate : int, default 1
        Distance between the steps that a window sees.
    groups : 1
        Keras's; others are not supported.
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer, kernel_constraint, bias_constraint, **kwargs
        Of `Dense`.

    Notes
    -----
    Parameters are ``kernel`` (kernel_size, C, filters) and ``bias`` (filters,).
    """

    rank = 1


@register("Convolution2D")
class Conv2D(_Convolution):
    """Convolution over images: (B, height, width, C) to (B, height', width', filters).

    Parameters
    ----------
    filters : int
        Features of the output.
    kernel_size : int or (int, int)
        Rows and columns that a window sees.
    strides : int or (int, int), default 1
    padding : {"valid", "same"}
    data_format : {None, "channels_last"}
    dilation_rate : int or (int, int), default 1
        Distance between the rows and columns that a window sees.
    groups : 1
        Keras's; others are not supported.
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer, kernel_constraint, bias_constraint, **kwargs
        Of `Dense`.

    Notes
    -----
    Parameters are ``kernel`` (rows, columns, C, filters) and ``bias`` (filters,).
    """

    rank = 2


# Keras's other names.
Convolution1D, Convolution2D = Conv1D, Conv2D
