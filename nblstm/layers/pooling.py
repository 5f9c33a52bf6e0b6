"""Pooling: the largest entry or the mean of each window, or of all steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import LayerOptions, Unpack
from nblstm.layers.base.passes import checked_mask
from nblstm.layers.base.shapes import Shape
from nblstm.layers.convolution import sliding


class _Pooling(Layer):
    """A subclass has `_forward` and `_backward` of one kind of pooling."""

    rank: int

    def __init__(
        self, pool_size: int | Sequence[int], strides: int | Sequence[int] | None = None, padding: str = "valid",
        data_format: str | None = None, **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        self.ndim = self.rank + 2
        self._windows = sliding(
            self.rank, pool_size, pool_size if strides is None else strides, padding, name="pool_size"
        )
        self.pool_size, self.strides, self.padding = self._windows.size, self._windows.strides, padding
        self.data_format = validate.channels_last(data_format)
        super().__init__(**kwargs)

    def _output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *self._windows.counts(self._label, shape), shape[-1])


def _largest(layer: Any, x, training, mask, generator):
    counts: Any = layer._windows.counts(layer._label, x.shape)
    padded = layer._windows.padded(x, -np.inf)
    y = None
    for _, place in layer._windows.places(counts):
        y = padded[place].copy() if y is None else np.maximum(y, padded[place], out=y)
    return y, (padded, y, x.shape)


def _d_largest(layer: Any, saved, dy, gradients, input_gradient):
    """Each window's gradient goes to the first of its largest entries."""
    padded, y, x_shape = saved
    d_padded, waiting = np.zeros_like(padded), np.ones(y.shape, bool)
    for _, place in layer._windows.places(y.shape[1:-1]):
        here = padded[place] == y
        here &= waiting
        waiting ^= here
        d_padded[place] += dy * here
    return layer._windows.unpadded(d_padded, x_shape)


def _mean(layer: Any, x, training, mask, generator):
    counts: Any = layer._windows.counts(layer._label, x.shape)
    padded = layer._windows.padded(x, 0)
    y = None
    for _, place in layer._windows.places(counts):
        y = padded[place].copy() if y is None else np.add(y, padded[place], out=y)
    entries = layer._windows.entries(x.shape[1:-1]).astype(x.dtype)
    y /= entries
    return y, (entries, padded.shape, x.shape)


def _d_mean(layer: Any, saved, dy, gradients, input_gradient):
    """Each window's gradient goes to its entries in equal parts; what is padded gets none."""
    entries, padded_shape, x_shape = saved
    part, d_padded = dy / entries, np.zeros(padded_shape, dy.dtype)
    for _, place in layer._windows.places(dy.shape[1:-1]):
        d_padded[place] += part
    return layer._windows.unpadded(d_padded, x_shape)


