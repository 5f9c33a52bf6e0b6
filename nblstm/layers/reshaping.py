"""The same entries in another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import LayerOptions, Unpack
from nblstm.layers.base.shapes import Shape


@register()
class Flatten(Layer):
    """(B, ...) to (B, their product).

    Parameters
    ----------
    data_format : {None, "channels_last"}
    **kwargs
        Of `Layer`.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.data_format = validate.channels_last(data_format)

    def _output_shape(self, shape: Shape) -> Shape:
        sizes = [n for n in shape[1:] if n is not None]
        return shape[0], math.prod(sizes) if len(sizes) == len(shape) - 1 else None

    def _forward(self, x, training, mask, generator):
        return x.reshape(x.shape[0], math.prod(x.shape[1:])), x.shape

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy.reshape(saved)


@register()
class Reshape(Layer):
    """(B, ...) to (B, *target_shape).

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch; one of them may be -1, which stands for what is left.
    **kwargs
        Of `Layer`.
    """

    def __init__(self, target_shape: int | Sequence[int], **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        sizes: tuple = tuple(target_shape) if isinstance(target_shape, list | tuple) else (target_shape,)
        if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in sizes):
            raise TypeError(f"target_shape is {target_shape!r}; give whole numbers, one of which may be -1")
        if sizes.count(-1) > 1 or any(n < -1 for n in sizes):
            raise ValueError(f"target_shape is {sizes}; give sizes of 0 or more, one of which may be -1")
        self.target_shape = tuple(int(n) for n in sizes)

    def _output_shape(self, shape: Shape) -> Shape:
        sizes = [n for n in shape[1:] if n is not None]
        known = math.prod(n for n in self.target_shape if n != -1)
        if len(sizes) < len(shape) - 1:
            return (shape[0], *(None if n == -1 else n for n in self.target_shape))
        entries = math.prod(sizes)
        left = entries // known if -1 in self.target_shape and known else 1
        if known * left != entries:
            raise ValueError(
                f"{self._label} got shape {tuple(shape)}, {entries} entries to a row; its target_shape "
                f"{self.target_shape} needs {known}{' times a whole number' * (-1 in self.target_shape)}"
            )
        return (shape[0], *(left if n == -1 else n for n in self.target_shape))

    def _forward(self, x, training, mask, generator):
        return x.reshape([n or 0 for n in self._output_shape(x.shape)]), x.shape

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy.reshape(saved)


@register()
class RepeatVector(Layer):
    """(B, C) to (B, n, C): the same at each step.

    Parameters
    ----------
    n : int
    **kwargs
        Of `Layer`.
    """

    ndim = 2

    def __init__(self, n: int, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.n = validate.positive_integer("n", n)

    def _output_shape(self, shape: Shape) -> Shape:
        return shape[0], self.n, shape[1]

    def _forward(self, x, training, mask, generator):
        return np.repeat(x[:, None], self.n, axis=1), None

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy.sum(axis=1)
