"""Operators that normalise: softmax, and by means and variances."""

from __future__ import annotations

from math import prod

import numpy as np

from nblstm.onnx.operators.registry import axis_of, operator


@operator("Softmax", 13)
def softmax(x, *, axis):
    """``e**x / sum(e**x)`` along an axis."""
    e = np.exp(x - np.maximum.reduce(x, axis_of(axis, x.ndim), keepdims=True, initial=-np.inf))
    return e / np.add.reduce(e, axis, keepdims=True)


@operator("LogSoftmax", 13)
def log_softmax(x, *, axis):
    """``x - log(sum(e**x))`` along an axis."""
    x = x - np.maximum.reduce(x, axis_of(axis, x.ndim), keepdims=True, initial=-np.inf)
    return x - np.log(np.add.reduce(np.exp(x), axis, keepdims=True))


def _over_the_rest(function, x, axis: int) -> np.ndarray:
    """Apply a function to the axis and all behind it as one, as opsets before 13 do."""
    rows = prod(x.shape[: axis_of(axis, x.ndim)])
    return function(x.reshape(rows, -1) if x.size else x.reshape(rows, 0), axis=1).reshape(x.shape)


@operator("Softmax")
def softmax_of_rows(x, *, axis):
    """Softmax over the axis and all behind it."""
    return _over_the_rest(softmax, x, axis)


@operator("LogSoftmax")
def log_softmax_of_rows(x, *, axis):
    """Log of softmax over the axis and all behind it."""
    return _over_the_rest(log_softmax, x, axis)


@operator("LayerNormalization", 17, several=True)
def layer_normalization(x, scale, bias=None, *, axis, epsilon, stash_type, count):
    """``(x - mean) / sqrt(variance + epsilon) scale + bias`` over the axis and all behind it, with both numbers."""
    axes = tuple(range(axis_of(axis, x.ndim), x.ndim))
    values = x.astype(np.float32) if x.dtype == np.float16 and stash_type == 1 else x
    mean = np.mean(values, axes, keepdims=True)
    centred = values - mean
    inverse = 1 / np.sqrt(np.mean(np.square(centred), axes, keepdims=True) + epsilon)
    result = (centred * inverse).astype(x.dtype, copy=False) * scale
    return (result if bias is None else result + bias, mean, inverse)[:count]


@operator("RMSNormalization", 23)
def rms_normalization(x, scale, *, axis, epsilon, stash_type):
    """``x / sqrt(mean(x**2) + epsilon) scale`` over the axis and all behind it."""
    axes = tuple(range(axis_of(axis, x.ndim), x.ndim))
    values = x.astype(np.float32) if x.dtype == np.float16 and stash_type == 1 else x
    result = values / np.sqrt(np.mean(np.square(values), axes, keepdims=True) + epsilon)
    return result.astype(x.dtype, copy=False) * scale


def _of_channels(x, values) -> np.ndarray:
    """Numbers of each channel, the second dimension, to be broadcast to x."""
    return np.reshape(values, (-1,) + (1,) * (x.ndim - 2))


@operator("BatchNormalization", 7)
def batch_normalization(x, scale, bias, mean, variance, *, epsilon, momentum=None, spatial=1, training_mode=0):
    """``(x - mean) / sqrt(variance + epsilon) scale + bias`` of each channel; ``momentum`` is training's."""
    if training_mode or not spatial:
        raise ValueError(
            f"training_mode is {training_mode} and spatial {spatial}; nblstm runs models for inference, each channel "
            "with its own numbers, so export it after model.eval()"
        )
    factor = scale / np.sqrt(variance + variance.dtype.type(epsilon))
    return ((x - _of_channels(x, mean)) * _of_channels(x, factor) + _of_channels(x, bias)).astype(x.dtype, copy=False)


@operator("InstanceNormalization", 6)
def instance_normalization(x, scale, bias, *, epsilon):
    """``(x - mean) / sqrt(variance + epsilon) scale + bias`` over all but batch and channels."""
    axes = tuple(range(2, x.ndim))
    centred = x - np.mean(x, axes, keepdims=True)
    variance = np.mean(np.square(centred), axes, keepdims=True)
    return centred / np.sqrt(variance + epsilon) * _of_channels(x, scale) + _of_channels(x, bias)