@register("MaxPool1D")
class MaxPooling1D(_Pooling):
    """The largest entries of windows over time: (B, T, C) to (B, T', C).

    Parameters
    ----------
    pool_size : int, default 2
    strides : int, optional
        ``pool_size`` if not given.
    padding : {"valid", "same"}
    data_format : {None, "channels_last"}
    **kwargs
        Of `Layer`.
    """

    rank = 1
    _forward, _backward = _largest, _d_largest

    def __init__(
        self, pool_size: int | Sequence[int] = 2, strides: int | Sequence[int] | None = None, padding: str = "valid",
        data_format: str | None = None, **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


@register("AvgPool1D")
class AveragePooling1D(_Pooling):
    """The means of windows over time: (B, T, C) to (B, T', C).

    Parameters
    ----------
    pool_size : int
    strides, padding, data_format, **kwargs
        Of `MaxPooling1D`. With "same", a mean is that of the entries that are not padding.
    """

    rank = 1
    _forward, _backward = _mean, _d_mean


@register("MaxPool2D")
class MaxPooling2D(_Pooling):
    """The largest entries of windows over images: (B, height, width, C) to (B, height', width', C).

    Parameters
    ----------
    pool_size : int or (int, int), default (2, 2)
    strides : int or (int, int), optional
        ``pool_size`` if not given.
    padding : {"valid", "same"}
    data_format : {None, "channels_last"}
    **kwargs
        Of `Layer`.
    """

    rank = 2
    _forward, _backward = _largest, _d_largest

    def __init__(
        self, pool_size: int | Sequence[int] = (2, 2), strides: int | Sequence[int] | None = None,
        padding: str = "valid", data_format: str | None = None, **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


@register("AvgPool2D")
class AveragePooling2D(_Pooling):
    """The means of windows over images: (B, height, width, C) to (B, height', width', C).

    Parameters
    ----------
    pool_size : int or (int, int)
    strides, padding, data_format, **kwargs
        Of `MaxPooling2D`. With "same", a mean is that of the entries that are not padding.
    """

    rank = 2
    _forward, _backward = _mean, _d_mean


class _GlobalPooling(Layer):
    """All steps become one."""

    ndim = 3

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.data_format = validate.channels_last(data_format)
        self.keepdims = validate.flag("keepdims", keepdims)

    def _output_shape(self, shape: Shape) -> Shape:
        if shape[1] == 0:
            raise ValueError(f"{self._label} got shape {tuple(shape)}; give 1 step or more")
        return (shape[0], 1, shape[2]) if self.keepdims else (shape[0], shape[2])


@register("GlobalAvgPool1D")
class GlobalAveragePooling1D(_GlobalPooling):
    """The mean over time of the steps that the mask leaves: (B, T, C) to (B, C).

    Parameters
    ----------
    data_format : {None, "channels_last"}
    keepdims : bool, default False
        Whether the result is (B, 1, C).
    **kwargs
        Of `Layer`.

    Notes
    -----
    A sequence of which no step is left has the mean 0, not Keras's NaN.
    """

    supports_masking = True

    def compute_mask(self, x, mask=None) -> None:
        """None: no steps are left."""

    def _forward(self, x, training, mask, generator):
        self._output_shape(x.shape)
        if mask is None:
            weights = np.full((*x.shape[:2], 1), 1 / x.shape[1], x.dtype)
            y = x.mean(axis=1, keepdims=self.keepdims)
        else:
            mask = checked_mask(mask, x.shape[:2])
            counts = np.maximum(mask.sum(axis=1, keepdims=True), 1)
            weights = (mask / counts).astype(x.dtype)[:, :, None]
            kept = np.where(mask[:, :, None], x, 0)  # a masked step may hold anything, NaN too
            y = kept.sum(axis=1, keepdims=self.keepdims) / counts.astype(x.dtype).reshape(
                -1, *[1] * (1 + self.keepdims)
            )
        return y, weights

    def _backward(self, saved, dy, gradients, input_gradient):
        return saved * dy.reshape(dy.shape[0], 1, dy.shape[-1])


@register("GlobalMaxPool1D")
class GlobalMaxPooling1D(_GlobalPooling):
    """The largest entries over time: (B, T, C) to (B, C).

    Parameters
    ----------
    data_format : {None, "channels_last"}
    keepdims : bool, default False
        Whether the result is (B, 1, C).
    **kwargs
        Of `Layer`.

    Notes
    -----
    As Keras's, it knows no masks and warns of one: masked steps take part. Behind a recurrent layer those at the end
    change nothing, as they repeat the output before them; those at the beginning, and all of a Bidirectional's, are 0.
    """

    def _forward(self, x, training, mask, generator):
        self._output_shape(x.shape)
        largest = x.argmax(axis=1)[:, None]
        y = np.take_along_axis(x, largest, axis=1)
        return (y if self.keepdims else y[:, 0]), (largest, x.shape)

    def _backward(self, saved, dy, gradients, input_gradient):
        """The gradient goes to the first of the largest entries."""
        largest, x_shape = saved
        dx = np.zeros(x_shape, dy.dtype)
        np.put_along_axis(dx, largest, dy.reshape(largest.shape), axis=1)
        return dx


# Keras's other names.
MaxPool1D, MaxPool2D = MaxPooling1D, MaxPooling2D
AvgPool1D, AvgPool2D = AveragePooling1D, AveragePooling2D
GlobalAvgPool1D, GlobalMaxPool1D = GlobalAveragePooling1D, GlobalMaxPooling1D
